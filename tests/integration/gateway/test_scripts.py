"""Many callers' scripts over one connection to a real Redis."""

import asyncio
import socket

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from oltp.gateway.scripts import Script, Scripts
from tests.integration.gateway.conftest import Serve

ECHO = Script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")


async def test_everybody_gets_their_own_reply(serve: Serve) -> None:
    scripts = Scripts(serve.settings)
    replies = await asyncio.gather(*(scripts.run(ECHO, [f"key-{n}"], [n]) for n in range(500)))
    assert replies == [[f"key-{n}", str(n), 1] for n in range(500)]
    scripts.close()


async def test_a_script_that_fails_fails_alone(serve: Serve) -> None:
    scripts = Scripts(serve.settings)
    bad = Script("return redis.call('INCR', KEYS[1], 'too', 'many')")
    replies = await asyncio.gather(
        scripts.run(ECHO, ["a"], ["x"]),
        scripts.run(bad, ["b"]),
        scripts.run(ECHO, ["c"], ["y"]),
        return_exceptions=True,
    )
    assert replies[0] == ["a", "x", 1]
    assert isinstance(replies[1], ResponseError)
    assert replies[2] == ["c", "y", 1]
    scripts.close()


async def test_a_redis_that_forgot_the_script_is_told_again(serve: Serve, gate_redis: Redis) -> None:
    scripts = Scripts(serve.settings)
    script = Script("return ARGV[1] .. 'only here'")
    assert await scripts.run(script, [], ["1 "]) == "1 only here"
    await gate_redis.script_flush()
    assert await scripts.run(script, [], ["2 "]) == "2 only here"
    scripts.close()


async def test_a_broken_connection_is_replaced(serve: Serve, gate_redis: Redis) -> None:
    scripts = Scripts(serve.settings.model_copy(update={"process": "breaking"}))
    await scripts.run(ECHO, ["a"], ["x"])
    for client in await gate_redis.client_list():
        if client["name"].endswith("breaking.scripts"):
            await gate_redis.client_kill_filter(_id=client["id"])
    await asyncio.sleep(0.05)
    assert await scripts.run(ECHO, ["a"], ["x"]) == ["a", "x", 2]
    scripts.close()


async def test_a_caller_that_leaves_does_not_shift_the_replies(serve: Serve) -> None:
    scripts = Scripts(serve.settings)
    await scripts.run(ECHO, ["warm"], [0])
    leaving = asyncio.create_task(scripts.run(ECHO, ["left"], ["gone"]))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await scripts.run(ECHO, ["stays"], ["here"]) == ["stays", "here", 1]
    scripts.close()


async def test_nobody_there(serve: Serve) -> None:
    scripts = Scripts(serve.settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    with pytest.raises(RedisConnectionError):
        await scripts.run(ECHO, ["a"], ["x"])


async def test_a_server_that_hangs_is_given_up(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = SecretStr(f"redis://127.0.0.1:{mute.getsockname()[1]}/0")
        scripts = Scripts(serve.settings.model_copy(update={"redis_url": url}), timeout=0.2)
        with pytest.raises((RedisTimeoutError, RedisConnectionError)):
            await scripts.run(ECHO, ["a"], ["x"])
