{{
    config(
        indexes=[
            {'columns': ['product_id'], 'unique': true},
            {'columns': ['available']},
            {'columns': ['category', 'available']},
            {'columns': ['days_of_cover']},
        ],
    )
}}

with stock as (
    select
        product_id,
        sum(on_hand) as on_hand,
        sum(reserved) as reserved,
        count(*) filter (where on_hand > 0) as warehouses
    from {{ ref('stg_inventory__inventory') }}
    where not is_deleted
    group by 1
),

costs as (
    select product_id, unit_cost from {{ ref('int_product_costs') }} where valid_to = 'infinity'
)

select
    products.product_id,
    products.sku,
    products.name,
    products.category,
    products.price,
    coalesce(stock.on_hand, 0) as on_hand,
    coalesce(stock.reserved, 0) as reserved,
    coalesce(stock.on_hand - stock.reserved, 0) as available,
    coalesce(stock.warehouses, 0) as warehouses,
    coalesce(stock.on_hand, 0) * costs.unit_cost as stock_value,
    coalesce(windows.units_30d, 0) as units_30d,
    coalesce(windows.units_90d, 0) as units_90d,
    round(coalesce(windows.units_30d, 0) / 30.0, 3) as units_per_day,
    {{ days_of_cover('coalesce(stock.on_hand - stock.reserved, 0)', 'windows.units_30d') }} as days_of_cover,
    windows.last_sold_on,
    coalesce(stock.on_hand - stock.reserved, 0) <= 0 as is_out_of_stock,
    coalesce(stock.on_hand - stock.reserved, 0) < 10 as is_low,
    coalesce(stock.on_hand, 0) > 0
        and coalesce(windows.units_90d, 0) = 0
        and products.created_at < now() - interval '90 days' as is_overstock
from {{ ref('dim_products') }} as products
left join stock using (product_id)
left join costs using (product_id)
left join {{ ref('int_product_windows') }} as windows using (product_id)
where products.is_active
