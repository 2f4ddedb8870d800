select
    id as entry_id,
    product_id,
    warehouse_id,
    kind,
    delta,
    balance,
    order_id,
    occurred_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('inventory', 'stock_ledger') }}
