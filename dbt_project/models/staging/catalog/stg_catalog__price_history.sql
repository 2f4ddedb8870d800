select
    product_id,
    version,
    old_price,
    new_price,
    currency,
    reason,
    changed_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('catalog', 'price_history') }}
