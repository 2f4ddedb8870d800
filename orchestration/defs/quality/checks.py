"""Great Expectations at the raw boundary, as asset checks: of each table what blocks, and what warns."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import dagster as dg

from orchestration.defs.cdc.assets import raw_key
from orchestration.defs.quality.suites import SUITES, Suite
from orchestration.settings import OrchestrationSettings

EXPECTED = "expectations"
LIKE_YESTERDAY = "like_yesterday"


def _specs() -> Iterator[dg.AssetCheckSpec]:
    for suite in SUITES:
        yield dg.AssetCheckSpec(
            EXPECTED,
            asset=raw_key(suite.table),
            blocking=True,
            description="Types, values that a shop can have, and references across services. Stops what reads it.",
        )
        if suite.moment is not None:
            yield dg.AssetCheckSpec(
                LIKE_YESTERDAY,
                asset=raw_key(suite.table),
                description="As many rows as the day before, and as mixed. Only warns: a strange day may be true.",
            )


def warehouse_url(settings: OrchestrationSettings) -> str:
    """The warehouse, as its transformer, for SQLAlchemy; a password may hold anything."""
    password = quote(settings.transformer_password.get_secret_value(), safe="")
    options = urlencode({"application_name": "great_expectations", "options": "-c statement_timeout=300000"})
    place = f"{settings.warehouse_host}:{settings.warehouse_port}/{settings.warehouse_database}"
    return f"postgresql+psycopg2://transformer:{password}@{place}?{options}"


@dg.multi_asset_check(
    name="great_expectations",
    specs=list(_specs()),
    can_subset=True,
    retry_policy=dg.RetryPolicy(max_retries=1, delay=15),
)
def raw_boundary(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Runs the suites one after the other, and writes the data docs."""
    from orchestration.defs.quality.expectations import Boundary

    settings = OrchestrationSettings()
    boundary = Boundary(warehouse_url(settings))
    selected = context.selected_asset_check_keys
    suites = [suite for suite in SUITES if any(key.asset_key == raw_key(suite.table) for key in selected)]
    verdicts = []
    for number, suite in enumerate(suites, 1):
        verdict = boundary.run(suite)
        verdicts.append(verdict)
        context.log.info(
            "%s (%d of %d): %d expectations, %d broken, %d warned",
            suite.table,
            number,
            len(suites),
            verdict.evaluated,
            len(verdict.broken),
            len(verdict.warned),
        )
        yield from _results(suite, verdict, selected)
    folder = settings.home / "docs" / "data"
    folder.parent.mkdir(parents=True, exist_ok=True)
    boundary.publish(folder, verdicts)


def _results(suite: Suite, verdict: Any, selected: Any) -> Iterator[dg.AssetCheckResult]:
    for name, broken, severity in (
        (EXPECTED, verdict.broken, dg.AssetCheckSeverity.ERROR),
        (LIKE_YESTERDAY, verdict.warned, dg.AssetCheckSeverity.WARN),
    ):
        key = dg.AssetCheckKey(raw_key(suite.table), name)
        if key not in selected:
            continue
        rows = [row for row in verdict.rows if row["expectation"] in broken]
        yield dg.AssetCheckResult(
            passed=not broken,
            asset_key=key.asset_key,
            check_name=name,
            severity=severity,
            description="; ".join(broken) or None,
            metadata={"slice": suite.slice, "evaluated": verdict.evaluated, "rows": dg.JsonMetadataValue(rows)},
        )
