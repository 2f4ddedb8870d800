{#
  Compares every incremental model with its twin of a full build, which lies in the schema of the same name with
  `suffix`: rows that are in one of them only, by all columns but those of the bookkeeping (`_…`). Rows that were
  deleted in the shop are left out: what a fact remembers of them, a full build may not know.

  `surge dbt compare` makes the twins, runs this, and drops them.
#}
{% macro compare_with_full(suffix) %}
    {%- set different = [] -%}
    {%- for node in graph.nodes.values() | sort(attribute='alias')
        if node.resource_type == 'model' and node.config.materialized == 'incremental' -%}
        {%- set own = adapter.get_relation(target.database, node.schema, node.alias) -%}
        {%- set twin = adapter.get_relation(target.database, node.schema ~ suffix, node.alias) -%}
        {%- if own is none or twin is none -%}
            {{ exceptions.raise_compiler_error(node.alias ~ ' was not built' ~ (' in full' if own)) }}
        {%- endif -%}
        {%- set names = adapter.get_columns_in_relation(own) | map(attribute='name') | list -%}
        {%- set columns = [] -%}
        {%- for name in names if not name.startswith('_') -%}{%- do columns.append(name) -%}{%- endfor -%}
        {%- set columns = columns | join(', ') -%}
        {%- set live = ' where not is_deleted' if 'is_deleted' in names else '' -%}
        {%- set sums = run_query(
            'select count(*), coalesce(sum(hash_record_extended(row(' ~ columns ~ '), 0)::numeric), 0) from ' ~ own ~ live
            ~ ' union all '
            ~ 'select count(*), coalesce(sum(hash_record_extended(row(' ~ columns ~ '), 0)::numeric), 0) from ' ~ twin ~ live
        ) -%}
        {%- set equal = sums.rows[0][0] == sums.rows[1][0] and sums.rows[0][1] == sums.rows[1][1] -%}
        {%- do log(
            ('equal     ' if equal else 'DIFFERENT ') ~ node.schema ~ '.' ~ node.alias ~ ': '
            ~ sums.rows[0][0] ~ ' rows, ' ~ sums.rows[1][0] ~ ' in full', info=true
        ) -%}
        {%- if not equal -%}
            {%- do different.append(node.alias) -%}
            {%- for pair in [(own, twin, 'only incremental: '), (twin, own, 'only in full:     ')] -%}
                {%- set rows = run_query(
                    'select * from (select ' ~ columns ~ ' from ' ~ pair[0] ~ live ~ ' except all select ' ~ columns
                    ~ ' from ' ~ pair[1] ~ live ~ ') as rest limit 3'
                ).rows -%}
                {%- for row in rows -%}
                    {%- do log('  ' ~ pair[2] ~ (row.values() | join(' | ')), info=true) -%}
                {%- endfor -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if different -%}
        {{ exceptions.raise_compiler_error('not equal to a full build: ' ~ different | join(', ')) }}
    {%- endif -%}
{% endmacro %}

{% macro drop_full(suffix) %}
    {%- for schema in graph.nodes.values() | map(attribute='schema') | unique -%}
        {%- do run_query('drop schema if exists ' ~ schema ~ suffix ~ ' cascade') -%}
    {%- endfor -%}
    {%- do run_query('commit') -%}
{% endmacro %}
