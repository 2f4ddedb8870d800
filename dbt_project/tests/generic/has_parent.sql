{#
  Every row's parent exists. Raw's tables are written independently of each other, so a child may come first: only one
  that has waited longer than `grace` for its parent is an orphan. Narrowed to new rows like `rows_satisfy`.
#}
{% test has_parent(model, key, column_name, to, field, consumer=none) %}
    {%- set new = unseen(consumer) -%}
    with child as (
        select {{ key }}, {{ column_name }}, _emitted_at
        from {{ model }}
        where {{ new or 'true' }}
    )
    select child.*, 'orphan' as broken_rules
    from child
    where child.{{ column_name }} is not null
      and child._emitted_at < now() - interval '{{ var("grace") }}'
      and not exists (select from {{ to }} as parent where parent.{{ field }} = child.{{ column_name }})
{% endtest %}
