{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['user_id', 'order_month'],
        indexes=[{'columns': ['user_id', 'order_month', 'country'], 'unique': true}],
        pre_hook="{{ by_bitmap() }}",
        post_hook=["{{ drop_empty('orders') }}", "{{ analyse_when_new() }}"],
    )
}}

-- month by month: a month's customers fit into memory, a year's do not
with touched as (
    {% if is_incremental() %}
    select date_trunc('month', order_date)::date as order_month, array_agg(distinct user_id) as users
    from {{ ref('fct_orders') }}
    where _built_at > {{ built_until() }}
    group by 1
    {% else %}
    select generate_series(date_trunc('month', min(order_date)), max(order_date), '1 month')::date as order_month
    from {{ ref('fct_orders') }}
    {% endif %}
)

select
    months.user_id,
    touched.order_month,
    months.country,
    months.orders,
    months.sales,
    months.cancelled_orders,
    months.payment_failures,
    months.ordered_amount,
    months.revenue,
    months.first_ordered_at,
    months.last_ordered_at,
    months.last_sale_at,
    months.specified_orders,
    months.specified_amount,
    months.specified_first_at,
    months.specified_last_at,
    now() as _built_at
from touched
cross join lateral (
    select
        user_id,
        coalesce(country, '') as country,
        {{ order_measures() }},
        min(ordered_at) filter (where not is_deleted) as first_ordered_at,
        max(ordered_at) filter (where not is_deleted) as last_ordered_at,
        max(ordered_at) filter (where is_sale) as last_sale_at,
        count(*) filter (where is_specified_sale) as specified_orders,
        sum(total_amount) filter (where is_specified_sale) as specified_amount,
        min(ordered_at) filter (where is_specified_sale) as specified_first_at,
        max(ordered_at) filter (where is_specified_sale) as specified_last_at
    from {{ ref('fct_orders') }}
    {% if is_incremental() %}
    where user_id = any(touched.users)
      and ordered_at >= touched.order_month::timestamp at time zone 'UTC'
      and ordered_at < (touched.order_month + interval '1 month') at time zone 'UTC'
    {% else %}
    where order_date >= touched.order_month
      and order_date < touched.order_month + interval '1 month'
    {% endif %}
    group by 1, 2
) as months
