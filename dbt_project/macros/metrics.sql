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

{# What came of a payment. Voided ones were never charged: they are no failures, and open ones have no outcome yet. #}
{% macro payment_outcome(status) -%}
    case
        when {{ status }} in ('succeeded', 'refunding', 'refunded') then 'succeeded'
        when {{ status }} in ('failed', 'voided') then {{ status }}
        else 'open'
    end
{%- endmacro %}

{# Declines by which a bank says that it suspects the buyer. #}
{% macro is_fraud_decline(reason) -%}
    {{ reason }} in ('fraudulent', 'lost_card', 'stolen_card')
{%- endmacro %}

{# Days that the available units last at the pace of the last thirty days; null where nothing sells. #}
{% macro days_of_cover(available, units_30d) -%}
    round({{ available }} * 30.0 / nullif({{ units_30d }}, 0), 1)
{%- endmacro %}

{# A customer is at risk who has ordered, but not for ninety days. #}
{% macro is_at_risk(last_ordered_at) -%}
    {{ last_ordered_at }} < now() - interval '90 days'
{%- endmacro %}

{# One segment a customer; what comes first wins. High value is the top tenth by what they spent. #}
{% macro customer_segment(orders, spend_rank, last_ordered_at) -%}
    case
        when {{ orders }} = 0 then 'never ordered'
        when {{ is_at_risk(last_ordered_at) }} and {{ spend_rank }} >= 0.9 then 'high value at risk'
        when {{ is_at_risk(last_ordered_at) }} then 'at risk'
        when {{ spend_rank }} >= 0.9 then 'high value'
        when {{ orders }} = 1 then 'new'
        else 'regular'
    end
{%- endmacro %}

{# The statistic of the two-proportion z-test with pooled variance: beyond ±1.96 the difference is significant at 5 %. #}
{% macro two_proportion_z(part, whole, control_part, control_whole) -%}
    round((
        ({{ part }}::numeric / {{ whole }} - {{ control_part }}::numeric / nullif({{ control_whole }}, 0))
        / nullif(sqrt(
            (({{ part }} + {{ control_part }})::numeric / ({{ whole }} + {{ control_whole }}))
            * (1 - ({{ part }} + {{ control_part }})::numeric / ({{ whole }} + {{ control_whole }}))
            * (1.0 / {{ whole }} + 1.0 / {{ control_whole }})
        ), 0)
    )::numeric, 4)
{%- endmacro %}

{# Welch's t of two means with their sample variances. #}
{% macro welch_t(mean, variance, n, control_mean, control_variance, control_n) -%}
    round((
        ({{ mean }} - {{ control_mean }})
        / nullif(sqrt({{ variance }} / {{ n }} + {{ control_variance }} / {{ control_n }}), 0)
    )::numeric, 4)
{%- endmacro %}
