select
    id as category_id,
    slug,
    name,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('catalog', 'categories') }}
