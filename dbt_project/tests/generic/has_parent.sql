{#
  Every row's parent exists. Raw's tables are written independently of each other, so a child may come first: only one
  that has waited longer than `grace` for its parent is an orphan. Narrowed to new rows like `rows_satisfy`.
#}
{% test has_parent(model, key, column_name, to, field, consumer=none, source_table=none) %}
    {%- set new = unseen(consumer, source_table) -%}
    select child.{{ key }}, child.{{ column_name }}, child._emitted_at, 'orphan' as broken_rules
    from {{ model }} as child
    where {{ new or 'true' }}
      and child.{{ column_name }} is not null
      and child._emitted_at < now() - interval '{{ var("grace") }}'
      and not exists (select from {{ to }} as parent where parent.{{ field }} = child.{{ column_name }})
{% endtest %}
