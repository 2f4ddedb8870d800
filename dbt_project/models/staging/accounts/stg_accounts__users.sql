select
    id as user_id,
    name,
    role,
    status,
    created_at as registered_at,
    updated_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('accounts', 'users') }}
