select
    id as order_item_id,
    order_id,
    product_id,
    category as category_at_purchase,
    quantity,
    price_at_purchase as unit_price,
    coalesce(__deleted, false) as is_deleted,
    __emitted_at as _emitted_at
from {{ source('orders', 'order_items') }}
