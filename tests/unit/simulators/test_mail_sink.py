"""The mail sink keeps each message once, shows it harmlessly, and stays small."""

import datetime as dt
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import aiosmtplib
import httpx
import pytest
from fastapi import FastAPI

from kit import errors
from kit.clock import FixedClock
from stack.simulators.mailsink.mailbox import Mailbox
from stack.simulators.mailsink.server import router, smtp_server

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def mail(number: int, *, html: str = "<p>Hello</p>", subject: str = "Grüße") -> bytes:
    message = MIMEMultipart("alternative")
    message["From"] = "shop@surge.example"
    message["To"] = "ada@surge.example"
    message["Subject"] = subject
    message["Message-ID"] = f"<{number}@surge.example>"
    message.attach(MIMEText("Hello", "plain", "utf-8"))
    message.attach(MIMEText(html, "html", "utf-8"))
    return message.as_bytes()


@pytest.fixture
def mailbox():
    with Mailbox(":memory:", kept=1000) as opened:
        yield opened


@pytest.fixture
async def browser(mailbox: Mailbox):
    app = FastAPI()
    errors.install(app)
    app.include_router(router)

    async def with_state(scope, receive, send):
        await app({**scope, "state": {"mailbox": mailbox}}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=with_state), base_url="http://sink.test") as client:
        yield client


async def test_mail_sent_over_smtp_can_be_read(mailbox: Mailbox, browser: httpx.AsyncClient):
    async with (
        smtp_server(mailbox, FixedClock(NOW), host="127.0.0.1", port=0) as port,
        aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as smtp,
    ):
        for number in (1, 2, 1):
            await smtp.sendmail("shop@surge.example", ["Ada@surge.example"], mail(number))
    listed = (await browser.get("/messages", params={"to": "ada@SURGE.example"})).json()["messages"]
    assert [(m["message_id"], m["deliveries"]) for m in listed] == [
        ("<2@surge.example>", 1),
        ("<1@surge.example>", 2),
    ]
    assert (await browser.get("/messages", params={"to": "eve@surge.example"})).json() == {"messages": []}
    read = (await browser.get(f"/messages/{listed[0]['id']}")).json()
    assert (read["subject"], read["text"], read["html"]) == ("Grüße", "Hello", "<p>Hello</p>")
    assert read["received_at"] == NOW.isoformat()
    assert (await browser.get(f"/messages/{listed[0]['id']}/raw")).content.startswith(b"Content-Type: multipart")


async def test_what_is_too_large_is_refused(mailbox: Mailbox):
    async with (
        smtp_server(mailbox, FixedClock(NOW), host="127.0.0.1", port=0, max_bytes=2000) as port,
        aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as smtp,
    ):
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
            await smtp.sendmail("a@surge.example", ["b@surge.example"], mail(1, html="x" * 4000))
    assert refused.value.code == 552
    assert mailbox.count() == 0


async def test_a_mailbox_that_cannot_write_asks_to_try_again(mailbox: Mailbox):
    mailbox._database.execute("PRAGMA query_only = ON")
    async with (
        smtp_server(mailbox, FixedClock(NOW), host="127.0.0.1", port=0) as port,
        aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as smtp,
    ):
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
            await smtp.sendmail("a@surge.example", ["b@surge.example"], mail(1))
    assert refused.value.code == 451


async def test_a_hostile_message_is_shown_in_a_sandbox(mailbox: Mailbox, browser: httpx.AsyncClient):
    hostile = "<script>alert(1)</script>"
    mailbox.store("a@b.example", ["c@d.example"], mail(1, html=hostile, subject=hostile), NOW)
    body = await browser.get("/messages/1/body")
    assert body.text == hostile
    assert body.headers["content-security-policy"].startswith("sandbox;")
    for path in ("/", "/view/1"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert "<script>" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_what_is_not_there_is_not_found(browser: httpx.AsyncClient):
    for path in ("/messages/1", f"/messages/{2**70}", "/view/5", "/messages/7/body", "/messages/7/raw"):
        assert (await browser.get(path)).status_code == 404
    assert "Nothing here yet" in (await browser.get("/")).text


async def test_the_inbox_pages(mailbox: Mailbox, browser: httpx.AsyncClient):
    for number in range(5):
        mailbox.store("a@b.example", ["c@d.example"], mail(number), NOW)
    assert "before=4" in (await browser.get("/", params={"limit": 2})).text
    older = (await browser.get("/messages", params={"before": 4, "limit": 2})).json()["messages"]
    assert [m["id"] for m in older] == [3, 2]


def test_the_mailbox_keeps_the_newest(tmp_path: Path):
    file = tmp_path / "deep" / "mail.sqlite3"
    with Mailbox(file, kept=100) as mailbox:
        for number in range(1000):
            mailbox.store("a@b.example", ["c@d.example"], mail(number), NOW)
        assert mailbox.count() == 100
    with Mailbox(file, kept=100) as mailbox:
        assert mailbox.count() == 100
        assert mailbox.page(limit=1)[0].message_id == "<999@surge.example>"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"Subject: =?utf-8?b?!!!?=\n\nx",
        b"Subject: =?nope?q?x?=\nContent-Type: text/html; charset=nope\n\n\xe9",
        b"Content-Type: multipart/mixed\n\nno boundary",
    ],
)
def test_broken_messages_are_kept_and_can_be_read(mailbox: Mailbox, content: bytes):
    assert mailbox.store("", ["c@d.example"], content, NOW)
    assert not mailbox.store("", ["c@d.example"], content, NOW)
    read = mailbox.get(1)
    assert read is not None
    assert read.raw == content
