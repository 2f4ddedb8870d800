"""Redis: one client a process."""

from typing import Annotated, cast

from fastapi import Depends
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from starlette.requests import HTTPConnection

from kit.settings import Settings


def connect(settings: Settings) -> Redis:
    """A client whose answers are ``str``. The pool grows to 512 connections (redis-py stops at 100 unless told)."""
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        max_connections=512,
        socket_timeout=5,
        socket_connect_timeout=2,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 3),
        client_name=f"{settings.instance}.{settings.process}",
    )


def _redis(connection: HTTPConnection) -> Redis:
    return cast(Redis, connection.state.resources.redis)


RedisDep = Annotated[Redis, Depends(_redis)]
