{# Moments of snapshots carry their time zone, as all others do. #}
{% macro postgres__snapshot_get_time() -%}
    current_timestamp
{%- endmacro %}

{% macro postgres__snapshot_string_as_time(timestamp) -%}
    {{ return("'" ~ timestamp ~ "'::timestamptz") }}
{%- endmacro %}
