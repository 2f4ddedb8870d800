{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['product_id', 'warehouse_id'],
        indexes=[
            {'columns': ['entry_id'], 'unique': true},
            {'columns': ['product_id', 'started_at']},
            {'columns': ['started_at']},
        ],
    )
}}

-- from the entry that empties a product's shelf in a warehouse to the next one that fills it; a shelf that was ever
-- empty has its first stock-out for good, so none has to go without another in its place
with turns as (
    select
        entry_id,
        product_id,
        warehouse_id,
        is_empty,
        occurred_at,
        lag(is_empty, 1, false) over (partition by product_id, warehouse_id order by occurred_at, entry_id) as was_empty
    from {{ ref('int_stock_turns') }}
    {% if is_incremental() %}
    where (product_id, warehouse_id) in (
        select product_id, warehouse_id from {{ ref('int_stock_turns') }} where _built_at > {{ built_until() }}
    )
    {% endif %}
),

changes as (
    select
        *,
        lead(occurred_at) over (partition by product_id, warehouse_id order by occurred_at, entry_id) as next_at
    from turns
    where is_empty <> was_empty
)

select
    entry_id,
    product_id,
    warehouse_id,
    occurred_at as started_at,
    next_at as ended_at,
    round(extract(epoch from next_at - occurred_at)::numeric / 3600, 2) as hours,
    now() as _built_at
from changes
where is_empty
