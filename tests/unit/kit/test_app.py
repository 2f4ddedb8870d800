"""What every process's HTTP surface promises."""

from typing import Annotated

import pytest
from fastapi import APIRouter, Body
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr, ValidationError

from kit import telemetry
from kit.app import create_app
from kit.auth import CurrentAdmin, CurrentUser, Principal, Role, issue_access_token, verify_access_token
from kit.clock import SystemClock
from kit.errors import Conflict, Invalid, TooManyRequests, Unauthorized, responses
from kit.resources import Resources
from kit.settings import Settings

SECRET = "a secret of at least thirty-two bytes"


@pytest.fixture
def settings() -> Settings:
    return Settings(
        database_url=SecretStr("postgresql+asyncpg://nobody@127.0.0.1:1/none"),
        redis_url=SecretStr("redis://127.0.0.1:1"),
        jwt_secret=SecretStr(SECRET),
        cors_origins="https://shop.example, https://admin.example",  # type: ignore[arg-type]
    )


@pytest.fixture
def client(settings: Settings) -> TestClient:
    router = APIRouter()

    @router.get("/conflict", responses=responses(Conflict, TooManyRequests))
    async def conflict() -> None:
        raise Conflict("It is taken.", holder="someone")

    @router.get("/boom")
    async def boom() -> None:
        raise RuntimeError("inside")

    @router.get("/away")
    async def away() -> None:
        raise ConnectionRefusedError

    @router.post("/numbers")
    async def numbers(number: Annotated[int, Body(embed=True)]) -> int:
        if number == 13:
            raise Invalid("body.number", "must not be 13")
        return number

    @router.patch("/numbers")
    async def change() -> None:
        pass

    @router.get("/mine")
    async def mine(user: CurrentUser) -> str:
        return user.user_id

    @router.get("/admin")
    async def admin(user: CurrentAdmin) -> str:
        return user.user_id

    async def never(_: Resources) -> None:
        raise ConnectionRefusedError("nobody there")

    app = create_app(settings, title="t", routers=[router], ready=[never], docs=True)
    with TestClient(app, raise_server_exceptions=False) as opened:
        return opened


def test_a_business_error_is_a_problem_document(client: TestClient) -> None:
    answer = client.get("/conflict")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    trace = answer.headers["traceparent"][3:35]
    assert body == {
        "type": "conflict",
        "title": "Conflict with the present state",
        "status": 409,
        "detail": "It is taken.",
        "instance": "/conflict",
        "trace_id": trace,
        "holder": "someone",
    }


@pytest.mark.parametrize(("path", "status"), [("/boom", 500), ("/away", 503), ("/nowhere", 404)])
def test_every_failure_is_a_problem_document(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "inside" not in answer.text


def test_a_wrong_method_is_told_all_the_right_ones(client: TestClient) -> None:
    answer = client.delete("/numbers")
    assert (answer.status_code, answer.headers["allow"]) == (405, "PATCH, POST")


def test_something_that_is_away_says_when_to_come_back(client: TestClient) -> None:
    assert client.get("/away").headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("body", "field"), [({"number": "x"}, "body.number"), ({}, "body.number"), ({"number": 13}, "body.number")]
)
def test_a_wrong_field_is_named(client: TestClient, body: dict[str, object], field: str) -> None:
    answer = client.post("/numbers", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_the_request_id_and_the_trace_are_kept(client: TestClient) -> None:
    parent = telemetry.new_traceparent()
    answer = client.get("/healthz", headers={"X-Request-ID": "abc-1", "traceparent": parent})
    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.headers["traceparent"] == parent


@pytest.mark.parametrize("bad", ["x" * 200, "new\u00e9".encode("latin-1"), b"a b"])
def test_an_unusable_request_id_is_replaced(client: TestClient, bad: str | bytes) -> None:
    answer = client.get("/healthz", headers={"X-Request-ID": bad})
    assert len(answer.headers["x-request-id"]) == 32


def test_a_body_over_the_limit_is_refused(client: TestClient, settings: Settings) -> None:
    size = settings.max_body_bytes + 1
    assert client.post("/numbers", content=b"x" * size).status_code == 413
    chunks = (b"x" * 1024 for _ in range(size // 1024 + 1))
    assert client.post("/numbers", content=chunks).status_code == 413


def test_health_touches_nothing_and_readiness_names_what_is_away(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["away"] == {"never": "ConnectionRefusedError: nobody there"}


def test_requests_are_measured_by_route(client: TestClient) -> None:
    client.get("/conflict")
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    routes = {sample.labels.get("route") for sample in families["surge_http_request_seconds"].samples}
    assert "/conflict" in routes


def test_other_origins_may_ask_only_if_they_are_listed(client: TestClient) -> None:
    allowed = client.get("/healthz", headers={"Origin": "https://admin.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://admin.example"
    assert "access-control-allow-origin" not in client.get("/healthz", headers={"Origin": "https://x.example"}).headers


def token(settings: Settings, role: Role) -> dict[str, str]:
    text = issue_access_token(settings, Principal("u1", role), SystemClock().now())
    return {"Authorization": f"Bearer {text}"}


def test_roles_open_their_own_doors(client: TestClient, settings: Settings) -> None:
    customer, admin = token(settings, Role.CUSTOMER), token(settings, Role.ADMIN)
    assert client.get("/mine").status_code == 401
    assert client.get("/mine", headers=customer).json() == "u1"
    assert client.get("/admin").status_code == 401
    assert client.get("/admin", headers=customer).status_code == 403
    assert client.get("/admin", headers=admin).status_code == 200


def test_the_document_shows_who_may_enter(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert paths["/mine"]["get"]["security"] == [{"bearer": ["customer"]}]
    assert paths["/admin"]["get"]["security"] == [{"bearer": ["admin"]}]
    assert set(paths["/conflict"]["get"]["responses"]) >= {"409", "429"}


@pytest.mark.parametrize(
    "forged",
    [
        {"jwt_secret": SecretStr("another secret of thirty-two bytes!")},
        {"jwt_audience": "elsewhere"},
        {"jwt_issuer": "someone"},
        {"access_token_seconds": -1},
    ],
)
def test_a_token_that_is_not_ours_opens_nothing(settings: Settings, forged: dict[str, object]) -> None:
    other = settings.model_copy(update=forged)
    text = issue_access_token(other, Principal("u1", Role.ADMIN), SystemClock().now())
    with pytest.raises(Unauthorized):
        verify_access_token(settings, text)


@pytest.mark.parametrize("change", [{"typ": "refresh"}, {"role": "root"}])
def test_a_token_of_another_kind_opens_nothing(settings: Settings, change: dict[str, str]) -> None:
    import jwt

    text = issue_access_token(settings, Principal("u1", Role.ADMIN), SystemClock().now())
    claims = jwt.decode(text, options={"verify_signature": False}) | change
    with pytest.raises(Unauthorized):
        verify_access_token(settings, jwt.encode(claims, SECRET, algorithm="HS256"))
    with pytest.raises(Unauthorized):
        verify_access_token(settings, jwt.encode(claims, "", algorithm="none"))


@pytest.mark.parametrize(
    ("change", "opens"),
    [
        ({}, True),
        ({"role": "customer"}, True),
        ({"more": "than we say"}, True),
        ({"iat": 1.5}, True),
        ({"nbf": None}, True),
        ({"aud": ["surge-api", "other"]}, True),
        ({"exp": 1}, False),
        ({"nbf": 99_999_999_999}, False),
        ({"iat": 99_999_999_999}, False),
        ({"exp": None}, False),
        ({"sub": None}, False),
        ({"aud": "other"}, False),
        ({"iss": "other"}, False),
        ({"typ": None}, False),
        ({"role": None}, False),
    ],
)
@pytest.mark.parametrize("header", [None, {"kid": "1"}])
def test_a_token_is_judged_alike_however_it_is_looked_through(
    settings: Settings, change: dict[str, object], opens: bool, header: dict[str, str] | None
) -> None:
    import jwt

    plain = issue_access_token(settings, Principal("u1", Role.ADMIN), SystemClock().now())
    claims = jwt.decode(plain, options={"verify_signature": False}) | change
    claims = {name: value for name, value in claims.items() if value is not None}
    text = jwt.encode(claims, SECRET, algorithm="HS256", headers=header)
    if not opens:
        with pytest.raises(Unauthorized):
            verify_access_token(settings, text)
        return
    assert verify_access_token(settings, text) == Principal("u1", Role(str(claims["role"])))
    signed, _, signature = text.rpartition(".")
    for broken in (
        signed,
        f"{signed}.",
        f"{signed}.{signature}x",
        f"{signed[:-1]}.{signature}",
        f"{signed}é.{signature}",
    ):
        with pytest.raises(Unauthorized):
            verify_access_token(settings, broken)


def test_a_default_secret_works_on_loopback_only(settings: Settings) -> None:
    values = settings.model_dump() | {"jwt_secret": "insecure-insecure-insecure-insecure"}
    assert Settings(**values).host == "127.0.0.1"
    with pytest.raises(ValidationError, match="SURGE_JWT_SECRET"):
        Settings(**values | {"host": "0.0.0.0"})
