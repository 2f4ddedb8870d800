select
    event_id,
    kind,
    session_id,
    user_id,
    product_id,
    order_id,
    query,
    results,
    quantity,
    price,
    device,
    referrer,
    experiment,
    variant,
    occurred_at,
    __emitted_at as _emitted_at
from {{ source('storefront', 'events') }}
