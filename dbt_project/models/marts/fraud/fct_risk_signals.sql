{{
    config(
        indexes=[
            {'columns': ['order_id'], 'unique': true},
            {'columns': ['ordered_at']},
        ],
    )
}}

-- what the shop's own books say of an order that may be fraud; no model has judged it
{% set days = 30 %}
{% set rapid_orders = 4 %}
{% set high_amount = 250 %}
{% set customers_of_address = 4 %}
with recent as (
    select
        orders.order_id,
        orders.user_id,
        orders.status,
        orders.total_amount,
        orders.client_ip,
        orders.ordered_at,
        orders.order_date,
        count(*) over (
            partition by orders.user_id
            order by orders.ordered_at
            range between interval '1 hour' preceding and current row
        ) as orders_within_hour
    from {{ ref('fct_orders') }} as orders
    where orders.order_date > current_date - {{ days }} and not orders.is_deleted
),

-- distinct first: a count of distinct customers would sort a month's orders by address
shared_addresses as (
    select client_ip, order_date, count(*) as customers
    from (select distinct client_ip, order_date, user_id from recent where client_ip is not null) as visits
    group by 1, 2
    having count(*) >= {{ customers_of_address }}
),

judged as (
    select
        recent.*,
        customers.registered_at,
        payments.reason as payment_reason,
        recent.orders_within_hour >= {{ rapid_orders }} as is_rapid,
        recent.total_amount >= {{ high_amount }}
            and recent.ordered_at < customers.registered_at + interval '7 days' as is_high_value_from_new_account,
        coalesce(payments.outcome = 'failed' and {{ is_fraud_decline('payments.reason') }}, false)
            as is_declined_as_fraud,
        shared_addresses.client_ip is not null as is_from_shared_address,
        disputes.order_id is not null as is_disputed
    from recent
    left join {{ ref('stg_accounts__users') }} as customers using (user_id)
    left join {{ ref('fct_payments') }} as payments
        on payments.order_id = recent.order_id
        and payments.payment_date > current_date - {{ days + 1 }}
        and payments.outcome = 'failed'
    left join shared_addresses
        on shared_addresses.client_ip = recent.client_ip and shared_addresses.order_date = recent.order_date
    left join (select distinct order_id from {{ ref('fct_disputes') }}) as disputes
        on disputes.order_id = recent.order_id
)

select
    order_id,
    user_id,
    status,
    total_amount,
    ordered_at,
    order_date,
    orders_within_hour,
    is_rapid,
    coalesce(is_high_value_from_new_account, false) as is_high_value_from_new_account,
    is_from_shared_address,
    is_declined_as_fraud,
    is_disputed,
    is_rapid::integer + coalesce(is_high_value_from_new_account, false)::integer
        + is_from_shared_address::integer + is_declined_as_fraud::integer + is_disputed::integer as signals
from judged
where is_rapid or coalesce(is_high_value_from_new_account, false) or is_from_shared_address
    or is_declined_as_fraud or is_disputed
