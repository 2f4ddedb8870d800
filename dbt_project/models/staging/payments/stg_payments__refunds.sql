select
    order_id,
    payment_id,
    provider,
    amount,
    currency,
    status,
    requested_at,
    completed_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('payments', 'refunds') }}
