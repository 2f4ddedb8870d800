select
    order_id,
    payment_id,
    user_id,
    provider,
    method,
    status,
    nullif(reason, '') as reason,
    amount,
    currency,
    attempts,
    duration_ms,
    created_at as started_at,
    updated_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('payments', 'payments') }}
