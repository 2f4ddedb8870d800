{#
  Two relations agree on each of `totals` (SQL aggregates, the same words in both, or [here, there]). Money that is
  counted on two ways comes to the same, or one of the ways is wrong.
#}
{% test same_totals(model, to, totals, filter='true', to_filter='true') %}
    with here as (
        select {% for total in totals %}{{ total if total is string else total[0] }} as total_{{ loop.index }}
            {{- ', ' if not loop.last }}{% endfor %}
        from {{ model }} where {{ filter }}
    ),
    there as (
        select {% for total in totals %}{{ total if total is string else total[1] }} as total_{{ loop.index }}
            {{- ', ' if not loop.last }}{% endfor %}
        from {{ to }} where {{ to_filter }}
    )
    select here.*, there.*
    from here cross join there
    where {% for total in totals -%}
        coalesce(here.total_{{ loop.index }}, 0) <> coalesce(there.total_{{ loop.index }}, 0)
        {{- ' or ' if not loop.last }}
    {%- endfor %}
{% endtest %}
