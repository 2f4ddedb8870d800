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
where order_date in (select order_date from {{ ref('fct_orders') }} where _built_at > {{ built_until() }})
{% endif %}
group by 1, 2, 3
