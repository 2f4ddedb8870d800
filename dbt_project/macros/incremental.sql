{#
  How incremental models know what is new.

  A fact takes the rows of raw that were emitted after the newest one it has. `_emitted_at` is the time of the Kafka
  record: it rises in the order in which the sink writes a table, but for rows of transactions that commit late, so the
  last `overlap` is always taken again (rows are replaced by key: taking them twice changes nothing).

  An aggregate recomputes the groups that hold a row which a fact has rewritten since. Facts and aggregates say in
  `_built_at` when the transaction began that wrote the row; runs of dbt must not overlap each other.
#}

{#
  The moment after which rows of raw are new to this fact, as a literal.

  A backfill gives millions of rows one moment. The overlap ends at such a moment, or the next run would take them all
  again; a backfill or a resync, whose rows do not come in the order of their moments, is followed by a full build (see
  copies.sql). Found by going back on the fact's index in strides as long as a snapshot at least: one that
  ends at the moment where it began has found a snapshot's.
#}
{% macro taken_until(relation=none, overlap=none) %}
    {%- if not execute -%}{{ return("'-infinity'::timestamptz") }}{%- endif -%}
    {%- set relation = relation or this -%}
    {%- set query -%}
        with recursive steps as (
            select
                max(_emitted_at) as moment,
                null::timestamptz as previous,
                max(_emitted_at) - interval '{{ overlap or var("overlap") }}' as overlap_begins
            from {{ relation }}
            union all
            select (
                select _emitted_at from {{ relation }}
                where _emitted_at <= steps.moment
                order by _emitted_at desc
                offset {{ var("snapshot_rows") }} limit 1
            ), moment, overlap_begins
            from steps
            where moment > overlap_begins and moment is distinct from previous
        )
        select coalesce(
            max(moment) filter (where moment = previous and moment > overlap_begins), min(overlap_begins), '-infinity'
        )::text
        from steps
    {%- endset -%}
    {{ return("'" ~ run_query(query).rows[0][0] ~ "'::timestamptz") }}
{% endmacro %}

{# The newest moment in a column of this model, as a literal; for what is small enough, or rare enough, to need no overlap. #}
{% macro newest(column='_emitted_at') %}
    {%- if not execute -%}{{ return("'-infinity'::timestamptz") }}{%- endif -%}
    {%- set moment = run_query("select coalesce(max(" ~ column ~ "), '-infinity')::text from " ~ this).rows[0][0] -%}
    {{ return("'" ~ moment ~ "'::timestamptz") }}
{% endmacro %}

{# The moment at which this model was last built, as a literal: what is upstream and was built later is new to it. #}
{% macro built_until() %}
    {{ return(newest('_built_at')) }}
{% endmacro %}

{#
  The condition that tells the days (in the column `day` of a model and of those upstream of it) in which one of
  `upstream` has rewritten a row since this model was last built; `also` is a query of further days. A list of literals:
  the planner knows from it how many rows it is about, and reads nothing where it is empty.
#}
{% macro in_touched_days(day, upstream, also=none) %}
    {%- if not execute -%}{{ return('true') }}{%- endif -%}
    {%- set since = built_until() -%}
    {%- set days = [also] if also else [] -%}
    {%- for relation in upstream -%}
        {%- do days.append('select ' ~ day ~ ' from ' ~ relation ~ ' where _built_at > ' ~ since) -%}
    {%- endfor -%}
    {%- set query = 'select distinct ' ~ day ~ '::text from (' ~ days | join(' union ') ~ ') as touched where ' ~ day ~ ' is not null' -%}
    {%- set found = run_query(query).columns[0].values() -%}
    {{ return(day ~ " in ('" ~ found | join("', '") ~ "')" if found else 'false') }}
{% endmacro %}

{#
  Facts keep rows that were deleted in the shop, marked, so that aggregates see what they have to recompute. A group of
  which none is left ends here, in the transaction that has just counted it.
#}
{% macro drop_empty(count) -%}
    delete from {{ this }} where _built_at = now() and {{ count }} = 0
{%- endmacro %}

{#
  The condition that tells rows of raw that `consumer` (a fact, as schema.name) has not taken yet; none where that is
  all of them: at the first build and at a full refresh.
#}
{% macro unseen(consumer) %}
    {%- if consumer is none or flags.FULL_REFRESH or not execute -%}{{ return(none) }}{%- endif -%}
    {%- set schema, name = consumer.split('.') -%}
    {%- set relation = adapter.get_relation(target.database, generate_schema_name(schema, none), name) -%}
    {%- if relation is none or copied_anew('model.surge.' ~ name) -%}{{ return(none) }}{%- endif -%}
    {{ return('_emitted_at > ' ~ taken_until(relation)) }}
{% endmacro %}

{#
  The condition that tells the rows of raw that a fact takes in this run: what is new to it, or all at its first build.

  With the variable `month` (its first day): that month's rows, new or not, of which `moment` says whether they are. A
  fact that was spoilt, or is too large to be built in one go, is so built a month at a time. What is newer than the
  newest row of the fact is left to ordinary runs: to take some of it would let them believe that they have it all.
#}
{% macro to_take(moment) -%}
    {%- if var('month', none) -%}
        {{ in_month(moment) }}
        {%- if is_incremental() %} and {{ not_newer() }}{% endif -%}
    {%- elif is_incremental() -%}
        _emitted_at > {{ taken_until() }}
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}

{# Not newer than the newest row of this fact; an empty one bounds nothing. #}
{% macro not_newer() -%}
    _emitted_at <= coalesce((select max(_emitted_at) from {{ this }}), 'infinity')
{%- endmacro %}

{# Whether a moment lies in the month that this run is of. Months are UTC's. #}
{% macro in_month(moment) -%}
    {{ moment }} >= '{{ var("month") }} 00:00Z'::timestamptz
    and {{ moment }} < ('{{ var("month") }}'::timestamp + interval '1 month') at time zone 'UTC'
{%- endmacro %}

{#
  The rows of raw that a fact has to take, as CTEs `changed` and `latest`. A row that was deleted may hold no more than
  its key (the log of the busiest tables carries no old rows): then the fact's own row is taken, marked as deleted. A
  row that the fact never had is left out. `required` is a column that a row with its values always has.
#}
{% macro latest(staging, key, required, columns) -%}
changed as (
    select {{ columns | join(', ') }}, is_deleted, _emitted_at
    from {{ ref(staging) }}
    where {{ to_take(required) }}
),

latest as (
    select * from changed where not is_deleted or {{ required }} is not null
    {%- if is_incremental() %}
    union all
    select known.{{ columns | join(', known.') }}, true, changed._emitted_at
    from changed
    inner join {{ this }} as known on known.{{ key }} = changed.{{ key }}
    where changed.is_deleted and changed.{{ required }} is null
    {%- endif %}
)
{%- endmacro %}

{#
  Before a model that reads, group by group (a day, a month), the rows of an array of keys: they lie near each other, and
  by a bitmap they are read page by page. The planner does not know how long the array is, and would fetch row by row,
  which takes three times as long.
#}
{% macro by_bitmap() -%}
    set local enable_indexscan = off
{%- endmacro %}

{#
  Statistics right after a full build: the models that follow in the same run are planned by them, and autovacuum takes
  a minute to notice. Later runs change too little to need it.
#}
{% macro analyse_when_new() -%}
    {%- if not is_incremental() -%}analyze {{ this }}{%- endif -%}
{%- endmacro %}
