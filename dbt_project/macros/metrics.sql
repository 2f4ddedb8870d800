{#
  Each metric is defined here and nowhere else. The aggregates hold sums and counts; a ratio is taken from them at the
  end, because an average of averages is none.
#}

{# A sale is an order that is paid and has not been cancelled. Revenue is what sales come to. #}
{% macro is_sale(status) -%}
    {{ status }} in ('confirmed', 'processing', 'shipped', 'delivered')
{%- endmacro %}

{# An order that ended because its payment failed or never came. #}
{% macro is_payment_failure(status, cancel_reason) -%}
    ({{ status }} = 'cancelled' and {{ cancel_reason }} in ('payment_failed', 'payment_timeout'))
{%- endmacro %}

{# What the specification's two views of ninety days and of customers count as sold; `processing` is not among them. #}
{% macro is_specified_sale(status) -%}
    {{ status }} in ('confirmed', 'shipped', 'delivered')
{%- endmacro %}

{# The additive measures of orders, over rows of fct_orders. #}
{% macro order_measures() -%}
    count(*) filter (where not is_deleted) as orders,
    count(*) filter (where is_sale) as sales,
    count(*) filter (where is_cancelled) as cancelled_orders,
    count(*) filter (where is_payment_failure) as payment_failures,
    coalesce(sum(total_amount) filter (where not is_deleted), 0)::numeric(16, 2) as ordered_amount,
    coalesce(sum(total_amount) filter (where is_sale), 0)::numeric(16, 2) as revenue
{%- endmacro %}

{# A ratio with four decimals; null where there is nothing to divide by. #}
{% macro ratio(part, whole) -%}
    round(({{ part }})::numeric / nullif({{ whole }}, 0), 4)
{%- endmacro %}

{# Average order value: revenue over sales. #}
{% macro average_order_value(revenue='revenue', sales='sales') -%}
    round({{ revenue }} / nullif({{ sales }}, 0), 2)
{%- endmacro %}

{# Days are UTC. #}
{% macro utc_date(moment) -%}
    ({{ moment }} at time zone 'UTC')::date
{%- endmacro %}
