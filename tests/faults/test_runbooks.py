"""The runbooks (``docs/runbooks``), walked through on the running shop with the commands that they name."""

import asyncio
import os
import signal
import sys
import uuid
from typing import Any

import orjson

from contracts import topics
from kit.kafka import EventProducer
from stack.instance import ROOT
from tests.rig import Rig
from tests.shop import eventually


async def surge(*arguments: str) -> tuple[int, str]:
    """Runs a command as a person would; its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stack",
        *arguments,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "300"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_an_order_is_stuck(rig: Rig) -> None:
    pid = rig.state("inventory").pid
    os.kill(pid, signal.SIGSTOP)
    try:
        bought = await rig.buy()
        order_id = bought.order.order_id

        async def shown() -> str:
            code, out = await surge("saga", "show", order_id)
            assert code == 0, out
            return out

        out = await eventually(shown, within=30)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "pending" in out
    assert "waiting for an answer to inventory.reserve" in out
    await rig.settled([order_id], within=60)


async def test_dead_letters(rig: Rig) -> None:
    async def letters(*options: str) -> list[dict[str, Any]]:
        code, out = await surge("saga", "dead-letters", "list", "--json", *options)
        assert code == 0, out
        found: list[dict[str, Any]] = orjson.loads(out)
        return found

    key = uuid.uuid4().hex.encode()
    producer = EventProducer(rig.shop.settings)
    await producer.send_raw(topics.SHIPPING_COMMANDS, b"not a message", key)
    await producer.stop()

    async def set_aside() -> dict[str, Any]:
        [letter] = [letter for letter in await letters() if letter["key"] == key.decode()]
        return letter

    letter = await eventually(set_aside, within=60, interval=0.5)
    assert (letter["group"], letter["topic"]) == ("shipping", topics.SHIPPING_COMMANDS)
    number = str(letter["number"])
    code, out = await surge("saga", "dead-letters", "show", number)
    assert code == 0
    assert "not a message" in out

    code, out = await surge("saga", "dead-letters", "replay", number)
    assert code == 0, out
    assert f"replayed {number}" in out

    async def back_again() -> None:
        """Nobody mended the cause: the same message is set aside anew, and the first letter is marked."""
        mine = {letter["number"]: letter for letter in await letters("--all") if letter["key"] == key.decode()}
        assert len(mine) == 2
        assert mine.pop(int(number))["replayed"]

    await eventually(back_again, within=60, interval=0.5)


async def test_the_books_do_not_balance(rig: Rig) -> None:
    """A unit that nobody delivered: the audit finds it, and names it."""
    product_id, warehouse_id = await rig.database.fetchrow(
        "SELECT product_id, warehouse_id FROM inventory.inventory WHERE product_id = $1 LIMIT 1",
        uuid.UUID(rig.shelf[0].product_id),
    )

    async def deliver(units: int) -> None:
        await rig.database.execute(
            "UPDATE inventory.inventory SET quantity = quantity + $3 WHERE product_id = $1 AND warehouse_id = $2",
            product_id,
            warehouse_id,
            units,
        )

    await deliver(1)
    try:
        code, out = await surge("audit", "--json", "--wait", "0")
    finally:
        await deliver(-1)
    assert code == 1, out
    report = orjson.loads(out)
    assert report["stock.ledger"] == "broken"
    assert any(str(product_id) in str(offender) for offender in report["stock.ledger.offenders"])
    code, out = await surge("audit", "--wait", "60")
    assert code == 0, out
