{{ config(tags=['daily'], indexes=[{'columns': ['segment', 'country', 'region'], 'unique': true}]) }}

select
    segment,
    coalesce(country, '') as country,
    coalesce(region, '') as region,
    count(*) as customers,
    sum(orders)::bigint as orders,
    sum(sales)::bigint as sales,
    sum(lifetime_value) as lifetime_value
from {{ ref('dim_customers') }}
group by 1, 2, 3
