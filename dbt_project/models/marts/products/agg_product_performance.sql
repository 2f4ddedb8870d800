{{
    config(
        tags=['daily'],
        indexes=[
            {'columns': ['product_id'], 'unique': true},
            {'columns': ['revenue_30d']},
            {'columns': ['units_30d']},
            {'columns': ['category', 'revenue_30d']},
        ],
    )
}}

with stock_outs as (
    select
        product_id,
        count(*) as stock_outs_90d,
        sum(hours) as stock_out_hours_90d
    from {{ ref('fct_stock_outs') }}
    where started_at > now() - interval '90 days'
    group by 1
),

stock as (
    select product_id, sum(on_hand) as on_hand
    from {{ ref('stg_inventory__inventory') }}
    where not is_deleted
    group by 1
)

select
    products.product_id,
    products.sku,
    products.name,
    products.category,
    products.price,
    products.is_active,
    {% for days in [1, 7, 30, 90, 365] %}
    coalesce(windows.units_{{ days }}d, 0) as units_{{ days }}d,
    coalesce(windows.revenue_{{ days }}d, 0) as revenue_{{ days }}d,
    {% if days < 365 %}
    coalesce(windows.previous_revenue_{{ days }}d, 0) as previous_revenue_{{ days }}d,
    {% endif %}
    {% endfor %}
    windows.margin_90d,
    {{ ratio('windows.margin_90d', 'windows.margin_revenue_90d') }} as margin_rate_90d,
    coalesce(stock.on_hand, 0) as on_hand,
    {{ ratio('windows.units_90d', 'windows.units_90d + coalesce(stock.on_hand, 0)') }} as sell_through_90d,
    windows.last_sold_on,
    coalesce(stock_outs.stock_outs_90d, 0) as stock_outs_90d,
    coalesce(stock_outs.stock_out_hours_90d, 0) as stock_out_hours_90d
from {{ ref('dim_products') }} as products
left join {{ ref('int_product_windows') }} as windows using (product_id)
left join stock using (product_id)
left join stock_outs using (product_id)
where not products.is_deleted
