"""The figures of a run: what each one means, how they are computed, how they are shown."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stack.bench.vegeta import Shot


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of the values do not exceed (nearest rank); None of nothing.

    Raises:
        ValueError: if ``share`` does not lie in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError("a share lies between 0 and 1")
    if not values:
        return None
    ranked = sorted(values)
    return ranked[math.ceil(share * len(ranked) - 1e-9) - 1]


def meaning(text: str) -> dict[str, str]:
    """What a field of the JSON means, as its metadata."""
    return {"description": text}


@dataclass(slots=True, kw_only=True)
class Goal:
    """What a scenario promises, and whether the run kept it. ``measured`` is what was seen, in words."""

    key: str
    promise: str
    measured: str
    kept: bool


@dataclass(slots=True, kw_only=True)
class Figures:
    """One run of a scenario.

    Times in milliseconds unless a name says seconds. None: not measured in this scenario. A dictionary holds a figure
    for each of several things; in JSON it becomes ``<field>.<thing>``.
    """

    scenario: str = field(metadata=meaning("Which scenario ran."))
    passed: bool | None = field(
        default=None, metadata=meaning("Whether every goal of the scenario was kept, the audit among them.")
    )
    started_at: str | None = field(default=None, metadata=meaning("When the load began, RFC 3339."))
    duration_seconds: float | None = field(default=None, metadata=meaning("How long the load lasted."))

    offered: int | None = field(default=None, metadata=meaning("Checkouts that the generator sent."))
    offered_per_second: float | None = field(default=None, metadata=meaning("Checkouts sent, by the load's duration."))
    accepted: int | None = field(default=None, metadata=meaning("Checkouts that were answered with 202."))
    accepted_per_second: float | None = field(
        default=None, metadata=meaning("Checkouts answered with 202, by the load's duration.")
    )
    refused: dict[str, int] = field(
        default_factory=dict,
        metadata=meaning("Checkouts that were not accepted, by problem type, or by error without one."),
    )
    completed: int | None = field(
        default=None,
        metadata=meaning("Orders that came to PROCESSING, or were cancelled with all taken back, until the run ended."),
    )
    completed_per_second: float | None = field(
        default=None,
        metadata=meaning("Orders that came to PROCESSING or were cancelled while the load lasted, by its duration."),
    )
    lost: int | None = field(default=None, metadata=meaning("Accepted orders that the books do not know."))
    unfinished: int | None = field(
        default=None, metadata=meaning("Orders that were still pending, unpaid or being cancelled when the run ended.")
    )
    cancelled: int | None = field(default=None, metadata=meaning("Orders that were cancelled with all taken back."))
    waiting_for_carrier: int | None = field(
        default=None, metadata=meaning("Orders left in CONFIRMED: a carrier refused, and is asked again later.")
    )
    drained_seconds: float | None = field(
        default=None,
        metadata=meaning(
            "From the end of the load until no order was pending or unpaid and no consumer group was behind."
        ),
    )

    placement_p50_ms: float | None = field(
        default=None, metadata=meaning("Checkout request, from when it was due to its 202: median.")
    )
    placement_p95_ms: float | None = field(default=None, metadata=meaning("The same, 95th percentile."))
    placement_p99_ms: float | None = field(default=None, metadata=meaning("The same, 99th percentile."))
    placement_max_ms: float | None = field(default=None, metadata=meaning("The same, the slowest."))
    confirmed_p50_ms: float | None = field(
        default=None, metadata=meaning("From the order's acceptance to its recorded CONFIRMED: median.")
    )
    confirmed_p99_ms: float | None = field(default=None, metadata=meaning("The same, 99th percentile."))
    processing_p50_ms: float | None = field(
        default=None, metadata=meaning("From the order's acceptance to its recorded PROCESSING: median.")
    )
    processing_p99_ms: float | None = field(default=None, metadata=meaning("The same, 99th percentile."))

    lag_max: dict[str, int] = field(
        default_factory=dict,
        metadata=meaning("Most messages that a consumer group was behind during the load, by group."),
    )
    lag_steady_max: dict[str, int] = field(
        default_factory=dict, metadata=meaning("The same without the load's first ten seconds.")
    )

    cpu_seconds: dict[str, float] = field(
        default_factory=dict, metadata=meaning("CPU seconds during the load and until drained, by process.")
    )
    cpu_ms_per_order: dict[str, float] = field(
        default_factory=dict, metadata=meaning("The same for one accepted order, in milliseconds.")
    )
    cpu_ms_per_order_total: float | None = field(
        default=None, metadata=meaning("The stack's CPU milliseconds for one accepted order.")
    )
    cores_used: float | None = field(
        default=None, metadata=meaning("Cores that the stack kept busy on average while the load lasted.")
    )
    generator_cpu_share: float | None = field(
        default=None, metadata=meaning("Part of one core that the load generator used.")
    )
    generator_cpu_ms_per_request: float | None = field(
        default=None, metadata=meaning("The generator's CPU milliseconds for one request.")
    )
    generator_late_p99_ms: float | None = field(
        default=None, metadata=meaning("By how much the generator sent requests late (counted as latency).")
    )
    observer_cpu_share: float | None = field(
        default=None, metadata=meaning("Part of one core that the measuring itself used.")
    )
    memory_mb: dict[str, int] = field(
        default_factory=dict, metadata=meaning("Memory at the end of the load, by process (proportional set).")
    )

    postgres_commits: int | None = field(
        default=None, metadata=meaning("Transactions that Postgres committed, until drained.")
    )
    postgres_wal_mb: float | None = field(default=None, metadata=meaning("Write-ahead log that Postgres wrote, in MB."))
    postgres_wal_bytes_per_order: float | None = field(
        default=None, metadata=meaning("The same for one accepted order, in bytes.")
    )
    postgres_rows_inserted: int | None = field(default=None, metadata=meaning("Rows inserted."))
    postgres_rows_updated: int | None = field(default=None, metadata=meaning("Rows updated."))
    postgres_blocks_read: int | None = field(
        default=None, metadata=meaning("Blocks that were not in Postgres's own memory.")
    )
    broker_messages: int | None = field(default=None, metadata=meaning("Messages that the broker took in all topics."))
    broker_messages_per_second: float | None = field(
        default=None, metadata=meaning("The same by the time until drained.")
    )
    broker_mb: float | None = field(default=None, metadata=meaning("What they take on its disk, in MB."))
    redis_commands: int | None = field(
        default=None, metadata=meaning("Commands that Redis ran, those inside scripts included.")
    )
    redis_bytes_per_order: float | None = field(
        default=None, metadata=meaning("By how much Redis grew for one accepted order, in bytes.")
    )

    units_offered: int | None = field(default=None, metadata=meaning("Units in the flash sale."))
    units_sold: int | None = field(
        default=None, metadata=meaning("Units of it in the books: of orders that were paid and not cancelled.")
    )
    served_twice: int | None = field(
        default=None, metadata=meaning("Customers who got more of them than one may have.")
    )
    answers: dict[str, int] = field(
        default_factory=dict, metadata=meaning("Answers to the rush, by kind: accepted, or a problem's type.")
    )
    answers_per_second: float | None = field(
        default=None, metadata=meaning("Answers to the rush, by the time from its first request to its last answer.")
    )
    answer_p50_ms: float | None = field(
        default=None, metadata=meaning("Any answer to the rush, from when its request was due: median.")
    )
    answer_p99_ms: float | None = field(default=None, metadata=meaning("The same, 99th percentile."))
    answer_max_ms: float | None = field(default=None, metadata=meaning("The same, the slowest."))
    others_idle_p99_ms: float | None = field(
        default=None, metadata=meaning("Checkouts of other products before the rush: placement, 99th percentile.")
    )
    others_rush_p99_ms: float | None = field(default=None, metadata=meaning("The same during the rush."))

    outage_seconds: dict[str, float] = field(
        default_factory=dict, metadata=meaning("How long Postgres did not answer, by outage (stop, kill).")
    )
    outage_offered: dict[str, int] = field(
        default_factory=dict, metadata=meaning("Checkouts that were due meanwhile, by outage.")
    )
    outage_accepted: dict[str, int] = field(default_factory=dict, metadata=meaning("Those of them answered with 202."))
    outage_recovery_seconds: dict[str, float] = field(
        default_factory=dict,
        metadata=meaning(
            "From the return of Postgres until every order accepted meanwhile was in PROCESSING or cancelled, "
            "but for those that a carrier refused at first; by outage."
        ),
    )

    sockets: int | None = field(default=None, metadata=meaning("WebSockets that customers had open."))
    sockets_lost: int | None = field(default=None, metadata=meaning("Those that were closed before the end."))
    socket_messages: int | None = field(default=None, metadata=meaning("Transitions that reached them."))
    socket_missed: int | None = field(
        default=None, metadata=meaning("Orders of watching customers whose PROCESSING never reached them.")
    )
    socket_p50_ms: float | None = field(
        default=None, metadata=meaning("From a transition's recorded time to the customer's socket: median.")
    )
    socket_p99_ms: float | None = field(default=None, metadata=meaning("The same, 99th percentile."))
    socket_max_ms: float | None = field(default=None, metadata=meaning("The same, the slowest."))
    socket_client_cpu_share: float | None = field(
        default=None, metadata=meaning("Part of one core that the watching customers used.")
    )

    limits: dict[str, float] = field(
        default_factory=dict,
        metadata=meaning(
            "What `surge bench limits` measures, by its fields, taken right after the load (max --limits)."
        ),
    )

    audit: str | None = field(default=None, metadata=meaning("The audit's verdict once the shop was quiet."))
    audit_clean: bool | None = field(default=None, metadata=meaning("Whether the audit found nothing broken."))

    machine_cores: int | None = field(default=None, metadata=meaning("Cores of the machine."))
    machine_memory_mb: int | None = field(default=None, metadata=meaning("Its memory."))
    machine_cpu: str | None = field(default=None, metadata=meaning("Its processor."))
    payment_latency_ms: int | None = field(
        default=None, metadata=meaning("Mean time that the simulated payment provider took, as set.")
    )
    orders_in_books: int | None = field(
        default=None, metadata=meaning("About how many orders the books held at the end (Postgres' own estimate).")
    )

    goals: list[Goal] = field(default_factory=list, metadata=meaning("Whether each goal was kept, by goal."))

    def document(self) -> dict[str, Any]:
        """The run as flat JSON; what was not measured is left out."""
        document: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name == "goals":
                document |= {f"goals.{goal.key}": goal.kept for goal in value}
            elif isinstance(value, dict):
                document |= {f"{entry.name}.{thing}": _rounded(part) for thing, part in value.items()}
            elif value is not None:
                document[entry.name] = _rounded(value)
        return document

    def place(self, shots: Sequence[Shot], seconds: float) -> None:
        """Takes over what the generator saw."""
        accepted = [shot.latency * 1000 for shot in shots if shot.code == 202]
        self.duration_seconds = seconds
        self.offered, self.accepted = len(shots), len(accepted)
        self.offered_per_second, self.accepted_per_second = len(shots) / seconds, len(accepted) / seconds
        self.refused = dict(Counter(shot.problem for shot in shots if shot.code != 202).most_common())
        self.placement_p50_ms = percentile(accepted, 0.50)
        self.placement_p95_ms = percentile(accepted, 0.95)
        self.placement_p99_ms = percentile(accepted, 0.99)
        self.placement_max_ms = max(accepted, default=None)
        self.generator_late_p99_ms = percentile([shot.late * 1000 for shot in shots], 0.99)

    def judge(self, goals: Sequence[Goal]) -> None:
        """Settles whether the run kept what its scenario promises."""
        self.goals = list(goals)
        self.passed = all(goal.kept for goal in goals)


def described() -> Iterator[tuple[str, str]]:
    """Every field of the JSON with its meaning."""
    for entry in fields(Figures):
        yield _json_name(entry), entry.metadata["description"]


def _json_name(entry: "Field[Any]") -> str:
    return f"{entry.name}.<…>" if entry.name == "goals" or "dict" in str(entry.type) else entry.name


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


_ROWS: Final[Sequence[tuple[str, Sequence[tuple[str, str]]]]] = (
    ("offered", (("offered_per_second", "a second"), ("offered", "in all"))),
    ("accepted", (("accepted_per_second", "a second"), ("accepted", "in all"))),
    ("completed", (("completed_per_second", "a second"), ("completed", "in all"), ("cancelled", "cancelled"))),
    (
        "placement",
        (
            ("placement_p50_ms", "p50"),
            ("placement_p95_ms", "p95"),
            ("placement_p99_ms", "p99"),
            ("placement_max_ms", "max ms"),
        ),
    ),
    ("to CONFIRMED", (("confirmed_p50_ms", "p50"), ("confirmed_p99_ms", "p99 ms"))),
    ("to PROCESSING", (("processing_p50_ms", "p50"), ("processing_p99_ms", "p99 ms"))),
    ("units sold", (("units_sold", "sold"), ("units_offered", "offered"), ("served_twice", "served twice"))),
    (
        "answers",
        (
            ("answers_per_second", "a second"),
            ("answer_p50_ms", "p50"),
            ("answer_p99_ms", "p99"),
            ("answer_max_ms", "max ms"),
        ),
    ),
    ("other products", (("others_idle_p99_ms", "p99 before"), ("others_rush_p99_ms", "p99 ms meanwhile"))),
    (
        "to the socket",
        (("socket_p50_ms", "p50"), ("socket_p99_ms", "p99"), ("socket_max_ms", "max ms"), ("sockets", "sockets")),
    ),
    ("drained after", (("drained_seconds", "s"), ("waiting_for_carrier", "wait for a carrier"))),
    (
        "Postgres",
        (
            ("postgres_commits", "commits"),
            ("postgres_rows_inserted", "rows inserted"),
            ("postgres_rows_updated", "updated"),
            ("postgres_wal_bytes_per_order", "bytes of WAL an order"),
        ),
    ),
    ("broker", (("broker_messages_per_second", "messages a second"), ("broker_mb", "MB"))),
    ("Redis", (("redis_commands", "commands"), ("redis_bytes_per_order", "bytes an order"))),
    (
        "generator",
        (
            ("generator_cpu_share", "of a core"),
            ("generator_cpu_ms_per_request", "ms a request"),
            ("generator_late_p99_ms", "ms late (p99)"),
            ("observer_cpu_share", "of a core to measure"),
        ),
    ),
    ("stack", (("cores_used", "cores"), ("cpu_ms_per_order_total", "ms of CPU an order"))),
)


def render(figures: Figures) -> RenderableType:
    """The closing table."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for title, parts in _ROWS:
        known = [(getattr(figures, name), unit) for name, unit in parts]
        shown = [
            Text.assemble((_number(value), "bold"), (f" {unit}", "dim")) for value, unit in known if value is not None
        ]
        if shown:
            table.add_row(title, Text("  ").join(shown))
    for answer, count in figures.answers.items():
        table.add_row("", Text.assemble((f"{count:,}", "bold"), (f" {answer}", "dim")))
    for problem, count in figures.refused.items():
        table.add_row("refused", Text.assemble((f"{count:,}", "bold yellow"), (f" {problem}", "dim")))
    for outage, seconds in figures.outage_seconds.items():
        recovery = figures.outage_recovery_seconds.get(outage)
        table.add_row(
            f"Postgres {_OUTAGES[outage]}",
            Text.assemble(
                (f"{seconds:.1f}", "bold"),
                (" s away  ", "dim"),
                (f"{figures.outage_accepted.get(outage, 0):,}", "bold"),
                (f" of {figures.outage_offered.get(outage, 0):,} accepted meanwhile  ", "dim"),
                ("never" if recovery is None else f"{recovery:.1f}", "bold"),
                (" s from its return until they were completed", "dim"),
            ),
        )
    return Group(
        Text(f"{figures.scenario}: {figures.duration_seconds or 0:.0f} s", style="bold"),
        table,
        Text(),
        _processes(figures),
        Text(),
        _verdict(figures),
    )


_OUTAGES: Final = {"stop": "stopped", "kill": "killed"}


def _processes(figures: Figures) -> RenderableType:
    """CPU and memory by process, and beside it the lag by consumer group."""
    processes = Table(box=None, pad_edge=False, header_style="bold dim")
    processes.add_column("process")
    for name in ("CPU s", "ms an order", "MB"):
        processes.add_column(name, justify="right")
    for name, seconds in sorted(figures.cpu_seconds.items(), key=lambda entry: -entry[1]):
        order, memory = figures.cpu_ms_per_order.get(name), figures.memory_mb.get(name)
        processes.add_row(
            name, f"{seconds:.1f}", "" if order is None else f"{order:.3f}", "" if memory is None else str(memory)
        )
    groups = Table(box=None, pad_edge=False, header_style="bold dim")
    groups.add_column("consumer group")
    groups.add_column("most behind", justify="right")
    groups.add_column("after 10 s", justify="right")
    for group, lag in sorted(figures.lag_max.items(), key=lambda entry: -entry[1]):
        groups.add_row(group, f"{lag:,}", _number(figures.lag_steady_max.get(group)))
    both = Table.grid(padding=(0, 4))
    both.add_row(processes, groups)
    return both


def verdict(figures: Figures) -> str:
    """Which goals a run missed, in a few words."""
    missed = [goal for goal in figures.goals if not goal.kept]
    if not missed:
        return "every goal kept"
    return "; ".join(f"missed: {goal.promise} ({goal.measured})" for goal in missed)


def _verdict(figures: Figures) -> RenderableType:
    lines = [
        Text.assemble(
            ("✓ " if goal.kept else "✗ ", "green" if goal.kept else "red"), goal.promise, (f"  {goal.measured}", "dim")
        )
        for goal in figures.goals
    ]
    return Group(*lines)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return "" if value is None else f"{value:,}"


def steady(values: Mapping[str, int]) -> int:
    """The highest of several groups' lags."""
    return max(values.values(), default=0)
