{# Readers go on reading while a view is refreshed; its unique index is what makes that possible. #}
{% macro postgres__refresh_materialized_view(relation) %}
    refresh materialized view concurrently {{ relation }}
{% endmacro %}
