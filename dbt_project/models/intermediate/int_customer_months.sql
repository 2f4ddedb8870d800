{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['user_id', 'order_month'],
        indexes=[{'columns': ['user_id', 'order_month'], 'unique': true}],
        post_hook="{{ drop_empty('orders') }}",
    )
}}

{% if is_incremental() %}
with touched as (
    select distinct user_id, date_trunc('month', order_date)::date as order_month
    from {{ ref('fct_orders') }}
    where _built_at > {{ built_until() }}
)
{% endif %}

select
    orders.user_id,
    date_trunc('month', orders.order_date)::date as order_month,
    count(*) filter (where not is_deleted) as orders,
    count(*) filter (where is_sale) as sales,
    count(*) filter (where is_cancelled) as cancelled_orders,
    coalesce(sum(total_amount) filter (where is_sale), 0) as revenue,
    min(ordered_at) filter (where not is_deleted) as first_ordered_at,
    max(ordered_at) filter (where not is_deleted) as last_ordered_at,
    max(ordered_at) filter (where is_sale) as last_sale_at,
    count(*) filter (where is_specified_sale) as specified_orders,
    sum(total_amount) filter (where is_specified_sale) as specified_amount,
    min(ordered_at) filter (where is_specified_sale) as specified_first_at,
    max(ordered_at) filter (where is_specified_sale) as specified_last_at,
    now() as _built_at
from (
    select *, not is_deleted and {{ is_specified_sale('status') }} as is_specified_sale
    from {{ ref('fct_orders') }}
) as orders
{% if is_incremental() %}
inner join touched
    on touched.user_id = orders.user_id
    and orders.ordered_at >= touched.order_month::timestamp at time zone 'UTC'
    and orders.ordered_at < (touched.order_month + interval '1 month') at time zone 'UTC'
{% endif %}
group by 1, 2
