"""Tables without their indexes and keys while they are filled: sorting once at the end takes a fraction of the time.

What was taken away is noted in ``seed.rebuilds`` in the same transaction, and every statement that puts something back
deletes its note, so that a run that is broken off leaves nothing behind that the next one does not mend.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg

STAGES: Final = 3
"""Indexes, then the keys that stand on them, then foreign keys and how tables are stored.

Indexes of one table are built side by side; a key that built its own would lock the others out.
"""

_KEYS: Final = """
    SELECT k.conrelid::regclass::text AS relation, quote_ident(k.conname) AS name,
           pg_get_constraintdef(k.oid) AS definition, k.contype::text AS kind,
           quote_ident(c.relname) AS index, pg_get_indexdef(c.oid) AS index_definition
    FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = k.conindid
    WHERE (k.conrelid::regclass::text = ANY($1) AND k.contype IN ('f', 'p', 'u'))
       OR (k.confrelid::regclass::text = ANY($1) AND k.contype = 'f')
    ORDER BY k.contype <> 'f', k.conrelid::regclass::text, k.conname
"""
_INDEXES: Final = """
    SELECT i.indrelid::regclass::text AS relation, i.indexrelid::regclass::text AS name,
           pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index i
    WHERE i.indrelid::regclass::text = ANY($1)
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
    ORDER BY pg_relation_size(i.indrelid) DESC, 1, 2
"""
_FILLFACTORS: Final = """
    SELECT oid::regclass::text AS relation, option FROM pg_class CROSS JOIN unnest(reloptions) AS option
    WHERE oid::regclass::text = ANY($1) AND option LIKE 'fillfactor=%'
"""


async def strip(connection: asyncpg.Connection, tables: Sequence[str]) -> None:
    """Takes the tables' foreign keys, keys and indexes away, in one transaction, and notes how to put them back."""
    async with connection.transaction():
        notes: list[tuple[int, str, str, str]] = []
        for key in await connection.fetch(_KEYS, list(tables)):
            add = f"ALTER TABLE {key['relation']} ADD CONSTRAINT {key['name']}"
            if key["kind"] == "f":
                notes.append((2, key["relation"], key["name"], f"{add} {key['definition']}"))
            else:
                kind = "PRIMARY KEY" if key["kind"] == "p" else "UNIQUE"
                notes.append((0, key["relation"], key["name"], key["index_definition"]))
                notes.append((1, key["relation"], key["name"], f"{add} {kind} USING INDEX {key['index']}"))
            await connection.execute(f"ALTER TABLE {key['relation']} DROP CONSTRAINT {key['name']}")
        for index in await connection.fetch(_INDEXES, list(tables)):
            notes.append((0, index["relation"], index["name"], index["definition"]))
            await connection.execute(f"DROP INDEX {index['name']}")
        factors = {row["relation"]: row["option"] for row in await connection.fetch(_FILLFACTORS, list(tables))}
        for name in tables:
            # room for updates is of no use on pages of orders that nobody updates any more
            await connection.execute(f"ALTER TABLE {name} SET (autovacuum_enabled = false, fillfactor = 100)")
            factor = f", SET ({factors[name]})" if name in factors else ""
            put_back = f"ALTER TABLE {name} RESET (autovacuum_enabled, fillfactor){factor}"
            notes.append((2, name, "storage", put_back))
        await connection.executemany(
            "INSERT INTO seed.rebuilds (place, stage, relation, name, statement) VALUES ($1, $2, $3, $4, $5)",
            [(place, *note) for place, note in enumerate(notes)],
        )


async def rebuild(connections: Sequence[asyncpg.Connection], note: Callable[[str, int, int], None]) -> None:
    """Puts back what :func:`strip` took, as many at a time as there are connections; ``note`` is told how far it is."""
    first = connections[0]
    total, done = int(await first.fetchval("SELECT count(*) FROM seed.rebuilds")), 0
    for stage in range(STAGES):
        # the largest tables come first, so that no long one is left for the end
        rows = await first.fetch(
            """
            SELECT place, relation, name, statement FROM seed.rebuilds WHERE stage = $1
            ORDER BY pg_relation_size(relation::regclass) DESC, place
            """,
            stage,
        )
        waiting = list(rows)

        async def work(connection: asyncpg.Connection, waiting: list[asyncpg.Record] = waiting) -> None:
            nonlocal done
            while waiting:
                row = waiting.pop(0)
                note(f"{row['relation']}: {row['name'].rpartition('.')[-1]}", done, total)
                async with connection.transaction():
                    await connection.execute(row["statement"])
                    await connection.execute("DELETE FROM seed.rebuilds WHERE place = $1", row["place"])
                done += 1

        async with asyncio.TaskGroup() as group:
            for connection in connections:
                group.create_task(work(connection))
