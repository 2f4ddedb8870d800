"""Schemathesis over the whole HTTP surface: right and wrong data for every route, by whom the route is for.

No 5xx, nothing that the document does not say, no wrong data taken, no right data refused.
"""

import re
from functools import cache
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckFunction
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from kit.auth import Principal, Role, issue_access_token
from kit.clock import SystemClock
from kit.ids import new_id
from oltp.gateway import openapi
from oltp.gateway.app import create, describing_settings
from tests.shop import PASSWORD, ShopSettings

EXAMPLES: Final = 20

BY_RULE: Final = {
    "query.cursor": "is not a cursor (from an earlier page|of this sort)",
    "query.page": "pages of .* end at",
    "query": "price_min must not be above price_max|can only be sorted by date",
    "body": "latitude and longitude come together",
    "body.email": "value is not a valid email address",
    "body.password": "must (not|have)|anyone would guess",
    "body.new_password": "must (not|have)|anyone would guess",
    "body.product_id": "there is no such product",
}
"""Rules that JSON Schema has no words for, by field, with how their refusal reads.

What fits the schema may be refused for them alone.
"""

SIGNED: Final = "/api/payments/webhooks/"
"""What providers send carries a signature over the body; nothing drawn has one."""

document: Final = openapi.describe(create(describing_settings()))
schema: Final = schemathesis.openapi.from_dict(
    document, config=SchemathesisConfig.from_dict({"generation": {"mode": "all"}, "cache": {"enabled": False}})
)


@cache
def _shop() -> ShopSettings:
    return ShopSettings()


def _base_url() -> str:
    return f"http://{_shop().host}:{_shop().port_base}"


@cache
def _registered() -> str:
    """The access token of a customer with an account."""
    body = {"name": "Fuzz", "email": f"fuzz-{new_id()}@example.com", "password": PASSWORD}
    answer = httpx.post(f"{_base_url()}/api/auth/register", json=body, timeout=30)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["access_token"]
    return token


def _headers(case: Any) -> dict[str, str]:
    """Signs in as whom the route is for: somebody else each time, so that limits are not in the way.

    An account's own routes need an account.
    """
    allowed = openapi.roles(case.operation.definition.raw)
    if allowed is None:
        return {}
    if case.path.startswith("/api/users/me"):
        return {"Authorization": f"Bearer {_registered()}"}
    role = Role.ADMIN if Role.ADMIN in allowed else Role.CUSTOMER
    token = issue_access_token(_shop(), Principal(new_id(), role), SystemClock().now())
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.timeout(120)
@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
def test_the_surface_is_what_its_document_says(case: Any) -> None:
    response = case.call(base_url=_base_url(), headers=_headers(case))
    excluded: list[CheckFunction] = [ignored_auth]  # the access matrix asserts it, for every role
    if case.path.startswith(SIGNED) or _refused_by_rule(response):
        excluded.append(positive_data_acceptance)
    case.validate_response(response, excluded_checks=excluded)


def _refused_by_rule(response: Any) -> bool:
    """Whether an answer refuses data for rules alone that the document can't say."""
    if response.status_code != 422:
        return False
    errors = response.json().get("errors") or []
    return bool(errors) and all(re.search(BY_RULE.get(e["field"], "$."), e["message"]) for e in errors)
