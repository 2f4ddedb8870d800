{{ config(indexes=[{'columns': ['order_date'], 'unique': true}]) }}

with days as (
    select
        order_date,
        sum(orders)::bigint as orders,
        sum(sales)::bigint as sales,
        sum(cancelled_orders)::bigint as cancelled_orders,
        sum(payment_failures)::bigint as payment_failures,
        sum(ordered_amount) as ordered_amount,
        sum(revenue) as revenue,
        sum(orders) filter (where status in ('shipped', 'delivered'))::bigint as shipped_orders,
        sum(orders) filter (where status = 'delivered')::bigint as delivered_orders
    from {{ ref('agg_orders_daily') }}
    group by 1
),

newcomers as (
    select {{ utc_date('first_ordered_at') }} as order_date, count(*) as new_customers
    from {{ ref('agg_customer_orders') }}
    where first_ordered_at is not null
    group by 1
),

visits as (
    select session_date as order_date, sum(sessions)::bigint as sessions, sum(sessions_with_order)::bigint as sessions_with_order
    from {{ ref('agg_funnel_daily') }}
    group by 1
),

units as (
    select order_date, sum(units)::bigint as units from {{ ref('agg_category_daily') }} group by 1
)

select
    days.order_date,
    days.orders,
    days.sales,
    days.revenue,
    {{ average_order_value('days.revenue', 'days.sales') }} as average_order_value,
    coalesce(units.units, 0) as units,
    days.cancelled_orders,
    {{ ratio('days.cancelled_orders', 'days.orders') }} as cancellation_rate,
    days.payment_failures,
    coalesce(days.shipped_orders, 0) as shipped_orders,
    coalesce(days.delivered_orders, 0) as delivered_orders,
    coalesce(newcomers.new_customers, 0) as new_customers,
    days.orders - coalesce(newcomers.new_customers, 0) as returning_orders,
    coalesce(visits.sessions, 0) as sessions,
    {{ ratio('visits.sessions_with_order', 'visits.sessions') }} as conversion_rate
from days
left join newcomers using (order_date)
left join visits using (order_date)
left join units using (order_date)
