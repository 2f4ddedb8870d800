"""The suites as Great Expectations runs them: in SQL on the warehouse, which sends back verdicts and not rows.

Imported where the suites are run: Great Expectations takes seconds to import, and the graph has to load without it.
"""

import datetime as dt
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import sqlalchemy as sa

from orchestration.defs.quality.suites import FEWEST, GRACE, Mixture, Reference, Suite

_expect: Final[Any] = gx.expectations  # it exports nothing that a type checker would see

WARNING: Final = "warning"
MOST_ROWS: Final = 20
_VIEWS: Final = "boundary"
"""The schema in which a suite's slices are views while it runs."""

_VALUES: Final = {"result_format": "SUMMARY", "partial_unexpected_count": MOST_ROWS}
_ROWS: Final = {"result_format": "COMPLETE"}
"""Of a query of ours only this brings the rows, and only the first two hundred of them."""


class ExpectationError(Exception):
    """An expectation could not be evaluated."""


@dataclass
class Verdict:
    """What a suite said of a table. ``rows`` name some of the rows by key, with the expectation that they break."""

    table: str
    evaluated: int = 0
    broken: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)


class Boundary:
    """Great Expectations on the warehouse, for one run of the suites."""

    def __init__(self, url: str) -> None:
        context: Any = gx.get_context(mode="ephemeral")
        self._context = context
        self._context.variables.progress_bars = {"globally": False}
        self._source = self._context.data_sources.add_postgres("warehouse", connection_string=url)
        self._engine = self._source.get_engine()
        with self._engine.begin() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {_VIEWS}"))

    def run(self, suite: Suite) -> Verdict:
        """Runs a suite: the types on the table, the rest on its slice.

        Raises:
            ExpectationError: if an expectation could not be evaluated, which says nothing of the data.
        """
        verdict = Verdict(suite.table)
        name = suite.table
        whole = self._source.add_table_asset(f"{name}_types", table_name=name, schema_name="raw")
        batch = whole.add_batch_definition_whole_table(whole.name)
        self._validate(verdict, whole.name, batch, _types(suite), _VALUES)
        keys = {"unexpected_index_column_names": list(suite.key)}
        self._query(verdict, f"{name}_values", suite.slice, _values(suite), {**_VALUES, **keys})
        if suite.references:
            self._query(verdict, f"{name}_references", suite.slice, _references(suite), _ROWS)
        if suite.moment is not None:
            self._query(verdict, f"{name}_against_the_day_before", suite.days, _against_yesterday(suite), _ROWS)
        return verdict

    def _query(
        self, verdict: Verdict, title: str, query: str, expected: Iterable[Any], results: Mapping[str, Any]
    ) -> None:
        # as a view: of a query Great Expectations fetches every row to learn its columns, and right after a copy the
        # last day's are the whole table (8.5 GB at full scale)
        with self._view(title, query):
            view = self._source.add_table_asset(title, table_name=title, schema_name=_VIEWS)
            self._validate(verdict, title, view.add_batch_definition_whole_table(title), expected, results)

    @contextmanager
    def _view(self, name: str, query: str) -> Iterator[None]:
        view = f'{_VIEWS}."{name}"'
        with self._engine.begin() as connection:
            connection.execute(sa.text(f"DROP VIEW IF EXISTS {view}"))
            connection.execute(sa.text(f"CREATE VIEW {view} AS {query}"))
        try:
            yield
        finally:
            with self._engine.begin() as connection:
                connection.execute(sa.text(f"DROP VIEW {view}"))

    def _validate(
        self, verdict: Verdict, title: str, batch: Any, expected: Iterable[Any], results: Mapping[str, Any]
    ) -> None:
        suite = self._context.suites.add(gx.ExpectationSuite(title, expectations=list(expected)))
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=title, data=batch, suite=suite)
        )
        for each in definition.run(result_format=dict(results)).results:
            _note(verdict, each)

    def publish(self, folder: Path, verdicts: Iterable[Verdict]) -> None:
        """Writes what was found as a site, in place of the one before.

        Its first page is ours and needs nothing from elsewhere; Great Expectations' own pages, which it leads to, fetch
        their style and their filters from a content network.
        """
        fresh = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        self._context.add_data_docs_site(
            site_name="boundary",
            site_config={
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(fresh / "details"),
                },
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            },
        )
        self._context.build_data_docs(site_names=["boundary"])
        (fresh / "index.html").write_text(overview(verdicts))
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Surge: checks of the raw data</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 56rem }}
table {{ border-collapse: collapse; width: 100% }} td, th {{ padding: .4rem 1rem .4rem 0; text-align: left;
vertical-align: top; border-top: 1px solid #eaecf0 }} .bad {{ color: #b42318 }} .odd {{ color: #b54708 }}</style>
<h1>Checks of the raw data</h1><p>As of {now:%d %B %Y, %H:%M} UTC. <a href="details/">Every expectation</a></p>
<table><tr><th>table<th>held<th>broken<th>unlike the day before<th>rows{rows}</table></html>"""


def overview(verdicts: Iterable[Verdict]) -> str:
    """The first page: each table, what held, what did not, and some of the rows."""
    rows = []
    for verdict in verdicts:
        held = verdict.evaluated - len(verdict.broken) - len(verdict.warned)
        named = "<br>".join(escape(", ".join(f"{key} {value}" for key, value in row.items())) for row in verdict.rows)
        broken, warned = ("<br>".join(map(escape, names)) for names in (verdict.broken, verdict.warned))
        rows.append(
            f"<tr><td>{escape(verdict.table)}<td>{held} of {verdict.evaluated}"
            f'<td class="bad">{broken}<td class="odd">{warned}<td>{named}'
        )
    return _PAGE.format(now=dt.datetime.now(dt.UTC), rows="".join(rows))


def _types(suite: Suite) -> Iterator[Any]:
    for column, type_ in suite.types.items():
        yield _expect.ExpectColumnValuesToBeOfType(column=column, type_=type_)


def _values(suite: Suite) -> Iterator[Any]:
    for column in suite.key:
        yield _expect.ExpectColumnValuesToNotBeNull(column=column)
    for limit in suite.between:
        yield _expect.ExpectColumnValuesToBeBetween(column=limit.column, min_value=limit.least, max_value=limit.most)


def _references(suite: Suite) -> Iterator[Any]:
    for reference in suite.references:
        yield _expect.UnexpectedRowsExpectation(
            description=f"{reference.column} is in {reference.table}.{reference.key}",
            unexpected_rows_query=_orphans(suite, reference),
        )


def _against_yesterday(suite: Suite) -> Iterator[Any]:
    yield _expect.UnexpectedRowsExpectation(
        description="a quarter to four times as many rows as the day before",
        unexpected_rows_query=_VOLUME,
        severity=WARNING,
    )
    for mixture in suite.mixtures:
        yield _expect.UnexpectedRowsExpectation(
            description=f"{mixture.name} are mixed as the day before",
            unexpected_rows_query=_drift(mixture),
            severity=WARNING,
        )


# The queries are made of this project's own names, never of data.


def _orphans(suite: Suite, reference: Reference) -> str:
    keys = ", ".join(f"child.{column}" for column in dict.fromkeys((*suite.key, reference.column)))
    return f"""
        SELECT {keys} FROM (SELECT * FROM {{batch}}) AS child
        WHERE child.{reference.column} IS NOT NULL AND child.__emitted_at < now() - interval '{GRACE}'
          AND NOT EXISTS (
            SELECT FROM raw.{reference.table} AS parent WHERE parent.{reference.key} = child.{reference.column}
          )
    """  # noqa: S608


_VOLUME: Final = f"""
    SELECT count(*) FILTER (WHERE today) AS today, count(*) FILTER (WHERE NOT today) AS yesterday
    FROM {{batch}}
    HAVING count(*) FILTER (WHERE NOT today) >= {FEWEST}
       AND count(*) FILTER (WHERE today)
           NOT BETWEEN count(*) FILTER (WHERE NOT today) / 4 AND count(*) FILTER (WHERE NOT today) * 4
"""  # noqa: S608


def _drift(mixture: Mixture) -> str:
    # a value that one of the days lacks counts as half a row there
    return f"""
        SELECT round(sum((today - yesterday) * ln(today / yesterday)), 3) AS stability_index
        FROM (
            SELECT greatest(now, 0.5) / nullif(sum(now) OVER (), 0) AS today,
                greatest(before, 0.5) / nullif(sum(before) OVER (), 0) AS yesterday,
                least(sum(now) OVER (), sum(before) OVER ()) AS fewest
            FROM (
                SELECT {mixture.expression} AS value,
                    count(*) FILTER (WHERE today) AS now, count(*) FILTER (WHERE NOT today) AS before
                FROM {{batch}}
                GROUP BY 1
            ) AS counts
        ) AS shares
        WHERE fewest >= {FEWEST}
        HAVING sum((today - yesterday) * ln(today / yesterday)) > {mixture.most}
    """  # noqa: S608


def _note(verdict: Verdict, each: Any) -> None:
    configuration = each.expectation_config
    name = configuration.description or f"{configuration.type} {configuration.kwargs.get('column', '')}".strip()
    if problem := _problem(each.exception_info):
        raise ExpectationError(f"{verdict.table}: {name}: {problem}")
    verdict.evaluated += 1
    if each.success:
        return
    warns = configuration.severity == WARNING
    (verdict.warned if warns else verdict.broken).append(name)
    unexpected = each.result.get("partial_unexpected_index_list")
    if unexpected is None:
        unexpected = (each.result.get("details") or {}).get("unexpected_rows") or []
    for row in unexpected[:MOST_ROWS]:
        verdict.rows.append({**{key: str(value) for key, value in dict(row).items()}, "expectation": name})


def _problem(told: Any) -> str:
    """What kept an expectation from being evaluated: told flat, or by metric."""
    for each in (told or {}, *(part for part in (told or {}).values() if isinstance(part, dict))):
        if each.get("raised_exception"):
            return str(each.get("exception_message"))
    return ""
