{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='order_date',
        indexes=[
            {'columns': ['order_date', 'category'], 'unique': true},
        ],
        post_hook="{{ drop_empty('sold_lines + cancelled_units') }}",
    )
}}

-- depends_on: {{ ref('fct_order_items') }}
with cells as (
    select order_date, product_id, units, sold_lines, revenue, cancelled_units, margin
    from {{ ref('agg_product_daily') }}
    {% if is_incremental() %}
    {% set recategorised %}
        select cells.order_date
        from {{ ref('dim_products') }} as products
        inner join {{ ref('agg_product_daily') }} as cells using (product_id)
        where products._categorised_at > {{ built_until() }}
    {% endset %}
    {# by the lines too: a cell of which none is left is not there any more to tell of its day #}
    {% set touched = in_touched_days('order_date', [ref('agg_product_daily'), ref('fct_order_items')], also=recategorised) %}
    where {{ touched }}
    union all
    -- so that a day without any cell is replaced by nothing
    select distinct order_date, null::uuid, 0, 0, 0, 0, null::numeric
    from {{ this }}
    where {{ touched }}
    {% endif %}
)

select
    cells.order_date,
    coalesce(products.category, '') as category,
    sum(cells.units)::bigint as units,
    sum(cells.sold_lines)::bigint as sold_lines,
    sum(cells.revenue) as revenue,
    sum(cells.cancelled_units)::bigint as cancelled_units,
    sum(cells.margin) as margin,
    coalesce(sum(cells.revenue) filter (where cells.margin is not null), 0) as margin_revenue,
    now() as _built_at
from cells
left join {{ ref('dim_products') }} as products using (product_id)
group by 1, 2
