"""Which failures pass by themselves."""

from typing import Any, cast

import asyncpg
import pytest
import redis.exceptions
from pymongo.errors import AutoReconnect, DuplicateKeyError, ExecutionTimeout, OperationFailure, PyMongoError
from redis._parsers.base import BaseParser
from redis.asyncio.client import Pipeline
from sqlalchemy.exc import DBAPIError

from kit.shared_redis import _reply_error
from kit.transient import is_transient

DISK_FULL = "MISCONF Errors writing to the AOF file: No space left on device"


@pytest.mark.parametrize(
    "answer",
    [
        DISK_FULL,
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "OOM command not allowed when used memory > 'maxmemory'.",
    ],
)
def test_a_redis_that_cannot_write_now_is_worth_another_try(answer: str) -> None:
    assert is_transient(BaseParser.parse_error(answer))
    assert is_transient(_reply_error(answer))


@pytest.mark.parametrize(("answer", "passes"), [(DISK_FULL, True), ("WRONGTYPE MISCONF is no reason here", False)])
def test_a_command_of_a_pipeline_is_judged_by_its_own_answer(answer: str, passes: bool) -> None:
    error = BaseParser.parse_error(answer)
    Pipeline.annotate_exception(cast(Any, None), error, 1, ("SREM", "MISCONF key", "id"))

    assert str(error).startswith("Command # 1 ")
    assert is_transient(error) is passes


def test_a_command_that_redis_does_not_understand_is_not() -> None:
    assert not is_transient(BaseParser.parse_error("WRONGTYPE Operation against a key holding the wrong kind of value"))
    assert not is_transient(_reply_error("ERR unknown command"))


def test_a_full_disk_under_postgres_is_worth_another_try() -> None:
    full = asyncpg.DiskFullError("could not extend file: No space left on device")

    assert is_transient(full)
    assert is_transient(DBAPIError("INSERT", {}, full))


@pytest.mark.parametrize("code", [None, 91, 14031])
def test_a_document_store_that_is_broken_itself_is_worth_another_try(code: int | None) -> None:
    assert is_transient(OperationFailure("Unknown error!", code))


@pytest.mark.parametrize("away", [AutoReconnect("connection closed"), ExecutionTimeout("too slow", 50)])
def test_a_document_store_that_is_away_is_worth_another_try(away: PyMongoError) -> None:
    assert is_transient(away)


def test_a_document_that_it_refuses_is_not() -> None:
    assert not is_transient(DuplicateKeyError("E11000 duplicate key", 11000))
    assert not is_transient(OperationFailure("unknown operator", 2))


def test_a_broken_constraint_is_not() -> None:
    assert not is_transient(DBAPIError("INSERT", {}, asyncpg.UniqueViolationError("duplicate key")))
    assert not is_transient(redis.exceptions.ResponseError("ERR"))
