select
    product_id,
    unit_cost,
    currency,
    valid_from,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('catalog', 'product_costs') }}
