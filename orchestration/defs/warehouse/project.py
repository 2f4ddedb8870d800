"""The dbt project as Dagster sees it: the manifest, the names, and how dbt is called."""

import datetime as dt
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, DbtProject

from orchestration import manifest
from orchestration.settings import OrchestrationSettings

DAILY: Final = "daily"
"""The tag of what changes with the day: who is at risk, what sold in thirty days, who was who."""

_BY_HOUR: Final = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=4), warn_window=dt.timedelta(hours=2))
_BY_DAY: Final = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=50), warn_window=dt.timedelta(hours=26))
"""How old a model may be: one run of its schedule may be missed."""


class Names(DagsterDbtTranslator):
    """Models are grouped by area; the tests at the boundary block what is built on the model that they test."""

    def __init__(self) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_asset_checks=True))

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The spec of a resource, and of a model how old it may be."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if unique_id.startswith("source."):
            return spec
        by_day = DAILY in self.get_resource_props(manifest, unique_id)["tags"]
        return spec.replace_attributes(freshness_policy=_BY_DAY if by_day else _BY_HOUR)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The folder of a mart's area, or the layer."""
        if dbt_resource_props["resource_type"] == "source":
            return super().get_group_name(dbt_resource_props)
        path = dbt_resource_props["fqn"][1:-1] or [dbt_resource_props["resource_type"]]
        return str(path[1] if path[0] == "marts" and len(path) > 1 else path[0])


@cache
def folder() -> Path:
    """Where the manifest lies, and where dbt writes."""
    return OrchestrationSettings().dbt_folder


@cache
def project() -> DbtProject:
    """The project, with a manifest that fits its files."""
    manifest.ensure(folder())
    return DbtProject(project_dir=manifest.PROJECT, target_path=folder(), profiles_dir=manifest.PROJECT)


@cache
def graph() -> dict[str, Any]:
    """The manifest's content."""
    content: dict[str, Any] = json.loads(project().manifest_path.read_text())
    return content


def resource() -> DbtCliResource:
    """The command line of dbt, on the warehouse, as its transformer."""
    os.environ.setdefault("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
    return DbtCliResource(project_dir=project(), profiles_dir=str(manifest.PROJECT), dbt_executable=manifest.DBT)


def names() -> Names:
    """The translator from dbt's names to Dagster's."""
    return Names()


def freshness_of_sources() -> dict[dg.AssetKey, dg.FreshnessPolicy]:
    """How old the newest row of a raw table may be, as the project says of its sources."""
    found: dict[dg.AssetKey, dg.FreshnessPolicy] = {}
    for source in graph()["sources"].values():
        limits = source.get("freshness") or {}
        warn, fail = (_window(limits.get(name) or {}) for name in ("warn_after", "error_after"))
        if fail:
            key = dg.AssetKey(source["config"]["meta"]["dagster"]["asset_key"])
            found[key] = dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)
    return found


def _window(limit: Mapping[str, Any]) -> dt.timedelta | None:
    return dt.timedelta(**{f"{limit['period']}s": limit["count"]}) if limit.get("count") else None


def exposures() -> list[dg.AssetSpec]:
    """The dashboards, and what they read."""
    translator, content = names(), graph()
    return [
        dg.AssetSpec(
            dg.AssetKey(["dashboards", exposure["name"]]),
            deps=[
                translator.get_asset_spec(content, upstream, project()).key
                for upstream in exposure["depends_on"]["nodes"]
            ],
            description=exposure["description"],
            group_name="dashboards",
            kinds={exposure["type"]},
        )
        for exposure in content["exposures"].values()
    ]
