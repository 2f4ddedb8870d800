{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='order_date',
        indexes=[
            {'columns': ['order_date', 'category'], 'unique': true},
        ],
    )
}}

-- depends_on: {{ ref('fct_order_items') }}
select
    daily.order_date,
    coalesce(products.category, '') as category,
    sum(daily.units)::bigint as units,
    sum(daily.sold_lines)::bigint as sold_lines,
    sum(daily.revenue) as revenue,
    sum(daily.cancelled_units)::bigint as cancelled_units,
    sum(daily.margin) as margin,
    coalesce(sum(daily.revenue) filter (where daily.margin is not null), 0) as margin_revenue,
    now() as _built_at
from {{ ref('agg_product_daily') }} as daily
left join {{ ref('dim_products') }} as products using (product_id)
{% if is_incremental() %}
{% set built = built_until() %}
where daily.order_date in (
    select order_date from {{ ref('agg_product_daily') }} where _built_at > {{ built }}
    union
    -- also of lines that were a product's only ones, which has no such day any more
    select order_date from {{ ref('fct_order_items') }} where _built_at > {{ built }}
    union
    -- the days of a product that may have moved to another category
    select moved.order_date
    from {{ ref('agg_product_daily') }} as moved
    where moved.product_id in (select product_id from {{ ref('dim_products') }} where _built_at > {{ built }})
)
{% endif %}
group by 1, 2
