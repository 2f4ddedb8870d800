select
    id as product_id,
    sku,
    name,
    category_id,
    price,
    currency,
    active as is_active,
    created_at,
    updated_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('catalog', 'products') }}
