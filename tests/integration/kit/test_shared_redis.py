"""Many callers' commands over one connection to a real Redis."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kit import redis as kit_redis
from kit.settings import Settings
from kit.shared_redis import Script, SharedRedis

REDIS_DATABASE = 7

ECHO = Script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Settings that lead to a Redis database of this module's own."""
    url = urlsplit(settings.redis_url.get_secret_value())
    return settings.model_copy(update={"redis_url": SecretStr(urlunsplit(url._replace(path=f"/{REDIS_DATABASE}")))})


@pytest.fixture
async def redis(own: Settings) -> AsyncIterator[Redis]:
    """That database, emptied before and after."""
    client = kit_redis.connect(own)
    await client.flushdb()
    yield client
    await client.flushdb()
    await client.aclose()


@pytest.fixture
def shared(own: Settings, redis: Redis) -> Iterator[SharedRedis]:
    """One connection for everybody."""
    connection = SharedRedis(own)
    yield connection
    connection.close()


async def test_everybody_gets_their_own_reply(shared: SharedRedis) -> None:
    replies = await asyncio.gather(*(shared.run(ECHO, [f"key-{n}"], [n]) for n in range(500)))
    assert replies == [[f"key-{n}", str(n), 1] for n in range(500)]


async def test_a_script_that_fails_fails_alone(shared: SharedRedis) -> None:
    bad = Script("return redis.call('INCR', KEYS[1], 'too', 'many')")
    replies = await asyncio.gather(
        shared.run(ECHO, ["a"], ["x"]),
        shared.run(bad, ["b"]),
        shared.run(ECHO, ["c"], ["y"]),
        return_exceptions=True,
    )
    assert replies[0] == ["a", "x", 1]
    assert isinstance(replies[1], ResponseError)
    assert replies[2] == ["c", "y", 1]


async def test_a_command_between_scripts_gets_its_own_reply(shared: SharedRedis) -> None:
    replies = await asyncio.gather(
        shared.run(ECHO, ["a"], ["x"]),
        shared.call("MGET", "a", "nothing"),
        shared.call("HSET", "h", "field", 7),
        shared.call("HGETALL", "h"),
        shared.call("LPUSH", "a", 1),
        shared.call("GET", "a"),
        return_exceptions=True,
    )
    assert replies[:4] == [["a", "x", 1], ["1", None], 1, ["field", "7"]]
    assert isinstance(replies[4], ResponseError)
    assert replies[5] == "1"


async def test_a_redis_that_forgot_the_script_is_told_again(shared: SharedRedis, redis: Redis) -> None:
    script = Script("return ARGV[1] .. 'only here'")
    assert await shared.run(script, [], ["1 "]) == "1 only here"
    await redis.script_flush()
    assert await shared.run(script, [], ["2 "]) == "2 only here"


async def test_a_broken_connection_is_replaced(own: Settings, redis: Redis) -> None:
    shared = SharedRedis(own.model_copy(update={"process": "breaking"}))
    await shared.run(ECHO, ["a"], ["x"])
    for client in await redis.client_list():
        if client["name"].endswith("breaking.shared"):
            await redis.client_kill_filter(_id=client["id"])
    await asyncio.sleep(0.05)
    assert await shared.run(ECHO, ["a"], ["x"]) == ["a", "x", 2]
    shared.close()


async def test_a_caller_that_leaves_does_not_shift_the_replies(shared: SharedRedis) -> None:
    await shared.run(ECHO, ["warm"], [0])
    leaving = asyncio.create_task(shared.run(ECHO, ["left"], ["gone"]))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await shared.run(ECHO, ["stays"], ["here"]) == ["stays", "here", 1]


async def test_nobody_there(own: Settings) -> None:
    shared = SharedRedis(own.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    with pytest.raises(RedisConnectionError):
        await shared.run(ECHO, ["a"], ["x"])


async def test_a_server_that_hangs_is_given_up(own: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = SecretStr(f"redis://127.0.0.1:{mute.getsockname()[1]}/0")
        shared = SharedRedis(own.model_copy(update={"redis_url": url}), timeout=0.2)
        with pytest.raises((RedisTimeoutError, RedisConnectionError)):
            await shared.run(ECHO, ["a"], ["x"])
