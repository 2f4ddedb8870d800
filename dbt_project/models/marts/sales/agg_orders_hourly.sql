{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='order_date',
        indexes=[
            {'columns': ['ordered_hour', 'status'], 'unique': true},
            {'columns': ['order_date']},
        ],
        post_hook="{{ drop_empty('orders') }}",
    )
}}

select
    date_trunc('hour', ordered_at) as ordered_hour,
    order_date,
    status,
    {{ order_measures() }},
    now() as _built_at
from {{ ref('fct_orders') }}
{% if is_incremental() %}
where {{ in_touched_days('order_date', [ref('fct_orders')]) }}
{% endif %}
group by 1, 2, 3
