{# Analysts may look into the schemas of the marts; which relations they may read is each model's `grants`. #}
{% macro open_to_analysts() %}
    {%- if execute -%}
        {%- set schemas = [] -%}
        {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.fqn[1] == 'marts' -%}
            {%- if node.schema not in schemas and adapter.check_schema_exists(target.database, node.schema) -%}
                {%- do schemas.append(node.schema) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if schemas -%}
            grant usage on schema {{ schemas | sort | join(', ') }} to {{ var('analyst', 'analyst') }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}
