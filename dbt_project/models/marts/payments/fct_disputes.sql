{{
    config(
        indexes=[
            {'columns': ['provider', 'dispute_id'], 'unique': true},
            {'columns': ['opened_at']},
        ],
    )
}}

select
    disputes.provider,
    disputes.dispute_id,
    disputes.order_id,
    payments.user_id,
    payments.method,
    disputes.amount,
    disputes.currency,
    disputes.reason,
    disputes.status,
    disputes.status = 'lost' as is_chargeback,
    disputes.opened_at,
    {{ utc_date('disputes.opened_at') }} as opened_date,
    disputes.closed_at,
    payments.payment_date
from {{ ref('stg_payments__disputes') }} as disputes
left join {{ ref('fct_payments') }} as payments using (order_id)
where not disputes.is_deleted
