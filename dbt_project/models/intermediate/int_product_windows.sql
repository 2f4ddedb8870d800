{{ config(indexes=[{'columns': ['product_id'], 'unique': true}]) }}

-- sales by product in the windows that dashboards ask for, today included, and in the window of equal length before
{% set windows = [1, 7, 30, 90, 365] %}
select
    product_id,
    {% for days in windows %}
    coalesce(sum(units) filter (where order_date > current_date - {{ days }}), 0)::bigint as units_{{ days }}d,
    coalesce(sum(revenue) filter (where order_date > current_date - {{ days }}), 0) as revenue_{{ days }}d,
    {% if days < 365 %}
    coalesce(sum(revenue) filter (
        where order_date > current_date - {{ 2 * days }} and order_date <= current_date - {{ days }}
    ), 0) as previous_revenue_{{ days }}d,
    {% endif %}
    {% endfor %}
    coalesce(sum(margin) filter (where order_date > current_date - 90), 0) as margin_90d,
    coalesce(sum(revenue) filter (where order_date > current_date - 90 and margin is not null), 0)
        as margin_revenue_90d,
    max(order_date) filter (where units > 0) as last_sold_on,
    min(order_date) filter (where units > 0) as first_sold_on
from {{ ref('agg_product_daily') }}
where order_date > current_date - 365
group by 1
