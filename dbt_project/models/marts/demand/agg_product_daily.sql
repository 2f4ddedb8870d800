{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['product_id', 'order_date'],
        indexes=[
            {'columns': ['product_id', 'order_date'], 'unique': true},
            {'columns': ['order_date'], 'type': 'brin'},
        ],
        post_hook=["{{ drop_empty('ordered_lines') }}", "{{ analyse_when_new() }}"],
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

{% set measures -%}
        (count(*) filter (where not is_deleted))::integer as ordered_lines,
        coalesce(sum(quantity) filter (where is_sale), 0)::integer as units,
        (count(*) filter (where is_sale))::integer as sold_lines,
        -- sums of integers: their state is a number, that of a sum of numerics is ten times as large
        coalesce(sum((amount * 100)::integer) filter (where is_sale), 0) * 0.01 as revenue,
        coalesce(sum(quantity) filter (where is_cancelled), 0)::integer as cancelled_units
{%- endset %}
sold as (
    {% if is_incremental() %}
    -- cell by cell over the index: the planner does not know how few cells that is, and would read all lines
    select touched.product_id, touched.order_date, lines.ordered_lines, lines.units, lines.sold_lines, lines.revenue,
        lines.cancelled_units
    from touched
    cross join lateral (
        select
            {{ measures }}
        from {{ ref('fct_order_items') }} as items
        where items.product_id = touched.product_id and items.order_date = touched.order_date
        having count(*) > 0
    ) as lines
    {% else %}
    -- day by day over the index: a day's products fit into memory, a year's cells do not
    select lines.product_id, days.order_date, lines.ordered_lines, lines.units, lines.sold_lines, lines.revenue,
        lines.cancelled_units
    from (
        select generate_series(min(order_date), max(order_date), '1 day')::date as order_date
        from {{ ref('fct_order_items') }}
    ) as days
    cross join lateral (
        select
            product_id,
            {{ measures }}
        from {{ ref('fct_order_items') }} as items
        where items.order_date = days.order_date
        group by 1
    ) as lines
    {% endif %}
)

select
    sold.product_id,
    sold.order_date,
    sold.units,
    sold.ordered_lines,
    sold.sold_lines,
    sold.revenue,
    sold.cancelled_units,
    sold.revenue - sold.units * costs.unit_cost as margin,
    costs._emitted_at as _cost_emitted_at,
    now() as _built_at
from sold
left join {{ ref('int_product_costs') }} as costs
    on costs.product_id = sold.product_id
    and sold.order_date >= costs.valid_from
    and sold.order_date < costs.valid_to
