{{
    config(
        tags=['daily'],
        indexes=[
            {'columns': ['user_id', 'valid_from'], 'unique': true},
        ],
    )
}}

-- raw keeps a customer's present state alone: how it was before is what the snapshot saw
select
    user_id,
    status,
    country,
    region,
    city,
    case
        when row_number() over (partition by user_id order by dbt_valid_from) = 1
            then least(registered_at, dbt_valid_from)
        else dbt_valid_from
    end as valid_from,
    dbt_valid_to as valid_to,
    dbt_valid_to is null as is_current
from {{ ref('snap_customers') }}
