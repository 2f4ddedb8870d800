select
    product_id,
    warehouse_id,
    quantity as on_hand,
    reserved_quantity as reserved,
    updated_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('inventory', 'inventory') }}
