"""Views that stand in the way of a column's new type: taken down, and put back as they were."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_DEPENDENT: Final = """
    WITH RECURSIVE dependent AS (
        SELECT DISTINCT r.ev_class AS oid, 1 AS depth
        FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = $1::regclass AND r.ev_class <> d.refobjid
        UNION
        SELECT r.ev_class, dependent.depth + 1
        FROM dependent
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.refobjid = dependent.oid
        JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> d.refobjid
    )
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind,
           pg_get_viewdef(c.oid) AS definition, pg_get_userbyid(c.relowner) AS owner,
           (SELECT string_agg(
                format('GRANT %s ON %I.%I TO %I', a.privilege_type, n.nspname, c.relname, pg_get_userbyid(a.grantee)),
                '; ')
            FROM aclexplode(c.relacl) a WHERE a.grantee NOT IN (0, c.relowner)) AS grants,
           obj_description(c.oid, 'pg_class') AS comment
    FROM (SELECT oid, max(depth) AS depth FROM dependent GROUP BY oid) found
    JOIN pg_class c ON c.oid = found.oid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY found.depth, c.oid
"""


class ViewError(Exception):
    """Something depends on the table that can't be put back."""


@dataclass(frozen=True, slots=True)
class View:
    """A view as it was."""

    name: str
    definition: str
    owner: str
    grants: str | None
    comment: str | None


async def take_down(connection: Any, table: str) -> list[View]:
    """Drops the views that read a table, directly or through each other; the inner ones come first in the answer.

    Raises:
        ViewError: if a materialised view is among them: its rows are not ours to compute again.
    """
    rows = await connection.fetch(_DEPENDENT, table)
    if stuck := [row["name"] for row in rows if row["kind"] != "v"]:
        raise ViewError(f"{', '.join(stuck)} reads {table}, whose column changes its type: drop it, and build it anew")
    for row in reversed(rows):
        await connection.execute(f"DROP VIEW {row['name']}")
    return [View(row["name"], row["definition"], row["owner"], row["grants"], row["comment"]) for row in rows]


async def put_back(connection: Any, views: Sequence[View]) -> None:
    """Creates the views again, with their owners, grants and comments."""
    for view in views:
        await connection.execute(f'SET LOCAL ROLE "{view.owner}"')
        await connection.execute(f"CREATE VIEW {view.name} AS {view.definition}")
        if view.grants:
            await connection.execute(view.grants)
        if view.comment:
            literal = await connection.fetchval("SELECT quote_literal($1::text)", view.comment)
            await connection.execute(f"COMMENT ON VIEW {view.name} IS {literal}")
        await connection.execute("RESET ROLE")
