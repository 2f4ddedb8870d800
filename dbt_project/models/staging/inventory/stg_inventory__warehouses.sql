select
    id as warehouse_id,
    code,
    name,
    country,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('inventory', 'warehouses') }}
