{#
  No nested loops: no index leads from a pair to its lines, and the planner, which takes what is new for a row or two, would
  read ninety days once for each.
#}
{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['product_id', 'user_id'],
        indexes=[
            {'columns': ['product_id', 'user_id'], 'unique': true},
            {'columns': ['last_bought_at']},
            {'columns': ['_built_at']},
        ],
        pre_hook="set local enable_nestloop = off",
        post_hook=["delete from {{ this }} where last_bought_at < current_date - 90", "{{ analyse_when_new() }}"],
    )
}}

-- Who bought what in the last ninety days, counted in whole days, and when last, by what the specification counts as
-- sold. A product's customers since any moment within them are those whose last purchase is not older: as the window
-- moves on, nothing has to be counted anew.
with
{% if is_incremental() %}
-- later purchases than those known, and purchases that were a pair's last and no longer count
changes as (
    select lines.product_id, lines.user_id, lines.ordered_at, lines.is_specified_sale
    from {{ ref('fct_order_items') }} as lines
    left join {{ this }} as known using (product_id, user_id)
    where lines._built_at > {{ built_until() }}
      and lines.order_date >= current_date - 90
      and case
          when lines.is_specified_sale then lines.ordered_at > coalesce(known.last_bought_at, '-infinity')
          else lines.ordered_at = known.last_bought_at
      end
),

bought as (
    select product_id, user_id, max(ordered_at) as last_bought_at
    from changes
    group by 1, 2
    having bool_and(is_specified_sale)
    union all
    -- where the last purchase no longer counts: the one before, if there was any
    select product_id, user_id, coalesce(max(lines.ordered_at), '-infinity')
    from (select distinct product_id, user_id from changes where not is_specified_sale) as pairs
    left join (
        select product_id, user_id, ordered_at
        from {{ ref('fct_order_items') }}
        where is_specified_sale and order_date >= current_date - 90
    ) as lines using (product_id, user_id)
    group by 1, 2
)
{% else %}
bought as (
    select product_id, user_id, max(ordered_at) as last_bought_at
    from {{ ref('fct_order_items') }}
    where is_specified_sale and order_date >= current_date - 90
    group by 1, 2
)
{% endif %}

select product_id, user_id, last_bought_at, now() as _built_at
from bought
