{{
    config(
        indexes=[
            {'columns': ['order_date', 'category'], 'unique': true},
        ],
    )
}}

select
    daily.order_date,
    coalesce(products.category, '') as category,
    sum(daily.units)::bigint as units,
    sum(daily.sold_lines)::bigint as sold_lines,
    sum(daily.revenue) as revenue,
    sum(daily.cancelled_units)::bigint as cancelled_units,
    sum(daily.margin) as margin,
    coalesce(sum(daily.revenue) filter (where daily.margin is not null), 0) as margin_revenue
from {{ ref('agg_product_daily') }} as daily
left join {{ ref('dim_products') }} as products using (product_id)
group by 1, 2
