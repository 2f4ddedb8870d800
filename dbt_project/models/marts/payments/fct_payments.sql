{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='order_id',
        indexes=[
            {'columns': ['order_id'], 'unique': true},
            {'columns': ['_emitted_at']},
            {'columns': ['_built_at']},
            {'columns': ['payment_date']},
        ],
        post_hook="{{ analyse_when_new() }}",
    )
}}

with {{ latest('stg_payments__payments', 'order_id', 'started_at', [
    'order_id', 'payment_id', 'user_id', 'provider', 'method', 'status', 'reason', 'amount', 'currency', 'attempts',
    'duration_ms', 'started_at',
]) }}

select
    order_id,
    payment_id,
    user_id,
    provider,
    method,
    status,
    {{ payment_outcome('status') }} as outcome,
    reason,
    amount,
    currency,
    attempts,
    duration_ms,
    started_at,
    {{ utc_date('started_at') }} as payment_date,
    is_deleted,
    _emitted_at,
    now() as _built_at
from latest
