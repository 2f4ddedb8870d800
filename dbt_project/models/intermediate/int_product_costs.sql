{{ config(indexes=[{'columns': ['product_id', 'valid_from'], 'unique': true}]) }}

-- what a unit costs on which days; the last cost of a day holds for all of it
with daily as (
    select distinct on (product_id, {{ utc_date('valid_from') }})
        product_id,
        {{ utc_date('valid_from') }} as valid_from,
        unit_cost,
        _emitted_at
    from {{ ref('stg_catalog__product_costs') }}
    where not is_deleted
    order by product_id, {{ utc_date('valid_from') }}, valid_from desc
)

select
    product_id,
    valid_from,
    lead(valid_from, 1, 'infinity') over (partition by product_id order by valid_from) as valid_to,
    unit_cost,
    _emitted_at
from daily
