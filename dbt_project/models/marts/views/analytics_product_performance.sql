{{
    config(
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['revenue']},
        ],
    )
}}

-- whole days from their sums, the day on which the ninety days begin line by line
with sold as (
    select
        product_id,
        sum(lines)::bigint as lines,
        sum(quantity)::bigint as quantity,
        sum(revenue) as revenue
    from (
        select product_id, specified_lines as lines, specified_units as quantity, specified_revenue as revenue
        from {{ ref('agg_product_daily') }}
        where order_date > current_date - 90 and specified_lines > 0
        union all
        select product_id, 1, quantity, amount
        from {{ ref('fct_order_items') }}
        where is_specified_sale
          and order_date = current_date - 90
          and ordered_at > now() - interval '90 days'
    ) as sales
    group by 1
),

buyers as (
    select product_id, count(*) as customers
    from {{ ref('int_product_buyers') }}
    where last_bought_at > now() - interval '90 days'
    group by 1
)

select
    products.product_id as id,
    products.name,
    products.category,
    sold.lines as units_sold,
    sold.revenue,
    buyers.customers as unique_customers,
    sold.quantity as quantity_sold
from sold
inner join buyers using (product_id)
inner join {{ ref('dim_products') }} as products using (product_id)
