{{ config(indexes=[{'columns': ['user_id'], 'unique': true}]) }}

select
    user_id,
    sum(orders)::bigint as orders,
    sum(sales)::bigint as sales,
    sum(cancelled_orders)::bigint as cancelled_orders,
    sum(revenue) as lifetime_value,
    min(first_ordered_at) as first_ordered_at,
    max(last_ordered_at) as last_ordered_at,
    max(last_sale_at) as last_sale_at
from {{ ref('int_customer_months') }}
group by 1
