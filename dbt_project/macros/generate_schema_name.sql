{#
  A model lies in the schema that is configured for it, whoever runs dbt: one warehouse, one set of schemas. The twins
  of a comparison lie beside them (see compare.sql).
#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}{{ var('suffix', '') }}
{%- endmacro %}
