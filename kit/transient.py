"""Tells failures that pass by themselves from those that do not."""

import asyncio
import ssl
from typing import Final

import aiokafka.errors
import asyncpg
import redis.exceptions
import sqlalchemy.exc

TRANSIENT: Final = (
    ConnectionError,
    TimeoutError,
    asyncio.TimeoutError,
    ssl.SSLError,
    OSError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.MasterDownError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    sqlalchemy.exc.TimeoutError,
)
"""Failures that pass by themselves, whatever they say; others, and the document store's, need a look at their cause.

A disk that is full is among them (Postgres' class 53): nothing is wrong with the message that met it.
"""

REDIS_CANNOT_WRITE: Final = "MISCONF "
"""How Redis begins its answer while it can't persist what it is told, as on a full disk."""


_MONGO_PASSES: Final = frozenset(
    {
        None,  # the server does not say what is wrong with it
        1,  # InternalError
        91,  # ShutdownInProgress
        11600,  # InterruptedAtShutdown
        11602,  # InterruptedDueToReplStateChange
        14031,  # OutOfDiskSpace
    }
)


def is_transient(error: BaseException) -> bool:
    """Whether trying the same again later can succeed: a server is away, starting, or a lock was lost."""
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        if error.connection_invalidated:
            return True
        cause = getattr(error.orig, "__cause__", None) or error.orig
        return cause is not None and isinstance(cause, TRANSIENT)
    if isinstance(error, aiokafka.errors.KafkaError):
        return not isinstance(error, aiokafka.errors.MessageSizeTooLargeError)
    if isinstance(error, redis.exceptions.ResponseError) and _answer(error).startswith(REDIS_CANNOT_WRITE):
        return True
    if any(kind.__module__.startswith("pymongo.") for kind in type(error).__mro__):
        return _passes_in_mongo(error)
    return isinstance(error, TRANSIENT)


def _answer(error: redis.exceptions.ResponseError) -> str:
    """What Redis answered: of a command in a pipeline, redis-py puts before it which one that was."""
    return str(error).rpartition("of pipeline caused error: ")[2].lstrip("('\"")


def _passes_in_mongo(error: BaseException) -> bool:
    # what raised it has loaded the driver; most processes never do, and start without its tenth of their imports
    import pymongo.errors

    if isinstance(error, pymongo.errors.OperationFailure):
        return isinstance(error, pymongo.errors.ExecutionTimeout) or error.code in _MONGO_PASSES
    return isinstance(error, pymongo.errors.ConnectionFailure)
