{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='order_date',
        indexes=[
            {
                'columns': ['order_date', 'status', 'cancel_reason', 'payment_method', 'country', 'region'],
                'unique': true,
            },
        ],
        post_hook="{{ drop_empty('orders') }}",
    )
}}

select
    order_date,
    status,
    coalesce(cancel_reason, '') as cancel_reason,
    payment_method,
    coalesce(country, '') as country,
    coalesce(region, '') as region,
    {{ order_measures() }},
    now() as _built_at
from {{ ref('fct_orders') }}
{% if is_incremental() %}
where {{ in_touched_days('order_date', [ref('fct_orders')]) }}
{% endif %}
group by 1, 2, 3, 4, 5, 6
