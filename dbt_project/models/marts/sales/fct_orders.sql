{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='order_id',
        indexes=[
            {'columns': ['order_id'], 'unique': true},
            {'columns': ['_emitted_at']},
            {'columns': ['_built_at']},
            {'columns': ['order_date']},
            {'columns': ['user_id', 'ordered_at']},
        ],
        post_hook="{{ analyse_when_new() }}",
    )
}}

with {{ latest('stg_orders__orders', 'order_id', 'ordered_at', [
    'order_id', 'user_id', 'status', 'cancel_reason', 'total_amount', 'currency', 'payment_method', 'country',
    'region', 'city', 'flash_sale_id', 'client_ip', 'ordered_at', 'updated_at',
]) }}

select
    order_id,
    user_id,
    status,
    cancel_reason,
    not is_deleted and {{ is_sale('status') }} as is_sale,
    not is_deleted and {{ is_specified_sale('status') }} as is_specified_sale,
    not is_deleted and status in ('cancelling', 'cancelled') as is_cancelled,
    not is_deleted and {{ is_payment_failure('status', 'cancel_reason') }} as is_payment_failure,
    total_amount,
    currency,
    payment_method,
    country,
    region,
    city,
    flash_sale_id,
    client_ip,
    ordered_at,
    {{ utc_date('ordered_at') }} as order_date,
    updated_at,
    is_deleted,
    _emitted_at,
    now() as _built_at
from latest
