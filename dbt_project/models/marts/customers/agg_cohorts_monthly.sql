{{ config(tags=['daily'], indexes=[{'columns': ['signup_month', 'months_since_signup'], 'unique': true}]) }}

-- every month from a cohort's first to this one has a row, so that a month in which nobody came back shows
with cohorts as (
    select signup_month, count(*) as customers
    from {{ ref('dim_customers') }}
    group by 1
),

months as (
    select
        cohorts.signup_month,
        cohorts.customers,
        month::date as order_month
    from cohorts
    cross join lateral generate_series(cohorts.signup_month, date_trunc('month', current_date), '1 month') as month
),

activity as (
    select
        customers.signup_month,
        months.order_month,
        count(*) filter (where months.orders > 0) as active_customers,
        sum(months.sales)::bigint as sales,
        sum(months.revenue) as revenue
    from {{ ref('int_customer_months') }} as months
    inner join {{ ref('dim_customers') }} as customers using (user_id)
    group by 1, 2
)

select
    months.signup_month,
    (
        12 * (extract(year from months.order_month) - extract(year from months.signup_month))
        + extract(month from months.order_month) - extract(month from months.signup_month)
    )::integer as months_since_signup,
    months.customers,
    coalesce(activity.active_customers, 0) as active_customers,
    {{ ratio('coalesce(activity.active_customers, 0)', 'months.customers') }} as retention_rate,
    coalesce(activity.sales, 0) as sales,
    coalesce(activity.revenue, 0) as revenue
from months
left join activity
    on activity.signup_month = months.signup_month and activity.order_month = months.order_month
