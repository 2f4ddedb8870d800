"""The graph loads, is one piece, and has the keys that others name."""

import os
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._cli.definitions import definitions_validate_command
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from cdc.tables import CAPTURED
from orchestration.settings import OrchestrationSettings

pytestmark = pytest.mark.timeout(300)  # the graph is parsed by dbt first

SNAPSHOT = Path(__file__).parent / "asset_keys.txt"


@pytest.fixture(scope="module")
def graph(defs: dg.Definitions) -> AssetGraph:
    return defs.resolve_asset_graph()


def test_dagster_validates_the_definitions(settings: OrchestrationSettings, defs: dg.Definitions) -> None:
    home = settings.home / "validate"  # an instance without storage: the real one's is a server
    home.mkdir()
    done = CliRunner(env={"DAGSTER_HOME": str(home)}).invoke(
        definitions_validate_command, ["--module-name", "orchestration.definitions"]
    )

    assert done.exit_code == 0, done.output


def test_asset_keys_change_only_on_purpose(graph: AssetGraph) -> None:
    """Keys are what run history hangs on: renew the snapshot with SURGE_TEST_RENEW=1 when one is meant to change."""
    keys = "".join(f"{key.to_user_string()}\n" for key in sorted(graph.get_all_asset_keys()))
    if os.environ.get("SURGE_TEST_RENEW"):
        SNAPSHOT.write_text(keys)

    assert keys == SNAPSHOT.read_text()


def test_every_mart_comes_from_topics_and_every_dashboard_from_marts(graph: AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        area = key.path[0]
        if area in ("topics", "maintenance"):
            continue
        upstream = graph.get(key).parent_keys
        assert upstream, f"{key.to_user_string()} hangs in the air"
        if area == "raw":
            assert all(parent.path[0] == "topics" for parent in upstream)
    assert {dg.AssetKey(["raw", table.raw]) for table in CAPTURED} <= graph.get_all_asset_keys()


def test_what_would_make_a_mart_wrong_stops_the_run(graph: AssetGraph) -> None:
    blocking = {
        (key.asset_key.to_user_string(), key.name)
        for key in graph.asset_check_keys
        if graph.get_check_spec(key).blocking
    }

    assert ("raw/orders_orders", "expectations") in blocking
    assert ("staging/stg_orders__orders", "boundary_orders") in blocking
    assert ("raw/orders_orders", "like_yesterday") not in blocking


def test_the_boundary_is_checked_before_dbt_builds(defs: dg.Definitions) -> None:
    nodes = defs.resolve_job_def("hourly").graph.dependency_structure

    upstream = {
        handle.node_name for inputs in nodes.input_to_upstream_outputs_for_node("dbt").values() for handle in inputs
    }

    assert "great_expectations" in upstream


def test_tables_and_marts_say_how_old_they_may_be(graph: AssetGraph) -> None:
    for path in (["raw", "orders_orders"], ["sales", "fct_orders"], ["customers", "agg_segments"]):
        assert graph.get(dg.AssetKey(path)).freshness_policy_or_from_metadata, path


def test_what_changes_with_the_day_is_left_out_of_the_hour(defs: dg.Definitions) -> None:
    def built(job: str) -> set[str]:
        return {key.to_user_string() for key in defs.resolve_job_def(job).asset_layer.executable_asset_keys}

    left_out = built("daily") - built("hourly")

    assert left_out == {
        "customers/agg_cohorts_monthly",
        "customers/agg_lifetime_value",
        "customers/agg_segments",
        "customers/dim_customers_history",
        "experiments/agg_experiment_results",
        "intermediate/int_product_windows",
        "maintenance/docs",
        "maintenance/statistics",
        "products/agg_product_performance",
        "snapshots/snap_customers",
    }
