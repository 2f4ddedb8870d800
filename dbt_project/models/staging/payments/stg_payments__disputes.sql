select
    provider,
    dispute_id,
    order_id,
    payment_id,
    amount,
    currency,
    reason,
    status,
    opened_at,
    closed_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('payments', 'disputes') }}
