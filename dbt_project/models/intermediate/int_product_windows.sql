{{ config(tags=['daily'], indexes=[{'columns': ['product_id'], 'unique': true}]) }}

-- Sales by product in the windows that dashboards ask for, today included, and in the window of equal length before:
-- first in the spans between the windows' ends, so that a day is added up once and not for each window that it is in.
{% set ends = [1, 2, 7, 14, 30, 60, 90, 180] %}
with spans as (
    select
        product_id,
        width_bucket(current_date - order_date, array{{ ends }}) as span,
        sum(units) as units,
        sum(revenue) as revenue,
        sum(margin) as margin,
        sum(revenue) filter (where margin is not null) as margin_revenue,
        max(order_date) filter (where units > 0) as last_sold_on,
        min(order_date) filter (where units > 0) as first_sold_on
    from {{ ref('agg_product_daily') }}
    where order_date > current_date - 365
    group by 1, 2
)

select
    product_id,
    {% for days in [1, 7, 30, 90, 365] %}
    {% set first_after = ends.index(days) if days in ends else ends | length %}
    coalesce(sum(units) filter (where span <= {{ first_after }}), 0)::bigint as units_{{ days }}d,
    coalesce(sum(revenue) filter (where span <= {{ first_after }}), 0) as revenue_{{ days }}d,
    {% if days < 365 %}
    coalesce(sum(revenue) filter (where span = {{ first_after + 1 }}), 0) as previous_revenue_{{ days }}d,
    {% endif %}
    {% endfor %}
    coalesce(sum(margin) filter (where span <= {{ ends.index(90) }}), 0) as margin_90d,
    coalesce(sum(margin_revenue) filter (where span <= {{ ends.index(90) }}), 0) as margin_revenue_90d,
    max(last_sold_on) as last_sold_on,
    min(first_sold_on) as first_sold_on
from spans
group by 1
