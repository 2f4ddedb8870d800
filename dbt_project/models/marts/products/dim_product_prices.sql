{{
    config(
        indexes=[
            {'columns': ['product_id', 'valid_from'], 'unique': true},
        ],
    )
}}

-- built from the catalog's own history, which holds each change with its moment; a snapshot would see only those
-- prices that hold when dbt happens to run
with changes as (
    select product_id, version, old_price, new_price, changed_at
    from {{ ref('stg_catalog__price_history') }}
    where not is_deleted
),

starts as (
    -- the price before the first change, or the only one
    select
        products.product_id,
        products.created_at as valid_from,
        coalesce(first_change.old_price, products.price) as price,
        0 as version
    from {{ ref('stg_catalog__products') }} as products
    left join (
        select distinct on (product_id) product_id, old_price
        from changes
        order by product_id, version
    ) as first_change using (product_id)
    where not products.is_deleted
    union all
    select product_id, changed_at, new_price, version
    from changes
),

-- of changes at the same moment the last one holds
settled as (
    select distinct on (product_id, valid_from) product_id, valid_from, price, version
    from starts
    order by product_id, valid_from, version desc
)

select
    product_id,
    price,
    valid_from,
    lead(valid_from) over changed as valid_to,
    lead(valid_from) over changed is null as is_current
from settled
window changed as (partition by product_id order by valid_from)
