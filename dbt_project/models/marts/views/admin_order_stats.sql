{{ config(indexes=[{'columns': ['order_date', 'status'], 'unique': true}]) }}

select
    status,
    sum(orders)::bigint as count,
    sum(ordered_amount) as total_revenue,
    order_date
from {{ ref('agg_orders_daily') }}
group by status, order_date
having sum(orders) > 0
