"""Customers who watch their orders: many WebSockets in a process of their own.

``python -m stack.bench.sockets WATCHERS SECONDS RESULT``: opens a socket for each token in the file WATCHERS (one a
line, the gateway's URL first), says ``ready``, listens until a line comes in or the time is over, and writes what came
as JSON.
"""

import asyncio
import datetime as dt
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

_AT_ONCE: Final = 40
_TRIES: Final = 5


@dataclass(slots=True)
class Heard:
    """What reached the customers. ``delays`` are seconds from a transition's recorded time to its arrival."""

    open: int = 0
    lost: int = 0
    failed: int = 0
    delays: list[float] = field(default_factory=list)
    processing: list[str] = field(default_factory=list)

    def take(self, text: str | bytes, at: float) -> None:
        """Takes one message into account."""
        message = orjson.loads(text)
        if "occurred_at" not in message or message.get("order_id") is None or "status" not in message:
            return
        self.delays.append(at - dt.datetime.fromisoformat(message["occurred_at"]).timestamp())
        if message["status"] == "processing":
            self.processing.append(message["order_id"])


async def watch(url: str, tokens: list[str], seconds: float) -> Heard:
    """Opens the sockets, then listens."""
    heard, slots, listening = Heard(), asyncio.Semaphore(_AT_ONCE), list[asyncio.Task[None]]()
    over = False

    async def listen(socket: ClientConnection) -> None:
        try:
            async for text in socket:
                heard.take(text, time.time())
        except WebSocketException:
            pass
        if not over:
            heard.lost += 1

    async def open_one(token: str) -> None:
        async with slots:
            for attempt in range(_TRIES):
                try:
                    socket = await connect(
                        f"{url}/ws/me",
                        additional_headers={"Authorization": f"Bearer {token}"},
                        compression=None,
                        ping_interval=None,
                        open_timeout=30,
                        max_queue=None,
                    )
                    await socket.recv()
                except (OSError, TimeoutError, WebSocketException):
                    await asyncio.sleep(0.2 * 2**attempt)
                else:
                    heard.open += 1
                    listening.append(asyncio.create_task(listen(socket)))
                    return
        heard.failed += 1

    await asyncio.gather(*map(open_one, tokens))
    print("ready", heard.open, flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        async with asyncio.timeout(seconds):
            await reader.readline()
    except TimeoutError:
        pass
    over = True
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    return heard


def main() -> None:
    """Watches and writes what was heard."""
    watchers, seconds, result = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    url, *tokens = watchers.read_text().splitlines()
    heard = uvloop.run(watch(url, tokens, seconds))
    used = sum(os.times()[:2])
    result.write_bytes(
        orjson.dumps(
            {
                "open": heard.open,
                "lost": heard.lost,
                "failed": heard.failed,
                "delays": heard.delays,
                "processing": heard.processing,
                "cpu_seconds": used,
            }
        )
    )


if __name__ == "__main__":
    main()
