"""What the database remembers of how it was seeded: the plan, the chunks that are in, the indexes that are away."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg

from seed.plan import Plan

_TABLES: Final = """
    CREATE SCHEMA IF NOT EXISTS seed;
    CREATE TABLE IF NOT EXISTS seed.datasets (
        name text PRIMARY KEY,
        seed bigint NOT NULL,
        customers integer NOT NULL,
        products integer NOT NULL,
        orders bigint NOT NULL,
        history_ends_at timestamptz NOT NULL,
        seeded_at timestamptz NOT NULL DEFAULT now()
    );
    ALTER TABLE seed.datasets
        ADD COLUMN IF NOT EXISTS chunk integer NOT NULL DEFAULT 5000,
        ADD COLUMN IF NOT EXISTS recorded interval NOT NULL DEFAULT '365 days',
        ADD COLUMN IF NOT EXISTS complete boolean NOT NULL DEFAULT true;
    CREATE TABLE IF NOT EXISTS seed.chunks (
        number integer PRIMARY KEY,
        orders integer NOT NULL,
        digests jsonb NOT NULL
    );
    CREATE TABLE IF NOT EXISTS seed.rebuilds (
        place integer PRIMARY KEY,
        stage integer NOT NULL,
        relation text NOT NULL,
        name text NOT NULL,
        statement text NOT NULL
    );
"""

NAME: Final = "demo"
"""The data set's name; a shop has one."""

BASE: Final = -1
STOCK: Final = -2
"""Numbers of the chunks that hold no orders: customers, products and the like, and the stock with its ledger."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The data set that a shop was, or is being, filled with."""

    plan: Plan
    complete: bool


async def prepare(connection: asyncpg.Connection) -> None:
    """Creates the tables of this module."""
    await connection.execute(_TABLES)


async def read(connection: asyncpg.Connection) -> Mark | None:
    """The shop's data set; None if it was never seeded."""
    row = await connection.fetchrow("SELECT * FROM seed.datasets WHERE name = $1", NAME)
    if row is None:
        return None
    plan = Plan(
        customers=row["customers"],
        products=row["products"],
        orders=row["orders"],
        now=row["history_ends_at"].astimezone(dt.UTC),
        seed=row["seed"],
        chunk=row["chunk"],
        recorded=row["recorded"],
    )
    return Mark(plan, row["complete"])


async def begin(connection: asyncpg.Connection, plan: Plan) -> None:
    """Notes that the shop is being filled."""
    await connection.execute(
        """
        INSERT INTO seed.datasets (name, seed, customers, products, orders, history_ends_at, chunk, recorded, complete)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, false)
        """,
        *(NAME, plan.seed, plan.customers, plan.products, plan.orders, plan.now, plan.chunk, plan.recorded),
    )


async def finish(connection: asyncpg.Connection) -> None:
    """Notes that everything is in."""
    await connection.execute("UPDATE seed.datasets SET complete = true, seeded_at = now() WHERE name = $1", NAME)


async def note_chunk(connection: asyncpg.Connection, number: int, orders: int, digests: Mapping[str, str]) -> None:
    """Notes, in the transaction that wrote it, that a chunk is in."""
    await connection.execute("INSERT INTO seed.chunks VALUES ($1, $2, $3)", number, orders, json.dumps(digests))


async def chunks(connection: asyncpg.Connection) -> dict[int, dict[str, str]]:
    """The chunks that are in, with the digest of what each wrote into each table."""
    rows = await connection.fetch("SELECT number, digests FROM seed.chunks ORDER BY number")
    return {row["number"]: json.loads(row["digests"]) for row in rows}


_IMPORT: Final = "import: "


async def note_import(
    connection: asyncpg.Connection, name: str, *, customers: int, products: int, orders: int, until: dt.datetime
) -> None:
    """Notes that another shop's orders were brought in."""
    await connection.execute(
        """
        INSERT INTO seed.datasets (name, seed, customers, products, orders, history_ends_at, recorded)
        VALUES ($1, 0, $2, $3, $4, $5, '0 days')
        """,
        *(f"{_IMPORT}{name}", customers, products, orders, until),
    )


async def imports(connection: asyncpg.Connection) -> list[str]:
    """The names of the shops whose orders were brought in."""
    rows = await connection.fetch("SELECT name FROM seed.datasets WHERE starts_with(name, $1) ORDER BY name", _IMPORT)
    return [row["name"].removeprefix(_IMPORT) for row in rows]
