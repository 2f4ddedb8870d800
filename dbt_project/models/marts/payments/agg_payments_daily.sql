{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='payment_date',
        indexes=[
            {'columns': ['payment_date', 'method', 'provider', 'outcome', 'reason'], 'unique': true},
        ],
        post_hook="{{ drop_empty('payments') }}",
    )
}}

select
    payment_date,
    method,
    provider,
    outcome,
    coalesce(reason, '') as reason,
    count(*) filter (where not is_deleted) as payments,
    coalesce(sum(amount) filter (where not is_deleted), 0) as amount,
    coalesce(sum(attempts) filter (where not is_deleted), 0) as attempts,
    coalesce(sum(duration_ms) filter (where not is_deleted), 0) as duration_ms,
    coalesce(max(duration_ms) filter (where not is_deleted), 0) as longest_ms,
    now() as _built_at
from {{ ref('fct_payments') }}
{% if is_incremental() %}
where {{ in_touched_days('payment_date', [ref('fct_payments')]) }}
{% endif %}
group by 1, 2, 3, 4, 5
