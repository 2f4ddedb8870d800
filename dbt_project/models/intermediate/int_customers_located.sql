{{ config(materialized='view') }}

select
    users.user_id,
    users.name,
    users.role,
    users.status,
    addresses.country,
    addresses.region,
    addresses.city,
    users.registered_at,
    greatest(users.updated_at, addresses.updated_at) as updated_at,
    users.is_deleted
from {{ ref('stg_accounts__users') }} as users
left join {{ ref('stg_accounts__addresses') }} as addresses
    on addresses.user_id = users.user_id and addresses.is_default and not addresses.is_deleted
where users.role = 'customer'
