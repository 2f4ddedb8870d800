{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='order_month',
        indexes=[{'columns': ['order_month', 'country'], 'unique': true}],
        post_hook="{{ drop_empty('orders') }}",
    )
}}

with
{% if is_incremental() %}
touched as materialized (
    select distinct date_trunc('month', order_date)::date as order_month
    from {{ ref('fct_orders') }}
    where _built_at > {{ built_until() }}
),
{% endif %}

-- customers are counted once: first by customer, then over them
by_customer as (
    select
        date_trunc('month', order_date)::date as order_month,
        coalesce(country, '') as country,
        user_id,
        {{ order_measures() }}
    from {{ ref('fct_orders') }}
    {% if is_incremental() %}
    where date_trunc('month', order_date)::date in (select order_month from touched)
      and order_date >= (select min(order_month) from touched)
    {% endif %}
    group by 1, 2, 3
)

select
    order_month,
    country,
    sum(orders)::bigint as orders,
    sum(sales)::bigint as sales,
    sum(cancelled_orders)::bigint as cancelled_orders,
    sum(payment_failures)::bigint as payment_failures,
    sum(ordered_amount) as ordered_amount,
    sum(revenue) as revenue,
    count(*) filter (where orders > 0) as customers,
    count(*) filter (where sales > 0) as buyers,
    now() as _built_at
from by_customer
group by 1, 2
