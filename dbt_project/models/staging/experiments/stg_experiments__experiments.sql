select
    key as experiment,
    name,
    variants,
    started_at,
    ended_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('experiments', 'experiments') }}
