{#
  Every row satisfies every rule (name → SQL expression; null counts as broken). One scan for all of them; a row that
  fails is named by `key` with the rules that it breaks.

  At the boundary, `consumer` (a fact, as schema.name) narrows it to the rows that the fact has not taken yet, which
  are also checked for keys that occur twice: what is bad stops everything downstream of it, and is looked at again by
  each run until it has been mended in the shop. The fact's unique index guards the keys of a full build.
#}
{% test rows_satisfy(model, key, rules, consumer=none) %}
    {%- set keys = [key] if key is string else key -%}
    {%- set new = unseen(consumer) -%}
    select
        {{ keys | join(', ') }},
        _emitted_at,
        array_to_string(array[
            {%- for name, expression in rules.items() %}
            case when not coalesce({{ expression }}, false) then '{{ name }}' end{{ ',' if not loop.last }}
            {%- endfor %}
        ], ', ') as broken_rules
    from {{ model }}
    where {{ new or 'true' }}
      and not (
        {%- for expression in rules.values() %}
        coalesce({{ expression }}, false){{ ' and' if not loop.last }}
        {%- endfor %}
      )
    {%- if new %}
    union all
    select {{ keys | join(', ') }}, max(_emitted_at), 'unique_key'
    from {{ model }}
    where ({{ keys | join(', ') }}) in (select {{ keys | join(', ') }} from {{ model }} where {{ new }})
    group by {{ keys | join(', ') }}
    having count(*) > 1
    {%- endif %}
{% endtest %}
