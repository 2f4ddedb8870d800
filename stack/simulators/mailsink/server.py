"""The two servers over one mailbox: SMTP for the shop, HTTP for people and tests."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, cast

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session
from fastapi import APIRouter, FastAPI, Query, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prometheus_client import Counter
from starlette.responses import HTMLResponse, Response

from kit.app import create_app
from kit.clock import Clock
from kit.errors import NotFound
from kit.resources import Resources
from stack.simulators.mailsink.mailbox import Mail, Mailbox
from stack.simulators.mailsink.settings import MailSinkSettings

log = structlog.get_logger()

RECEIVED: Final = Counter("surge_mails_received_total", "Messages that came over SMTP.", ["known"])

_templates: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
)
_PAGE_POLICY: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'"}
_MAIL_POLICY: Final = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
}

router = APIRouter()

Before = Annotated[int | None, Query(ge=1, le=2**62, description="Only older messages than this one.")]
To = Annotated[str | None, Query(max_length=320, description="Only messages to this address.")]
Limit = Annotated[int, Query(ge=1, le=500)]


class _Delivery:
    """What happens to a message at the end of its DATA."""

    def __init__(self, mailbox: Mailbox, clock: Clock) -> None:
        self._mailbox = mailbox
        self._clock = clock

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keeps the message."""
        content = envelope.original_content or b""
        try:
            new = self._mailbox.store(envelope.mail_from or "", envelope.rcpt_tos, content, self._clock.now())
        except sqlite3.OperationalError as error:
            log.error("mailsink.not_kept", error=repr(error))
            return "451 4.3.0 can't keep it now, try again"
        RECEIVED.labels(str(not new).lower()).inc()
        return "250 2.0.0 kept" if new else "250 2.0.0 known by its Message-ID, dropped"


@asynccontextmanager
async def smtp_server(
    mailbox: Mailbox, clock: Clock, *, host: str, port: int, max_bytes: int = 1024 * 1024
) -> AsyncIterator[int]:
    """Takes mail while the block runs; yields the port (``port`` may be 0)."""
    loop = asyncio.get_running_loop()
    delivery = _Delivery(mailbox, clock)

    def connection() -> SMTP:
        return SMTP(
            delivery, data_size_limit=max_bytes, enable_SMTPUTF8=True, hostname="mailsink", ident="surge", loop=loop
        )

    server = await loop.create_server(connection, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def create_mail_sink(settings: MailSinkSettings) -> FastAPI:
    """The sink's process."""

    @asynccontextmanager
    async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
        with Mailbox(settings.mailbox_file, kept=settings.mail_kept) as mailbox:
            async with smtp_server(
                mailbox,
                resources.clock,
                host=settings.host,
                port=settings.smtp_port,
                max_bytes=settings.mail_max_bytes,
            ):
                yield {"mailbox": mailbox}

    return create_app(settings, title="Mail sink", routers=[router], lifespan=lifespan)


@router.get("/messages")
async def list_messages(request: Request, to: To = None, before: Before = None, limit: Limit = 50) -> dict[str, Any]:
    """The newest messages as JSON."""
    return {"messages": [asdict(summary) for summary in _mailbox(request).page(to=to, before=before, limit=limit)]}


@router.get("/messages/{message}")
async def read_message(request: Request, message: int) -> dict[str, Any]:
    """One message as JSON, with its headers and both bodies."""
    mail = _mail(request, message)
    return {**asdict(mail.summary), "headers": mail.headers, "text": mail.text, "html": mail.html}


@router.get("/messages/{message}/raw")
async def raw_message(request: Request, message: int) -> Response:
    """One message as it came."""
    return Response(_mail(request, message).raw, media_type="message/rfc822")


@router.get("/messages/{message}/body")
async def message_body(request: Request, message: int) -> Response:
    """The HTML part alone, in a sandbox: no scripts, no forms, nothing from elsewhere."""
    return HTMLResponse(_mail(request, message).html, headers=_MAIL_POLICY)


@router.get("/")
async def inbox(request: Request, to: To = None, before: Before = None, limit: Limit = 100) -> Response:
    """The list for people."""
    mailbox = _mailbox(request)
    mails = mailbox.page(to=to or None, before=before, limit=limit)
    older = mails[-1].id if len(mails) == limit else None
    page = _templates.get_template("inbox.html").render(mails=mails, to=to or "", older=older, kept=mailbox.count())
    return HTMLResponse(page, headers=_PAGE_POLICY)


@router.get("/view/{message}")
async def view(request: Request, message: int) -> Response:
    """One message for people."""
    return HTMLResponse(
        _templates.get_template("message.html").render(mail=_mail(request, message)), headers=_PAGE_POLICY
    )


def _mailbox(request: Request) -> Mailbox:
    return cast(Mailbox, request.state.mailbox)


def _mail(request: Request, message: int) -> Mail:
    mail = _mailbox(request).get(message) if abs(message) < 2**62 else None
    if mail is None:
        raise NotFound("There is no such message, or none any more.")
    return mail
