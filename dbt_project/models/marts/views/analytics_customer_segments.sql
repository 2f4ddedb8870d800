{{
    config(
        indexes=[
            {'columns': ['user_id'], 'unique': true},
            {'columns': ['lifetime_value']},
        ],
    )
}}

select
    user_id,
    sum(specified_orders)::bigint as total_orders,
    sum(specified_amount) as lifetime_value,
    max(specified_last_at) as last_order_date,
    min(specified_first_at) as first_order_date,
    sum(specified_amount) / sum(specified_orders) as avg_order_value
from {{ ref('int_customer_months') }}
where specified_orders > 0
group by user_id
