select
    product_id,
    competitor,
    price,
    currency,
    observed_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('catalog', 'competitor_prices') }}
