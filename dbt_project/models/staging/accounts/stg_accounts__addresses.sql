select
    id as address_id,
    user_id,
    city,
    nullif(region, '') as region,
    country,
    is_default,
    updated_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('accounts', 'addresses') }}
