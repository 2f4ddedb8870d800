{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['order_id', 'shipment_id'],
        indexes=[
            {'columns': ['order_id', 'shipment_id'], 'unique': true},
            {'columns': ['_emitted_at']},
            {'columns': ['_built_at']},
            {'columns': ['booked_date']},
            {'columns': ['ordered_at'], 'type': 'brin'},
        ],
        post_hook="{{ analyse_when_new() }}",
    )
}}

{% set columns = [
    'shipment_id', 'order_id', 'warehouse_id', 'carrier', 'service_level', 'status', 'promised_at', 'delay_seconds',
    'booked_at', 'dispatched_at', 'delivered_at',
] %}
with {{ latest('stg_shipping__shipments', 'shipment_id', 'booked_at', columns) }},

shipments as (
    select * from latest
    {% if is_incremental() %}
    union all
    -- parcels that came before their orders, and those whose order was deleted; else what a parcel takes from its order
    -- never changes
    select {{ columns | join(', ') }}, is_parcel_deleted, _emitted_at
    from (
        select * from {{ this }} where ordered_at is null
        union all
        select parcels.*
        from {{ ref('fct_orders') }} as gone
        cross join lateral (
            select * from {{ this }} as own where own.order_id = gone.order_id and own.ordered_at is not null
        ) as parcels
        where gone._built_at > {{ built_until() }} and gone.is_deleted
    ) as known
    where not exists (select from latest where latest.shipment_id = known.shipment_id)
    {% endif %}
)

select
    shipments.shipment_id,
    shipments.order_id,
    shipments.warehouse_id,
    shipments.carrier,
    shipments.service_level,
    shipments.status,
    orders.country,
    orders.region,
    orders.ordered_at,
    shipments.booked_at,
    {{ utc_date('shipments.booked_at') }} as booked_date,
    shipments.promised_at,
    shipments.dispatched_at,
    shipments.delivered_at,
    shipments.delay_seconds,
    shipments.delivered_at <= shipments.promised_at as is_on_time,
    extract(epoch from shipments.dispatched_at - orders.ordered_at)::integer as seconds_to_ship,
    extract(epoch from shipments.delivered_at - orders.ordered_at)::integer as seconds_to_deliver,
    shipments.is_deleted as is_parcel_deleted,
    shipments.is_deleted or coalesce(orders.is_deleted, true) as is_deleted,
    shipments._emitted_at,
    now() as _built_at
from shipments
left join {{ ref('fct_orders') }} as orders using (order_id)
