"""The email channel against real SMTP servers that refuse, vanish and stall."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiosmtpd.smtp import SMTP

from kit.clock import FixedClock
from oltp.notifications.channels import EmailSender, Letter
from oltp.notifications.domain import Result
from oltp.notifications.messages import Rendered
from oltp.notifications.settings import NotificationSettings

CLOCK = FixedClock(dt.datetime(2026, 1, 2, tzinfo=dt.UTC))
CONTENT = Rendered("Grüße", "Hello\n", "<p>Hello</p>", "Hello")


def settings(port: int, **others: object) -> NotificationSettings:
    return NotificationSettings(
        database_url="postgresql+asyncpg://x",
        redis_url="redis://x",
        jwt_secret="x" * 32,
        smtp_host="127.0.0.1",
        smtp_port=port,
        **others,
    )


def letter(address: str = "ada@surge.example", number: int = 0) -> Letter:
    return Letter(f"letter-{number}", address, "Ada", CONTENT)


class Server:
    """A mail server with moods: what it answers to an address is the address's local part."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.connections = 0
        self.vanish_at: set[int] = set()
        self.stall = False

    async def handle_EHLO(self, server, session, envelope, hostname, responses):  # noqa: N802
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        code = address.partition("@")[0]
        if code.isdigit():
            return f"{code} no"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.stall:
            await asyncio.sleep(30)
        self.taken.append(envelope.original_content)
        if len(self.taken) in self.vanish_at:
            server.transport.abort()
        return "250 OK"


@asynccontextmanager
async def listening(handler: Server) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="moody", enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def server() -> Server:
    return Server()


async def test_refusals_are_for_good_or_for_now_and_leave_the_connection_usable(server: Server):
    smuggled = "ada@surge.example>\r\nRCPT TO:<eve@surge.example"
    addresses = ["ada@surge.example", "550@surge.example", "450@surge.example", "bob@surge.example", smuggled]
    async with listening(server) as port:
        sender = EmailSender(settings(port, smtp_connections=1), CLOCK)
        receipts = await sender.send([letter(address) for address in addresses])
        again = await sender.send([letter()])
        await sender.close()
    assert [receipt.result for receipt in receipts] == [
        Result.SENT,
        Result.REJECTED,
        Result.DEFERRED,
        Result.SENT,
        Result.REJECTED,
    ]
    assert receipts[1].reason == "550 no"
    assert again[0].result is Result.SENT
    assert server.connections == 1


async def test_a_server_that_closes_is_met_again_and_the_letter_repeated(server: Server):
    server.vanish_at = {2}
    async with listening(server) as port:
        sender = EmailSender(settings(port, smtp_connections=1), CLOCK)
        receipts = await sender.send([letter(number=n) for n in range(3)])
        await sender.close()
    assert {receipt.result for receipt in receipts} == {Result.SENT}
    assert server.connections == 2
    first, second, repeated, last = server.taken
    assert second == repeated
    assert len({first, second, last}) == 3


async def test_a_server_that_shuts_down_for_now_is_unreachable_not_refusing(server: Server):
    async with listening(server) as port:
        sender = EmailSender(settings(port), CLOCK)
        (receipt,) = await sender.send([letter("421@surge.example")])
        await sender.close()
    assert receipt.result is Result.UNREACHABLE


async def test_nobody_there():
    sender = EmailSender(settings(1), CLOCK)
    receipts = await sender.send([letter(number=n) for n in range(5)])
    assert [receipt.result for receipt in receipts] == [Result.UNREACHABLE] * 5


async def test_a_server_that_stalls_is_given_up_before_the_lease_ends(server: Server):
    server.stall = True
    async with listening(server) as port:
        sender = EmailSender(settings(port, notifications_lease_seconds=1), CLOCK)
        async with asyncio.timeout(3):
            receipts = await sender.send([letter(number=n) for n in range(5)])
        assert {receipt.result for receipt in receipts} == {Result.UNREACHABLE}
        assert sender._idle == []
        server.stall = False
        (receipt,) = await sender.send([letter()])
        await sender.close()
    assert receipt.result is Result.SENT


async def test_an_international_address_is_sent_as_it_is(server: Server):
    async with listening(server) as port:
        sender = EmailSender(settings(port), CLOCK)
        (receipt,) = await sender.send([letter("grüße@surge.example")])
        await sender.close()
    assert receipt.result is Result.SENT
    assert "grüße@surge.example".encode() in server.taken[0]


async def test_no_more_connections_than_allowed(server: Server):
    async with listening(server) as port:
        sender = EmailSender(settings(port, smtp_connections=3), CLOCK)
        for _ in range(3):
            await sender.send([letter(number=n) for n in range(20)])
        await sender.close()
    assert len(server.taken) == 60
    assert server.connections == 3
