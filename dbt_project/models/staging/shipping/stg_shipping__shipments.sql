select
    id as shipment_id,
    order_id,
    warehouse_id,
    carrier,
    service_level,
    status,
    estimated_delivery as estimated_at,
    -- a delay moves the estimate: what was promised is the estimate without it
    estimated_delivery - make_interval(secs => delay_seconds) as promised_at,
    round(delay_seconds)::integer as delay_seconds,
    created_at as booked_at,
    dispatched_at,
    delivered_at,
    updated_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('shipping', 'shipments') }}
