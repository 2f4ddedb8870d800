"""Profile and addresses over HTTP."""

import asyncio
import datetime as dt
from typing import Any

import httpx
import pytest

from contracts.envelope import registry
from contracts.events import AccountChanged, AccountEmailChanged
from kit.auth import Principal, Role, issue_access_token
from kit.ids import new_id

from .conftest import PASSWORD, Desk, fresh_email, register

HOME: dict[str, Any] = {
    "label": "Home",
    "name": "Ada Lovelace",
    "line1": "12 St James's Square",
    "line2": "",
    "city": "London",
    "region": "",
    "postal_code": "SW1Y 4JH",
    "country": "GB",
    "phone": "+442071234567",
    "latitude": 51.5074,
    "longitude": -0.1355,
}
MINE = "/api/users/me/addresses"


class TestProfile:
    async def test_shows_who_is_signed_in(self, api: httpx.AsyncClient):
        ada = await register(api)
        answer = await api.get("/api/users/me", headers=ada.headers)
        assert (answer.status_code, answer.json()) == (200, ada.tokens["user"])

    async def test_changes_what_is_given(self, desk: Desk, api: httpx.AsyncClient):
        ada = await register(api)
        desk.clock.advance(dt.timedelta(seconds=1))
        answer = await api.patch("/api/users/me", json={"name": "Ada King"}, headers=ada.headers)
        assert answer.status_code == 200
        assert (answer.json()["name"], answer.json()["phone"]) == ("Ada King", "+442071234567")
        assert answer.json()["updated_at"] > answer.json()["created_at"]
        changed = registry.decode(desk.announced[-1])
        assert changed == AccountChanged(user_id=ada.id, email=ada.email, name="Ada King", phone="+442071234567")
        emptied = await api.patch("/api/users/me", json={"phone": ""}, headers=ada.headers)
        assert emptied.json()["phone"] == ""

    @pytest.mark.parametrize("body", [{}, {"name": None}, {"name": "Ada Lovelace", "phone": "+442071234567"}])
    async def test_a_change_to_what_is_already_so_is_none(
        self, desk: Desk, api: httpx.AsyncClient, body: dict[str, str]
    ):
        ada = await register(api)
        answer = await api.patch("/api/users/me", json=body, headers=ada.headers)
        assert (answer.status_code, answer.json()) == (200, ada.tokens["user"])
        assert desk.said(ada.id) == ["account.registered"]

    @pytest.mark.parametrize(
        "body", [{"email": "x@example.com"}, {"role": "admin"}, {"name": ""}, {"name": 1}, {"phone": "1"}]
    )
    async def test_refuses_the_rest(self, api: httpx.AsyncClient, body: dict[str, Any]):
        ada = await register(api)
        assert (await api.patch("/api/users/me", json=body, headers=ada.headers)).status_code == 422

    @pytest.mark.parametrize("user_id", [new_id(), "not-a-uuid", ""])
    async def test_a_token_of_nobody_is_401(self, desk: Desk, api: httpx.AsyncClient, user_id: str):
        token = issue_access_token(desk.resources.settings, Principal(user_id, Role.CUSTOMER), desk.clock.now())
        headers = {"Authorization": f"Bearer {token}"}
        assert (await api.get("/api/users/me", headers=headers)).status_code == 401
        assert (await api.patch("/api/users/me", json={}, headers=headers)).status_code == 401
        assert (await api.post(MINE, json=HOME, headers=headers)).status_code == 401
        assert (await api.get(MINE, headers=headers)).status_code == 401


class TestEmail:
    PATH = "/api/users/me/email"

    async def test_is_the_login_from_now_on_and_both_addresses_are_told(self, desk: Desk, api: httpx.AsyncClient):
        ada, email = await register(api), fresh_email()
        body = {"email": email.upper(), "current_password": PASSWORD}
        changed = await api.put(self.PATH, json=body, headers=ada.headers)
        assert (changed.status_code, changed.json()["email"]) == (200, email)
        assert (await api.get("/api/users/me", headers=ada.headers)).json() == changed.json()
        for login, status in ((ada.email, 401), (email, 200)):
            answer = await api.post("/api/auth/login", json={"email": login, "password": PASSWORD})
            assert answer.status_code == status
        contact, moved = map(registry.decode, desk.announced[-2:])
        assert contact == AccountChanged(user_id=ada.id, email=email, name="Ada Lovelace", phone="+442071234567")
        assert moved == AccountEmailChanged(user_id=ada.id, name="Ada Lovelace", previous_email=ada.email, email=email)

    async def test_to_the_same_address_is_no_change(self, desk: Desk, api: httpx.AsyncClient):
        ada = await register(api)
        body = {"email": ada.email, "current_password": PASSWORD}
        assert (await api.put(self.PATH, json=body, headers=ada.headers)).json() == ada.tokens["user"]
        assert desk.said(ada.id) == ["account.registered"]

    async def test_nobody_gets_somebody_elses(self, desk: Desk, api: httpx.AsyncClient):
        ada, eve = await register(api), await register(api)
        body = {"email": ada.email.upper(), "current_password": PASSWORD}
        answer = await api.put(self.PATH, json=body, headers=eve.headers)
        assert (answer.status_code, answer.json()["type"]) == (409, "email-taken")
        assert desk.said(eve.id) == ["account.registered"]

    async def test_one_of_many_who_want_it_at_once_gets_it(self, api: httpx.AsyncClient):
        everybody, email = [await register(api) for _ in range(5)], fresh_email()
        body = {"email": email, "current_password": PASSWORD}
        answers = await asyncio.gather(*(api.put(self.PATH, json=body, headers=one.headers) for one in everybody))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 4

    async def test_needs_the_password_and_counts_wrong_ones(self, desk: Desk):
        async with desk.client(accounts_login_limit_per_account=2) as api:
            ada = await register(api)
            body = {"email": fresh_email(), "current_password": "not the password"}
            answers = [await api.put(self.PATH, json=body, headers=ada.headers) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [401, 401, 429]
        assert [answer.json()["type"] for answer in answers[:2]] == ["invalid-credentials"] * 2
        assert desk.said(ada.id) == ["account.registered"]


async def test_every_route_of_ones_own_needs_a_token(api: httpx.AsyncClient):
    for method, path, body in [
        ("GET", "/api/users/me", None),
        ("PATCH", "/api/users/me", {}),
        ("PUT", "/api/users/me/password", {"current_password": "x", "new_password": "y" * 10}),
        ("PUT", "/api/users/me/email", {"current_password": "x", "email": "ada@example.com"}),
        ("GET", MINE, None),
        ("POST", MINE, HOME),
        ("GET", f"{MINE}/{new_id()}", None),
        ("PUT", f"{MINE}/{new_id()}", HOME),
        ("PUT", f"{MINE}/{new_id()}/default", None),
        ("DELETE", f"{MINE}/{new_id()}", None),
    ]:
        for headers in ({}, {"Authorization": "Bearer x.y.z"}, {"Authorization": "Basic eDp5"}):
            answer = await api.request(method, path, json=body, headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["content-type"] == "application/problem+json"


class TestAddresses:
    async def test_the_first_is_the_default(self, api: httpx.AsyncClient):
        ada = await register(api)
        added = await api.post(MINE, json=HOME, headers=ada.headers)
        assert added.status_code == 201
        address = added.json()
        assert added.headers["location"] == f"{MINE}/{address['id']}"
        assert {name: address[name] for name in HOME} == HOME
        assert address["is_default"]
        second = (await api.post(MINE, json=HOME | {"label": "Work"}, headers=ada.headers)).json()
        assert not second["is_default"]
        third = (await api.post(MINE, json=HOME | {"label": "Club", "is_default": True}, headers=ada.headers)).json()
        assert third["is_default"]
        listed = (await api.get(MINE, headers=ada.headers)).json()["items"]
        assert [(a["id"], a["is_default"]) for a in listed] == [
            (third["id"], True),
            (second["id"], False),
            (address["id"], False),
        ]
        one = await api.get(f"{MINE}/{second['id']}", headers=ada.headers)
        assert (one.status_code, one.json()) == (200, second)

    async def test_is_replaced_whole_and_stays_the_default(self, api: httpx.AsyncClient):
        ada = await register(api)
        address = (await api.post(MINE, json=HOME, headers=ada.headers)).json()
        bare = {"name": "Ada", "line1": "1 Rue A", "city": "Paris", "postal_code": "75001", "country": "FR"}
        answer = await api.put(f"{MINE}/{address['id']}", json=bare, headers=ada.headers)
        assert answer.status_code == 200
        changed = answer.json()
        assert (changed["city"], changed["label"], changed["latitude"], changed["is_default"]) == (
            "Paris",
            "",
            None,
            True,
        )

    async def test_another_becomes_the_default(self, api: httpx.AsyncClient):
        ada = await register(api)
        first, second = [(await api.post(MINE, json=HOME, headers=ada.headers)).json()["id"] for _ in range(2)]
        for _ in range(2):
            answer = await api.put(f"{MINE}/{second}/default", headers=ada.headers)
            assert (answer.status_code, answer.json()["is_default"]) == (200, True)
        assert not (await api.get(f"{MINE}/{first}", headers=ada.headers)).json()["is_default"]

    async def test_when_the_default_goes_the_newest_other_takes_its_place(self, api: httpx.AsyncClient):
        ada = await register(api)
        first, second, third = [(await api.post(MINE, json=HOME, headers=ada.headers)).json()["id"] for _ in range(3)]
        answer = await api.delete(f"{MINE}/{first}", headers=ada.headers)
        assert (answer.status_code, answer.content) == (204, b"")
        listed = (await api.get(MINE, headers=ada.headers)).json()["items"]
        assert [(a["id"], a["is_default"]) for a in listed] == [(third, True), (second, False)]
        await api.delete(f"{MINE}/{second}", headers=ada.headers)
        await api.delete(f"{MINE}/{third}", headers=ada.headers)
        assert (await api.get(MINE, headers=ada.headers)).json() == {"items": []}

    async def test_there_is_one_default_however_many_come_at_once(self, api: httpx.AsyncClient):
        ada = await register(api)
        answers = await asyncio.gather(
            *(api.post(MINE, json=HOME | {"is_default": True}, headers=ada.headers) for _ in range(8))
        )
        assert {a.status_code for a in answers} == {201}
        listed = (await api.get(MINE, headers=ada.headers)).json()["items"]
        assert sum(a["is_default"] for a in listed) == 1

    async def test_there_are_so_many_at_most(self, desk: Desk):
        async with desk.client(accounts_addresses_per_user=3) as api:
            ada = await register(api)
            answers = await asyncio.gather(*(api.post(MINE, json=HOME, headers=ada.headers) for _ in range(5)))
        assert sorted(a.status_code for a in answers) == [201] * 3 + [409] * 2
        assert {a.json()["type"] for a in answers if a.status_code == 409} == {"too-many-addresses"}

    async def test_someone_elses_does_not_exist(self, api: httpx.AsyncClient):
        ada, eve = await register(api), await register(api)
        address = (await api.post(MINE, json=HOME, headers=ada.headers)).json()
        path = f"{MINE}/{address['id']}"
        answers = [
            await api.get(path, headers=eve.headers),
            await api.put(path, json=HOME, headers=eve.headers),
            await api.put(f"{path}/default", headers=eve.headers),
            await api.delete(path, headers=eve.headers),
        ]
        assert {(a.status_code, a.json()["type"]) for a in answers} == {(404, "address-not-found")}
        assert (await api.get(path, headers=ada.headers)).json() == address

    @pytest.mark.parametrize(
        "change",
        [
            {"country": "gb"},
            {"country": "GBR"},
            {"name": "\x00"},
            {"line1": ""},
            {"city": "x" * 121},
            {"latitude": None},
            {"latitude": 91},
            {"longitude": "east"},
            {"phone": "0123"},
            {"planet": "Earth"},
            {"is_default": "maybe"},
        ],
    )
    async def test_refuses_bad_input(self, api: httpx.AsyncClient, change: dict[str, Any]):
        ada = await register(api)
        assert (await api.post(MINE, json=HOME | change, headers=ada.headers)).status_code == 422

    async def test_refuses_numbers_that_are_none(self, api: httpx.AsyncClient):
        ada = await register(api)
        body = b'{"name":"A","line1":"1","city":"C","postal_code":"1","country":"GB","latitude":1e999,"longitude":NaN}'
        answer = await api.post(MINE, content=body, headers=ada.headers | {"Content-Type": "application/json"})
        assert answer.status_code == 422

    async def test_an_id_that_is_none_is_422(self, api: httpx.AsyncClient):
        ada = await register(api)
        assert (await api.get(f"{MINE}/1", headers=ada.headers)).status_code == 422


async def test_admins_find_customers_by_what_they_remember(desk: Desk, api: httpx.AsyncClient):
    ada = await register(api)
    token = issue_access_token(desk.resources.settings, Principal(new_id(), Role.ADMIN), dt.datetime.now(dt.UTC))
    admin = {"Authorization": f"Bearer {token}"}

    async def found(q: str) -> set[str]:
        answer = await api.get("/api/admin/customers", params={"q": q, "limit": 100}, headers=admin)
        assert answer.status_code == 200, answer.text
        return {item["id"] for item in answer.json()["items"]}

    for q in (ada.email[:20].upper(), ada.email):
        assert await found(q) == {ada.id}
    assert await found(f"%{ada.email[1:20]}") == set()
    assert (await api.get("/api/admin/customers", params={"q": "lovelace"}, headers=ada.headers)).status_code == 403
    assert (await api.get("/api/admin/customers", params={"q": " "}, headers=admin)).status_code == 422
    await api.patch("/api/users/me", json={"name": f"Zoe von {ada.id[-12:]}_x"}, headers=ada.headers)
    assert await found(ada.id[-12:]) == {ada.id}
    assert await found(f"{ada.id[-12:]}%x") == set()
