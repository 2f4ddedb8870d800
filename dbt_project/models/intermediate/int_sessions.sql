{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='session_id',
        indexes=[{'columns': ['session_id'], 'unique': true}, {'columns': ['_emitted_at']}],
    )
}}

{% if is_incremental() %}
{# The topic has several partitions: after an outage one is read up before the next. #}
{% set new = taken_until(overlap=var('events_overlap')) %}
{% endif %}
select
    events.session_id,
    min(events.occurred_at) as started_at,
    {{ utc_date('min(events.occurred_at)') }} as session_date,
    min(events.device) as device,
    count(*) as events,
    bool_or(kind = 'product_view') as has_view,
    bool_or(kind = 'search') as has_search,
    bool_or(kind = 'cart_add') as has_cart,
    bool_or(kind = 'checkout_start') as has_checkout,
    bool_or(kind = 'order_placed') as has_order,
    max(events._emitted_at) as _emitted_at
from {{ ref('stg_storefront__events') }} as events
{% if is_incremental() %}
-- a session that has new events is counted anew, from all its events: it lasts hours, raw keeps a month
where events._emitted_at > {{ new }} - interval '1 day'
  and events.session_id in (select session_id from {{ ref('stg_storefront__events') }} where _emitted_at > {{ new }})
{% endif %}
group by 1
