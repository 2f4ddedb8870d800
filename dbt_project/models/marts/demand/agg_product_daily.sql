{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['product_id', 'order_date'],
        indexes=[
            {'columns': ['product_id', 'order_date'], 'unique': true},
            {'columns': ['order_date'], 'type': 'brin'},
        ],
        post_hook="{{ drop_empty('ordered_lines') }}",
    )
}}

with
{% if is_incremental() %}
touched as materialized (
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
),
{% endif %}

sold as (
    select
        items.product_id,
        items.order_date,
        count(*) filter (where not is_deleted) as ordered_lines,
        sum(quantity) filter (where is_sale) as units,
        count(*) filter (where is_sale) as sold_lines,
        sum(amount) filter (where is_sale) as revenue,
        sum(quantity) filter (where is_cancelled) as cancelled_units
    from {{ ref('fct_order_items') }} as items
    {% if is_incremental() %}
    inner join touched on touched.product_id = items.product_id and touched.order_date = items.order_date
    where items.order_date >= (select min(order_date) from touched)
    {% else %}
    where items.order_date is not null
    {% endif %}
    group by 1, 2
)

select
    sold.product_id,
    sold.order_date,
    coalesce(sold.units, 0) as units,
    sold.ordered_lines,
    sold.sold_lines,
    coalesce(sold.revenue, 0) as revenue,
    coalesce(sold.cancelled_units, 0) as cancelled_units,
    coalesce(sold.revenue, 0) - coalesce(sold.units, 0) * costs.unit_cost as margin,
    costs._emitted_at as _cost_emitted_at,
    now() as _built_at
from sold
left join {{ ref('int_product_costs') }} as costs
    on costs.product_id = sold.product_id
    and sold.order_date >= costs.valid_from
    and sold.order_date < costs.valid_to
