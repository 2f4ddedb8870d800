{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='booked_date',
        indexes=[
            {'columns': ['booked_date', 'carrier', 'service_level', 'country', 'region'], 'unique': true},
        ],
        post_hook="{{ drop_empty('parcels') }}",
    )
}}

select
    booked_date,
    carrier,
    service_level,
    coalesce(country, '') as country,
    coalesce(region, '') as region,
    count(*) filter (where not is_deleted) as parcels,
    count(dispatched_at) filter (where not is_deleted) as dispatched,
    count(delivered_at) filter (where not is_deleted) as delivered,
    count(*) filter (where is_on_time and not is_deleted) as on_time,
    count(*) filter (where not is_on_time and not is_deleted) as late,
    count(*) filter (where delay_seconds > 0 and not is_deleted) as delayed,
    coalesce(sum(delay_seconds) filter (where not is_deleted), 0) as delay_seconds,
    coalesce(sum(seconds_to_ship) filter (where not is_deleted), 0) as seconds_to_ship,
    coalesce(sum(seconds_to_deliver) filter (where not is_deleted), 0) as seconds_to_deliver,
    now() as _built_at
from {{ ref('fct_shipments') }}
{% if is_incremental() %}
where {{ in_touched_days('booked_date', [ref('fct_shipments')]) }}
{% endif %}
group by 1, 2, 3, 4, 5
