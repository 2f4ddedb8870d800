{#
  dbt-postgres fills a contracted table by INSERT … SELECT, for which Postgres plans no parallel query. Here it is
  CREATE TABLE AS, cast to the contract's types, and its NOT NULL columns are declared afterwards in one pass. The
  contract is held before: names and types of the query are compared with it.
#}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- set contracted = config.get('contract').enforced -%}
    {%- if contracted %}{{ get_assert_columns_equivalent(sql) }}{% endif %}
    create {{ 'temporary' if temporary }} table {{ relation }} as (
        {%- if contracted %}
        select {% for column in model.columns.values() -%}
            {{ column.name }}::{{ column.data_type }} as {{ column.name }}{{ ', ' if not loop.last }}
        {%- endfor %}
        from (
            {{ sql }}
        ) as contracted
        {%- else %}
        {{ sql }}
        {%- endif %}
    );
    {%- if contracted and not temporary %}
    {%- set required = [] %}
    {%- for column in model.columns.values() %}
        {%- if column.constraints | selectattr('type', 'equalto', 'not_null') | list %}
            {%- do required.append('alter column ' ~ column.name ~ ' set not null') %}
        {%- endif %}
    {%- endfor %}
    {%- if required %}
    alter table {{ relation }} {{ required | join(', ') }};
    {%- endif %}
    {%- endif %}
{%- endmacro %}
