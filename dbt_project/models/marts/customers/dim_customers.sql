{{
    config(
        indexes=[
            {'columns': ['user_id'], 'unique': true},
            {'columns': ['lifetime_value']},
            {'columns': ['segment', 'lifetime_value']},
        ],
    )
}}

with spent as (
    select
        customers.user_id,
        customers.name,
        customers.status,
        customers.country,
        customers.region,
        customers.city,
        customers.registered_at,
        coalesce(orders.orders, 0) as orders,
        coalesce(orders.sales, 0) as sales,
        coalesce(orders.cancelled_orders, 0) as cancelled_orders,
        coalesce(orders.lifetime_value, 0) as lifetime_value,
        {{ average_order_value('orders.lifetime_value', 'orders.sales') }} as average_order_value,
        orders.first_ordered_at,
        orders.last_ordered_at,
        -- of those who ever bought: 0 spends least, 1 most
        case when orders.sales > 0 then
            percent_rank() over (partition by orders.sales > 0 order by orders.lifetime_value)
        end as spend_rank
    from {{ ref('int_customers_located') }} as customers
    left join {{ ref('agg_customer_orders') }} as orders using (user_id)
    where not customers.is_deleted
)

select
    user_id,
    name,
    status,
    country,
    region,
    city,
    registered_at,
    date_trunc('month', {{ utc_date('registered_at') }})::date as signup_month,
    orders,
    sales,
    cancelled_orders,
    lifetime_value,
    average_order_value,
    first_ordered_at,
    last_ordered_at,
    round(spend_rank::numeric, 4) as spend_rank,
    coalesce(spend_rank >= 0.9, false) as is_high_value,
    coalesce({{ is_at_risk('last_ordered_at') }}, false) as is_at_risk,
    {{ customer_segment('orders', 'spend_rank', 'last_ordered_at') }} as segment
from spent
