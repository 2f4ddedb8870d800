{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='product_id',
        indexes=[{'columns': ['product_id'], 'unique': true}, {'columns': ['category']}],
    )
}}

select
    products.product_id,
    products.sku,
    products.name,
    coalesce(categories.name, '') as category,
    products.price,
    products.currency,
    products.is_active and not products.is_deleted as is_active,
    products.created_at,
    products.updated_at,
    products.is_deleted,
    products._emitted_at,
    categories._emitted_at as _category_emitted_at,
    {% if is_incremental() %}
    case when known.category = coalesce(categories.name, '') then known._categorised_at else now() end
    {%- else %}
    now()
    {%- endif %} as _categorised_at
from {{ ref('stg_catalog__products') }} as products
left join {{ ref('stg_catalog__categories') }} as categories using (category_id)
{% if is_incremental() %}
left join {{ this }} as known on known.product_id = products.product_id
where products._emitted_at > {{ newest() }}
   or categories._emitted_at > {{ newest('_category_emitted_at') }}
{% endif %}
