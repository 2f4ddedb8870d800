{{ config(indexes=[{'columns': ['risk_date'], 'unique': true}]) }}

with declines as (
    select
        payment_date as risk_date,
        sum(payments)::bigint as payments,
        sum(payments) filter (where outcome = 'failed')::bigint as declined,
        sum(payments) filter (where outcome = 'failed' and {{ is_fraud_decline('reason') }})::bigint as declined_as_fraud,
        sum(amount) filter (where outcome = 'failed' and {{ is_fraud_decline('reason') }}) as declined_as_fraud_amount
    from {{ ref('agg_payments_daily') }}
    group by 1
),

-- by the day of the payment: how much of what a day took was disputed later
disputes as (
    select
        payment_date as risk_date,
        count(*) as disputes,
        sum(amount) as disputed_amount,
        count(*) filter (where is_chargeback) as chargebacks,
        coalesce(sum(amount) filter (where is_chargeback), 0) as chargeback_amount
    from {{ ref('fct_disputes') }}
    where payment_date is not null
    group by 1
)

select
    declines.risk_date,
    declines.payments,
    coalesce(declines.declined, 0) as declined,
    coalesce(declines.declined_as_fraud, 0) as declined_as_fraud,
    coalesce(declines.declined_as_fraud_amount, 0) as declined_as_fraud_amount,
    coalesce(disputes.disputes, 0) as disputes,
    coalesce(disputes.disputed_amount, 0) as disputed_amount,
    coalesce(disputes.chargebacks, 0) as chargebacks,
    coalesce(disputes.chargeback_amount, 0) as chargeback_amount,
    {{ ratio('coalesce(disputes.chargebacks, 0)', 'declines.payments') }} as chargeback_rate
from declines
left join disputes using (risk_date)
