{{
    config(
        indexes=[
            {'columns': ['product_id', 'started_at']},
            {'columns': ['started_at']},
        ],
    )
}}

-- from the entry that empties a product's shelf in a warehouse to the next one that fills it
with turns as (
    select
        entry_id,
        product_id,
        warehouse_id,
        is_empty,
        occurred_at,
        lead(occurred_at) over shelf as next_at,
        lag(is_empty) over shelf as was_empty
    from {{ ref('int_stock_turns') }}
    window shelf as (partition by product_id, warehouse_id order by occurred_at, entry_id)
)

select
    entry_id,
    product_id,
    warehouse_id,
    occurred_at as started_at,
    next_at as ended_at,
    round(extract(epoch from next_at - occurred_at)::numeric / 3600, 2) as hours
from turns
where is_empty and not coalesce(was_empty, false)
