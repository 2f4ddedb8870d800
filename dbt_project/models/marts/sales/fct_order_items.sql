{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['order_id', 'order_item_id'],
        indexes=[
            {'columns': ['order_id', 'order_item_id'], 'unique': true},
            {'columns': ['_emitted_at']},
            {'columns': ['_built_at']},
            {'columns': ['order_date', 'product_id']},
        ],
        post_hook="{{ analyse_when_new() }}",
    )
}}

with new_items as (
    select order_item_id, order_id, product_id, quantity, unit_price, is_deleted, _emitted_at
    from {{ ref('stg_orders__order_items') }}
    {% if var('month', none) %}
    -- an item has no moment of its own
    where order_id in (select order_id from {{ ref('fct_orders') }} where {{ in_month('ordered_at') }})
      {% if is_incremental() %} and {{ not_newer() }} {% endif %}
    {% else %}
    where {{ to_take('_emitted_at') }}
    {% endif %}
),

{% if is_incremental() %}
candidates as (
    select *, true as is_new from new_items
    union all
    -- items whose order has changed in what they say of it; raw has no index to find them by. Most changes of an order
    -- don't, and to write its items again would have every aggregate of them count again
    select
        known.order_item_id,
        known.order_id,
        known.product_id,
        known.quantity,
        known.unit_price,
        known.is_item_deleted,
        known._emitted_at,
        false
    from {{ this }} as known
    inner join {{ ref('fct_orders') }} as orders using (order_id)
    where orders._built_at > {{ built_until() }}
      and (known.user_id, known.ordered_at, known.is_sale, known.is_specified_sale, known.is_cancelled, known.is_deleted)
      is distinct from (
          orders.user_id,
          orders.ordered_at,
          orders.is_sale and not known.is_item_deleted,
          orders.is_specified_sale and not known.is_item_deleted,
          orders.is_cancelled and not known.is_item_deleted,
          orders.is_deleted or known.is_item_deleted
      )
),

-- by sorting: the planner takes what is newest for next to nothing and would compare each with each
items as (
    select distinct on (order_id, order_item_id) *
    from candidates
    order by order_id, order_item_id, is_new desc
)
{% else %}
items as (select * from new_items)
{% endif %}

select
    items.order_item_id,
    items.order_id,
    items.product_id,
    orders.user_id,
    items.quantity,
    items.unit_price,
    items.quantity * items.unit_price as amount,
    coalesce(orders.is_sale, false) and not items.is_deleted as is_sale,
    coalesce(orders.is_specified_sale, false) and not items.is_deleted as is_specified_sale,
    coalesce(orders.is_cancelled, false) and not items.is_deleted as is_cancelled,
    orders.ordered_at,
    orders.order_date,
    items.is_deleted as is_item_deleted,
    items.is_deleted or coalesce(orders.is_deleted, true) as is_deleted,
    items._emitted_at,
    now() as _built_at
from items
left join {{ ref('fct_orders') }} as orders using (order_id)
