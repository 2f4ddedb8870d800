{{ config(indexes=[{'columns': ['stock_out_date', 'category'], 'unique': true}]) }}

select
    {{ utc_date('stock_outs.started_at') }} as stock_out_date,
    coalesce(products.category, '') as category,
    count(*) as stock_outs,
    count(distinct stock_outs.product_id) as products,
    count(*) filter (where stock_outs.ended_at is null) as still_open,
    sum(stock_outs.hours) as hours
from {{ ref('fct_stock_outs') }} as stock_outs
left join {{ ref('dim_products') }} as products using (product_id)
group by 1, 2
