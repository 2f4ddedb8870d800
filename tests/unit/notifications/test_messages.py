"""Every template in every form, with and without what may be missing."""

import datetime as dt
import email
import email.header

import pytest
from jinja2 import UndefinedError

from kit.clock import FixedClock
from kit.settings import Settings
from oltp.notifications.channels import EmailSender, Letter
from oltp.notifications.domain import Template
from oltp.notifications.messages import Messages, moment, money
from oltp.notifications.settings import NotificationSettings

MESSAGES = Messages()
VALUES = {
    "name": "Ada <Lovelace>",
    "order_id": "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e",
    "amount": 123456,
    "currency": "USD",
    "reason": "payment_failed",
    "email": "ada@example.com",
    "estimated_delivery": "2026-03-01T12:00:00+00:00",
    "title": "3 rows of <orders> are wrong",
    "details": ["order 7: unknown_status <?>"],
    "link": "http://127.0.0.1:18163/runs/1",
    "lines": [{"name": "Mug & Co", "quantity": 2, "unit_price": 1250}],
    "parcels": [
        {
            "carrier": "Meridian Parcel",
            "service_level": "standard",
            "tracking_number": "MDP1",
            "estimated_delivery": dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
        }
    ]
    * 2,
}


@pytest.mark.parametrize("template", Template)
@pytest.mark.parametrize("bare", [False, True])
def test_every_template_in_every_form(template: Template, bare: bool):
    values = {**VALUES, "lines": [], "parcels": [], "reason": "?", "order_id": None} if bare else VALUES
    message = MESSAGES.render(template, values)
    assert message.subject
    assert "\n" not in message.subject
    assert 0 < len(message.short) <= 160
    assert "Ada <Lovelace>" in message.text
    assert "Ada &lt;Lovelace&gt;" in message.html
    assert "<Lovelace>" not in message.html
    for form in (message.text, message.html, message.short):
        assert "{{" not in form
        assert "None" not in form


def test_a_confirmation_lists_what_was_bought():
    message = MESSAGES.render(Template.ORDER_CONFIRMED, VALUES)
    assert "2 × Mug & Co: USD 25.00" in message.text
    assert "Mug &amp; Co" in message.html
    assert "USD 1,234.56" in message.text


def test_a_shipping_message_names_the_parcels():
    message = MESSAGES.render(Template.ORDER_SHIPPED, VALUES)
    assert message.text.count("tracking number MDP1") == 2
    assert message.short == "Your order is on its way: Meridian Parcel MDP1."


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError):
        MESSAGES.render(Template.ORDER_CANCELLED, {"name": "Ada", "order_id": None})


def test_money_and_moments_in_words():
    assert money(5, "USD") == "USD 0.05"
    assert money(1234, "JPY") == "JPY 1,234"
    assert money(1234, "KWD") == "KWD 1.234"
    assert moment("2026-03-01T13:00:00+01:00") == "01 March 2026, 12:00 UTC"


def test_an_email_carries_its_identity_and_no_foreign_header():
    settings = NotificationSettings(database_url="postgresql+asyncpg://x", redis_url="redis://x", jwt_secret="x" * 32)
    assert isinstance(settings, Settings)
    sender = EmailSender(settings, FixedClock(dt.datetime(2026, 1, 2, tzinfo=dt.UTC)))
    content = MESSAGES.render(Template.WELCOME, {**VALUES, "order_id": None})
    letter = Letter("0198", "ada@surge.example", "Ada Grüße\r\nBcc: eve@surge.example", content)
    message = email.message_from_bytes(sender._compose(letter))
    assert message["Message-ID"] == "<0198@surge.example>"
    assert message["From"] == "Surge <orders@surge.example>"
    assert "Bcc" not in message
    assert message["Subject"] == "Welcome to Surge"
    assert email.header.make_header(email.header.decode_header(message["To"])) == (
        "Ada Grüße Bcc: eve@surge.example <ada@surge.example>"
    )
    assert message.defects == []
    assert [part.get_content_type() for part in message.walk()][1:] == ["text/plain", "text/html"]
    parts = [part.get_payload(decode=True).decode() for part in message.get_payload()]
    assert parts == [content.text, content.html]
