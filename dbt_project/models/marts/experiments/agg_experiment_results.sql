{{ config(tags=['daily'], indexes=[{'columns': ['experiment', 'variant'], 'unique': true}]) }}

-- what customers did from the moment at which they were assigned; the control is the first of the variants
with experiments as (
    select experiment, name, variants ->> 0 as control, started_at, ended_at
    from {{ ref('stg_experiments__experiments') }}
    where not is_deleted
),

orders as (
    select user_id, ordered_at, is_sale, total_amount
    from {{ ref('fct_orders') }}
    where not is_deleted and ordered_at >= (select min(started_at) from experiments)
),

by_customer as (
    select
        assignments.experiment,
        assignments.variant,
        assignments.user_id,
        count(orders.user_id) as orders,
        count(*) filter (where orders.is_sale) as sales,
        coalesce(sum(orders.total_amount) filter (where orders.is_sale), 0) as revenue
    from {{ ref('stg_experiments__assignments') }} as assignments
    inner join experiments using (experiment)
    left join orders
        on orders.user_id = assignments.user_id
        and orders.ordered_at >= assignments.assigned_at
        and orders.ordered_at < coalesce(experiments.ended_at, 'infinity')
    where not assignments.is_deleted
    group by 1, 2, 3
),

by_variant as (
    select
        experiment,
        variant,
        count(*) as customers,
        count(*) filter (where sales > 0) as converted,
        sum(orders)::bigint as orders,
        sum(sales)::bigint as sales,
        sum(revenue) as revenue,
        avg(revenue) as revenue_per_customer,
        coalesce(var_samp(revenue), 0) as revenue_variance
    from by_customer
    group by 1, 2
)

select
    tested.experiment,
    experiments.name,
    tested.variant,
    tested.variant = experiments.control as is_control,
    tested.customers,
    tested.converted,
    {{ ratio('tested.converted', 'tested.customers') }} as conversion_rate,
    tested.orders,
    tested.sales,
    tested.revenue,
    {{ average_order_value('tested.revenue', 'tested.sales') }} as average_order_value,
    tested.revenue_per_customer,
    tested.revenue_variance,
    {{ two_proportion_z('tested.converted', 'tested.customers', 'control.converted', 'control.customers') }}
        as conversion_z,
    {{ welch_t(
        'tested.revenue_per_customer', 'tested.revenue_variance', 'tested.customers',
        'control.revenue_per_customer', 'control.revenue_variance', 'control.customers'
    ) }} as revenue_t
from by_variant as tested
inner join experiments using (experiment)
left join by_variant as control
    on control.experiment = tested.experiment
    and control.variant = experiments.control
    and tested.variant <> experiments.control
