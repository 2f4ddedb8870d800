{{ config(indexes=[{'columns': ['session_date', 'device'], 'unique': true}]) }}

-- each step holds the sessions that came at least as far; abandonment is what lies between cart and order
select
    session_date,
    coalesce(device, '') as device,
    count(*) as sessions,
    count(*) filter (where has_view or has_cart or has_checkout or has_order) as sessions_with_view,
    count(*) filter (where has_cart or has_checkout or has_order) as sessions_with_cart,
    count(*) filter (where has_checkout or has_order) as sessions_with_checkout,
    count(*) filter (where has_order) as sessions_with_order,
    count(*) filter (where has_search) as sessions_with_search
from {{ ref('int_sessions') }}
group by 1, 2
