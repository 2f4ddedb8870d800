{{ config(indexes=[{'columns': ['order_month', 'country'], 'unique': true}]) }}

select
    order_month,
    country,
    sum(orders)::bigint as orders,
    sum(sales)::bigint as sales,
    sum(cancelled_orders)::bigint as cancelled_orders,
    sum(payment_failures)::bigint as payment_failures,
    sum(ordered_amount) as ordered_amount,
    sum(revenue) as revenue,
    count(*) as customers,
    count(*) filter (where sales > 0) as buyers
from {{ ref('int_customer_months') }}
group by 1, 2
