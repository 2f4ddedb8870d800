{# Of the rows of one key, at most one holds at any moment, and exactly one holds now. #}
{% test no_overlap(model, key, valid_from='valid_from', valid_to='valid_to') %}
    with ordered as (
        select
            {{ key }},
            {{ valid_from }} as valid_from,
            {{ valid_to }} as valid_to,
            lead({{ valid_from }}) over (partition by {{ key }} order by {{ valid_from }}) as next_from
        from {{ model }}
    )
    select * from ordered
    where valid_to is distinct from next_from or valid_from >= valid_to
{% endtest %}
