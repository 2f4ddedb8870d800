{#
  How incremental models know what is new.

  A fact takes the rows of raw that were emitted after the newest one it has. `_emitted_at` is the time of the Kafka
  record: it rises in the order in which the sink writes a table, but for rows of transactions that commit late, so the
  last `overlap` is always taken again (rows are replaced by key: taking them twice changes nothing). A backfill gives
  millions of rows one and the same moment: the overlap ends there, or the next run would take them all again. A
  backfill or a resync is followed by `dbt build --full-refresh`.

  An aggregate recomputes the groups that hold a row which a fact has rewritten since. Facts and aggregates say in
  `_built_at` when the transaction began that wrote the row; runs of dbt must not overlap each other.
#}

{# The moment after which rows of `source` are new to this model, as a literal. #}
{% macro taken_until(source, column='_emitted_at', relation=none, snapshots=true) %}
    {%- if not execute -%}{{ return("'-infinity'::timestamptz") }}{%- endif -%}
    {%- set relation = relation or this -%}
    {%- set query -%}
        with own as (select max({{ column }}) as newest from {{ relation }})
        select coalesce(
            greatest(
                newest - interval '{{ var("overlap") }}'
                {%- if snapshots -%}
                , (
                    select max(snapshot.__emitted_at)
                    from {{ source }} as snapshot
                    where snapshot.__op = 'r'
                      and snapshot.__emitted_at > newest - interval '{{ var("overlap") }}'
                      and snapshot.__emitted_at <= newest
                )
                {%- endif -%}
            ),
            '-infinity'
        )::text
        from own
    {%- endset -%}
    {{ return("'" ~ run_query(query).rows[0][0] ~ "'::timestamptz") }}
{% endmacro %}

{# The moment at which this model was last built, as a literal: what is upstream and was built later is new to it. #}
{% macro built_until() %}
    {%- if not execute -%}{{ return("'-infinity'::timestamptz") }}{%- endif -%}
    {%- set newest = run_query("select coalesce(max(_built_at), '-infinity')::text from " ~ this).rows[0][0] -%}
    {{ return("'" ~ newest ~ "'::timestamptz") }}
{% endmacro %}

{#
  The condition that tells rows of raw that `consumer` has not taken yet; none where that is all of them: at the first
  build and at a full refresh.
#}
{% macro unseen(consumer, source_table) %}
    {%- if consumer is none or flags.FULL_REFRESH or not execute -%}{{ return(none) }}{%- endif -%}
    {%- set schema, name = consumer.split('.') -%}
    {%- set schema = generate_schema_name(schema, none) -%}
    {%- set relation = adapter.get_relation(target.database, schema, name) -%}
    {%- if relation is none -%}{{ return(none) }}{%- endif -%}
    {%- set raw = api.Relation.create(database=target.database, schema='raw', identifier=source_table) -%}
    {{ return('_emitted_at > ' ~ taken_until(raw, relation=relation)) }}
{% endmacro %}
