select
    id as sale_id,
    product_id,
    price,
    currency,
    units,
    starts_at,
    ends_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('sales', 'sales') }}
