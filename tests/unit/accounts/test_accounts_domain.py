"""The pure rules of accounts."""

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oltp.accounts.domain import (
    PresentedToken,
    RefreshVerdict,
    client_network,
    judge_refresh,
    normalize_email,
    normalize_password,
    password_weakness,
)

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
GRACE = dt.timedelta(seconds=10)
FRESH = PresentedToken(
    expires_at=NOW + dt.timedelta(days=14),
    rotated_at=None,
    successor_rotated=False,
    family_expires_at=NOW + dt.timedelta(days=90),
    family_revoked=False,
    user_active=True,
)


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        ("  Ada@Example.COM ", "ada@example.com"),
        ("ｅｖｅ@example.com", "eve@example.com"),
        ("mi\u212ae@example.com", "mike@example.com"),
        ("zoe\u0308@example.com", "zoë@example.com"),
    ],
)
def test_email_addresses_that_look_alike_are_one(raw: str, stored: str):
    assert normalize_email(raw) == stored


@given(st.text(max_size=60))
def test_a_normal_email_address_stays_as_it_is(raw: str):
    assert normalize_email(normalize_email(raw)) == normalize_email(raw)


def test_what_two_keyboards_type_for_one_password_is_one():
    assert normalize_password("cafe\u0301") == normalize_password("caf\u00e9")


@pytest.mark.parametrize(
    ("password", "weakness"),
    [
        ("short", "must have 10 to 128 characters"),
        ("x" * 129, "must have 10 to 128 characters"),
        ("ADA.Lovelace@example.com", "must not be your email address or name"),
        ("ada.lovelace", "must not be your email address or name"),
        ("Ada LOVELACE", "must not be your email address or name"),
        ("abababababab", "must have at least 4 different characters"),
        ("Password123", "is among the first that anyone would guess"),
        ("correct horse", None),
        ("x1y2z3w4q5" * 12, None),
    ],
)
def test_weak_passwords(password: str, weakness: str | None):
    assert password_weakness(password, email="ada.lovelace@example.com", name="Ada Lovelace") == weakness


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("unknown", "unknown"),
    ],
)
def test_a_client_is_what_it_can_not_choose(address: str, network: str):
    assert client_network(address) == network


JUST_NOW = NOW - dt.timedelta(seconds=9)
LONG_AGO = NOW - GRACE


@pytest.mark.parametrize(
    ("token", "verdict"),
    [
        (FRESH, RefreshVerdict.ROTATE),
        (replace(FRESH, expires_at=NOW), RefreshVerdict.REFUSE),
        (replace(FRESH, family_expires_at=NOW), RefreshVerdict.REFUSE),
        (replace(FRESH, family_revoked=True), RefreshVerdict.REFUSE),
        (replace(FRESH, user_active=False), RefreshVerdict.REFUSE),
        (replace(FRESH, rotated_at=JUST_NOW), RefreshVerdict.REPEAT),
        (replace(FRESH, rotated_at=LONG_AGO), RefreshVerdict.REUSE),
        (replace(FRESH, rotated_at=JUST_NOW, successor_rotated=True), RefreshVerdict.REUSE),
        (replace(FRESH, rotated_at=LONG_AGO, expires_at=NOW), RefreshVerdict.REUSE),
        (replace(FRESH, rotated_at=LONG_AGO, family_revoked=True), RefreshVerdict.REFUSE),
    ],
)
def test_what_becomes_of_a_refresh_token(token: PresentedToken, verdict: RefreshVerdict):
    assert judge_refresh(token, now=NOW, grace=GRACE) is verdict


def test_without_grace_any_second_use_is_reuse():
    assert judge_refresh(replace(FRESH, rotated_at=NOW), now=NOW, grace=dt.timedelta(0)) is RefreshVerdict.REUSE
