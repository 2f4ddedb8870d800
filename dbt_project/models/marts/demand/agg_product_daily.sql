{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['order_date', 'product_id'],
        indexes=[
            {'columns': ['order_date', 'product_id'], 'unique': true},
            {'columns': ['product_id']},
            {'columns': ['_cost_emitted_at']},
            {'columns': ['_built_at']},
        ],
        pre_hook="{{ by_bitmap() }}",
        post_hook=["{{ drop_empty('ordered_lines') }}", "{{ analyse_when_new() }}"],
    )
}}

with touched as (
    {% if is_incremental() %}
    select order_date, array_agg(product_id) as products
    from (
        select product_id, order_date
        from {{ ref('fct_order_items') }}
        where _built_at > {{ built_until() }} and order_date is not null
        union
        -- a cost that became known later changes the margin of the days that it was valid on
        select cells.product_id, cells.order_date
        from {{ ref('int_product_costs') }} as costs
        inner join {{ this }} as cells
            on cells.product_id = costs.product_id and cells.order_date >= costs.valid_from
        where costs._emitted_at > {{ newest('_cost_emitted_at') }}
    ) as cells
    group by 1
    {% else %}
    select generate_series(min(order_date), max(order_date), '1 day')::date as order_date
    from {{ ref('fct_order_items') }}
    {% endif %}
),

-- day by day: a day's products fit into memory, a year's cells do not
sold as (
    select lines.*, touched.order_date
    from touched
    cross join lateral (
        select
            product_id,
            (count(*) filter (where not is_deleted))::integer as ordered_lines,
            coalesce(sum(quantity) filter (where is_sale), 0)::integer as units,
            (count(*) filter (where is_sale))::integer as sold_lines,
            -- sums of integers: their state is a number, that of a sum of numerics is ten times as large
            coalesce(sum((amount * 100)::integer) filter (where is_sale), 0) * 0.01 as revenue,
            coalesce(sum(quantity) filter (where is_cancelled), 0)::integer as cancelled_units,
            coalesce(sum(quantity) filter (where is_specified_sale), 0)::integer as specified_units,
            (count(*) filter (where is_specified_sale))::integer as specified_lines,
            coalesce(sum((amount * 100)::integer) filter (where is_specified_sale), 0) * 0.01 as specified_revenue
        from {{ ref('fct_order_items') }} as items
        where items.order_date = touched.order_date
        {% if is_incremental() %}
          and items.product_id = any(touched.products)
        {% endif %}
        group by 1
    ) as lines
)

select
    sold.product_id,
    sold.order_date,
    sold.units,
    sold.ordered_lines,
    sold.sold_lines,
    sold.revenue,
    sold.cancelled_units,
    sold.specified_units,
    sold.specified_lines,
    sold.specified_revenue,
    sold.revenue - sold.units * costs.unit_cost as margin,
    costs._emitted_at as _cost_emitted_at,
    now() as _built_at
from sold
left join {{ ref('int_product_costs') }} as costs
    on costs.product_id = sold.product_id
    and sold.order_date >= costs.valid_from
    and sold.order_date < costs.valid_to
