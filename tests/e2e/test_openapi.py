"""Schemathesis over the whole HTTP surface: right and wrong data for every route, by whom the route is for.

No 5xx, nothing that the document does not say, no wrong data taken.
"""

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

NOT_CHECKED: Final[list[CheckFunction]] = [
    ignored_auth,  # the access matrix does, for every role
    positive_data_acceptance,  # cursors, guessable passwords and reversed ranges fit the schema and are refused
]

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
    case.call_and_validate(base_url=_base_url(), headers=_headers(case), excluded_checks=NOT_CHECKED)
