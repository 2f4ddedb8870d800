"""Logs, metrics and the trace of one request through every process."""

import logging
import random
import re
import sys
from contextvars import ContextVar
from functools import lru_cache
from typing import Final

import structlog
from prometheus_client import Counter, Histogram

_correlation: ContextVar[str] = ContextVar("correlation_id", default="")
_traceparent: ContextVar[str] = ContextVar("traceparent", default="")
_TRACEPARENT: Final = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
_CORRELATION: Final = re.compile(r"^[A-Za-z0-9._\-]{1,128}$")

HTTP_SECONDS = Histogram(
    "surge_http_request_seconds",
    "Time from a request's first byte to its answer's last.",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
MESSAGES = Counter("surge_messages_total", "Messages that a consumer has finished.", ["group", "type", "outcome"])
BATCH_SECONDS = Histogram("surge_batch_seconds", "Time that a consumer takes for a batch.", ["group"])
BATCH_MESSAGES = Histogram(
    "surge_batch_messages", "Messages in a batch.", ["group"], buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
HTTP_FAILURES = Counter("surge_http_failures_total", "Requests answered with 5xx.")
RESTARTS = Counter("surge_task_restarts_total", "Background tasks that failed and were started again.", ["task"])


@lru_cache(maxsize=1024)
def http_seconds(method: str, route: str, status: int) -> Histogram:
    """The times of a route's requests that were answered with a status."""
    return HTTP_SECONDS.labels(method, route, status)


def failed_requests() -> int:
    """How many requests this process has answered with 5xx."""
    return int(sum(sample.value for metric in HTTP_FAILURES.collect() for sample in metric.samples[:1]))


def configure(process: str, *, level: str = "INFO", json: bool = True) -> None:
    """Sets up structlog and the standard library's logging to write the same lines to standard output."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_correlation_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if json
        else [
            # rich's tracebacks take seconds each
            structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))


def _with_correlation_id(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if correlation := _correlation.get():
        event.setdefault("correlation_id", correlation)
    return event


def correlation_id() -> str:
    """The id that follows the present request or message; empty outside of one."""
    return _correlation.get()


def traceparent() -> str:
    """The present W3C traceparent; empty outside of a trace."""
    return _traceparent.get()


def trace_id() -> str:
    """The trace's 32 hex digits; zeros outside of a trace."""
    parent = _traceparent.get()
    return parent[3:35] if parent else "0" * 32


def new_traceparent() -> str:
    """A fresh, sampled traceparent (https://www.w3.org/TR/trace-context/)."""
    return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01"


class trace:  # noqa: N801
    """Puts a request's or message's ids in place, as a context; unusable ones are replaced by fresh ones.

    Every line of the log says the correlation id. Not a generator and nothing of structlog's: each request enters it.
    """

    __slots__ = ("_correlation", "_parent", "_tokens")

    def __init__(self, correlation: str | None, parent: str | None) -> None:
        self._parent = parent if parent and _TRACEPARENT.match(parent) else new_traceparent()
        self._correlation = correlation if correlation and _CORRELATION.match(correlation) else self._parent[3:35]

    def __enter__(self) -> None:
        self._tokens = _correlation.set(self._correlation), _traceparent.set(self._parent)

    def __exit__(self, *_: object) -> None:
        _correlation.reset(self._tokens[0])
        _traceparent.reset(self._tokens[1])
