select
    id as order_id,
    user_id,
    status,
    cancel_reason,
    total_amount,
    currency,
    payment_method,
    shipping_address ->> 'country' as country,
    shipping_address ->> 'region' as region,
    shipping_address ->> 'city' as city,
    (sale ->> 'sale_id')::uuid as flash_sale_id,
    nullif(client_ip, '') as client_ip,
    created_at as ordered_at,
    updated_at,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('orders', 'orders') }}
