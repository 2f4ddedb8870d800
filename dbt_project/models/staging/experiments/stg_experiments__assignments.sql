select
    experiment,
    user_id,
    variant,
    assigned_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('experiments', 'assignments') }}
