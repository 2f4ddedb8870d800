{{ config(indexes=[{'columns': ['date', 'status'], 'unique': true}]) }}

select
    order_date as date,
    status,
    sum(orders)::bigint as order_count,
    sum(ordered_amount) as revenue,
    sum(ordered_amount) / sum(orders) as avg_order_value
from {{ ref('agg_orders_daily') }}
where order_date > current_date - interval '1 year'
group by order_date, status
having sum(orders) > 0
