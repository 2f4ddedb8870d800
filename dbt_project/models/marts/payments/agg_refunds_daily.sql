{{ config(indexes=[{'columns': ['requested_date', 'provider', 'status'], 'unique': true}]) }}

select
    {{ utc_date('requested_at') }} as requested_date,
    provider,
    status,
    count(*) as refunds,
    sum(amount) as amount,
    coalesce(sum(extract(epoch from completed_at - requested_at)), 0) as seconds_to_complete
from {{ ref('stg_payments__refunds') }}
where not is_deleted
group by 1, 2, 3
