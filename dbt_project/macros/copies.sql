{#
  Rows of a whole copy of a raw table (a backfill, a resync) don't come in the order of their moments, and those that it
  found no more are gone without a mark. So an incremental model that was built before such a copy is built in full by
  the next run, whoever starts it. Copies are known by where the shop's log stood, from `cdc.copies`; a table that was
  never copied has none. One that was not there at all when a model was built is none of its concern.

  A run goes by the copies that were there when it began: what is copied meanwhile is for the next one.
#}

{# The table that keeps which copies each model is made of, and, without a model's name, those that this run goes by. #}
{% macro known_copies() -%}
    {{ generate_schema_name('intermediate', none) }}.known_copies
{%- endmacro %}

{% macro look_at_copies() %}
    {%- if execute -%}
        create schema if not exists {{ generate_schema_name('intermediate', none) }};
        create table if not exists {{ known_copies() }} (model text primary key, copies jsonb not null);
        insert into {{ known_copies() }} (model, copies)
        select
            '',
            {% if run_query("select to_regclass('cdc.copies') is not null").rows[0][0] -%}
            coalesce((
                select jsonb_object_agg(tables.relname, copies.snapshot_lsn)
                from pg_class as tables
                left join cdc.copies on copies.raw = tables.relname
                where tables.relnamespace = to_regnamespace('raw') and tables.relkind = 'r'
            ), '{}')
            {%- else -%}
            '{}'
            {%- endif %}
        on conflict (model) do update set copies = excluded.copies
    {%- endif -%}
{% endmacro %}

{#
  Whether raw tables have been copied anew since a model was built. Not of a run of one month, which mends that month
  alone; nor of a model that has only been built by months, and knows of no copies.
#}
{% macro copied_anew(unique_id) %}
    {%- if not execute or var('month', none) -%}{{ return(false) }}{%- endif -%}
    {%- set query -%}
        select not present.copies @> known.copies
        from {{ known_copies() }} as known
        cross join {{ known_copies() }} as present
        where known.model = '{{ unique_id }}' and present.model = ''
    {%- endset -%}
    {%- set rows = run_query(query).rows -%}
    {{ return(rows | length > 0 and rows[0][0]) }}
{% endmacro %}

{# Overrides dbt's: also true of an incremental model under which raw was copied anew. #}
{% macro should_full_refresh() %}
    {%- set configured = config.get('full_refresh') -%}
    {%- if configured is not none -%}{{ return(configured) }}{%- endif -%}
    {{ return(flags.FULL_REFRESH or (model.config.materialized == 'incremental' and copied_anew(model.unique_id))) }}
{% endmacro %}

{# Remembers, once an incremental model is built, which copies it is made of. #}
{% macro know_copies() %}
    {%- if execute and model.config.materialized == 'incremental' and not var('month', none) -%}
        insert into {{ known_copies() }} (model, copies)
        select '{{ model.unique_id }}', copies from {{ known_copies() }} where model = ''
        on conflict (model) do update set copies = excluded.copies;
        commit
    {%- endif -%}
{% endmacro %}
