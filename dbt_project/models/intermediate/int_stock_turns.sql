{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='entry_id',
        indexes=[{'columns': ['entry_id'], 'unique': true}, {'columns': ['_emitted_at']}, {'columns': ['_built_at']}],
    )
}}

-- of the ledger, which only grows, the entries that empty a shelf or fill it
select entry_id, product_id, warehouse_id, balance = 0 as is_empty, occurred_at, _emitted_at, now() as _built_at
from {{ ref('stg_inventory__stock_ledger') }}
where (delta > 0 or balance = 0)
  and not is_deleted
  {% if is_incremental() %}
  and _emitted_at > {{ taken_until() }}
  {% endif %}
