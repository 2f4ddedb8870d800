{{ config(tags=['daily'], indexes=[{'columns': ['bucket'], 'unique': true}]) }}

-- customer lifetime value in fifty steps up to its 99th percentile; the last step is open
with bounds as (
    select greatest(percentile_cont(0.99) within group (order by lifetime_value), 1)::numeric as top
    from {{ ref('dim_customers') }}
    where sales > 0
)

select
    least(floor(customers.lifetime_value / bounds.top * 50), 50)::integer as bucket,
    round(min(bounds.top) / 50 * least(floor(customers.lifetime_value / bounds.top * 50), 50), 2) as from_value,
    count(*) as customers,
    sum(customers.lifetime_value) as lifetime_value
from {{ ref('dim_customers') }} as customers
cross join bounds
where customers.sales > 0
group by least(floor(customers.lifetime_value / bounds.top * 50), 50)
