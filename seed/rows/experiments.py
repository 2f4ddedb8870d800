"""Schema ``experiments``."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from seed.copy import Table, table
from seed.experiments import assignments
from seed.history import moment
from seed.rendered import Rendered
from seed.rows.orders import Payload
from seed.wire import Fixed, payload, piece, pieces, take

EXPERIMENTS: Final = table("experiments", "experiments", "key name variants started_at ended_at")
ASSIGNMENTS: Final = table("experiments", "assignments", "user_id assigned_at experiment variant")


def base(rendered: Rendered) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
    """The experiments."""
    yield (
        EXPERIMENTS,
        [
            (
                entry.experiment.key,
                entry.experiment.name,
                orjson.dumps(entry.experiment.variants).decode(),
                moment(entry.start_ms),
                None if entry.end_ms is None else moment(entry.end_ms),
            )
            for entry in assignments(rendered.world.plan, rendered.world.people)
        ],
    )


def rows(rendered: Rendered) -> Iterator[tuple[Table, Payload]]:
    """Who sees what."""
    people = rendered.world.people
    for entry in assignments(rendered.world.plan, people):
        if not len(entry.customer):
            continue
        head = Fixed(len(entry.customer), len(ASSIGNMENTS.columns)).uuid(people.ids[entry.customer]).moment(entry.at_ms)
        kinds = pieces(piece(entry.experiment.key, variant) for variant in entry.experiment.variants)
        yield ASSIGNMENTS, payload(head.build(), take(kinds, entry.variant))
