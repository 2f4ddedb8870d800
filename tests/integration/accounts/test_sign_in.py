"""Registration, login, refresh, logout and passwords over HTTP."""

import asyncio
import datetime as dt
from dataclasses import replace

import httpx
import pytest
from argon2 import PasswordHasher
from redis.asyncio import Redis
from sqlalchemy import text

from contracts.envelope import registry
from contracts.events import AccountRegistered
from kit.auth import Principal, Role, verify_access_token
from kit.db import Database
from oltp.accounts import passwords
from oltp.accounts.errors import HashingBusy
from oltp.accounts.repository import Users
from oltp.accounts.service import ensure_admin, principal_of

from .conftest import PASSWORD, Desk, fresh_email, register


async def login(api: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    return await api.post("/api/auth/login", json={"email": email, "password": password})


async def refresh(api: httpx.AsyncClient, token: str) -> httpx.Response:
    return await api.post("/api/auth/refresh", json={"refresh_token": token})


class TestRegister:
    async def test_opens_an_account_and_signs_it_in(self, desk: Desk, api: httpx.AsyncClient):
        email = fresh_email()
        answer = await api.post(
            "/api/auth/register",
            json={"name": "  Ada Lovelace ", "email": email.upper(), "password": PASSWORD, "phone": "+442071234567"},
        )
        assert answer.status_code == 201
        body = answer.json()
        assert body["user"] | {"id": "", "created_at": "", "updated_at": ""} == {
            "id": "",
            "name": "Ada Lovelace",
            "email": email,
            "phone": "+442071234567",
            "role": "customer",
            "created_at": "",
            "updated_at": "",
        }
        principal = verify_access_token(desk.resources.settings, body["access_token"])
        assert principal == Principal(body["user"]["id"], Role.CUSTOMER)
        assert answer.headers["cache-control"] == "no-store"
        assert body["expires_in"] == desk.resources.settings.access_token_seconds
        [envelope] = [e for e in desk.announced if e.subject == body["user"]["id"]]
        assert registry.decode(envelope) == AccountRegistered(
            user_id=body["user"]["id"], email=email, name="Ada Lovelace", phone="+442071234567"
        )

    async def test_the_password_is_stored_as_argon2id_with_19_mebibytes(
        self, database: Database, api: httpx.AsyncClient
    ):
        ada = await register(api)
        async with database.read() as session:
            user = await Users(session).by_id(ada.id)
        assert user is not None
        assert user.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    async def test_an_email_has_one_account_whatever_its_case(self, api: httpx.AsyncClient):
        ada = await register(api)
        answer = await api.post(
            "/api/auth/register", json={"name": "Eve", "email": ada.email.upper(), "password": PASSWORD}
        )
        assert (answer.status_code, answer.json()["type"]) == (409, "email-taken")

    async def test_of_many_at_once_one_gets_the_email(self, desk: Desk, api: httpx.AsyncClient):
        email = fresh_email()
        body = {"name": "Ada", "email": email, "password": PASSWORD}
        answers = await asyncio.gather(*(api.post("/api/auth/register", json=body) for _ in range(8)))
        assert sorted(a.status_code for a in answers) == [201] + [409] * 7
        assert len(desk.announced) == 1

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"password": "short"}, "body.password"),
            ({"password": "x" * 129}, "body.password"),
            ({"password": "qwertyuiop"}, "body.password"),
            ({"password": "aaaaaaaaaaaa"}, "body.password"),
            ({"password": "nul\x00nul\x00nul\x00"}, "body.password"),
            ({"email": "nobody"}, "body.email"),
            ({"email": "a@b@example.com"}, "body.email"),
            ({"email": "a\x00@example.com"}, "body.email"),
            ({"name": " \t "}, "body.name"),
            ({"name": "Ada\x00"}, "body.name"),
            ({"name": "x" * 121}, "body.name"),
            ({"phone": "call me"}, "body.phone"),
            ({"role": "admin"}, "body.role"),
        ],
    )
    async def test_refuses_bad_input_by_field(self, api: httpx.AsyncClient, change: dict[str, str], field: str):
        body = {"name": "Ada", "email": fresh_email(), "password": PASSWORD, **change}
        answer = await api.post("/api/auth/register", json=body)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]
        assert PASSWORD not in answer.text

    async def test_refuses_the_email_as_password(self, api: httpx.AsyncClient):
        email = fresh_email()
        answer = await api.post("/api/auth/register", json={"name": "Ada", "email": email, "password": email.upper()})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["message"] == "must not be your email address or name"

    async def test_an_address_may_try_so_often(self, desk: Desk):
        async with desk.client(accounts_register_limit_per_address=2) as api:
            body = {"name": "Ada", "email": fresh_email(), "password": PASSWORD}
            answers = [await api.post("/api/auth/register", json=body) for _ in range(3)]
        assert [a.status_code for a in answers] == [201, 409, 429]
        assert answers[2].json()["type"] == "too-many-registrations"
        assert 1 <= int(answers[2].headers["retry-after"]) <= 120

    @pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'{"name":"\\ud800"}', b"\xff", b""])
    async def test_broken_bodies_are_refused(self, api: httpx.AsyncClient, body: bytes):
        answer = await api.post("/api/auth/register", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)


class TestLogin:
    async def test_gives_tokens_and_the_profile(self, desk: Desk, api: httpx.AsyncClient):
        ada = await register(api)
        answer = await login(api, f" {ada.email.upper()} ")
        assert answer.status_code == 200
        assert answer.json()["user"]["id"] == ada.id
        assert answer.json()["refresh_token"] != ada.tokens["refresh_token"]
        assert answer.headers["cache-control"] == "no-store"

    async def test_unknown_users_disabled_ones_and_wrong_passwords_answer_alike(
        self, desk: Desk, database: Database, api: httpx.AsyncClient
    ):
        ada, bob = await register(api), await register(api)
        async with database.write() as session:
            await session.execute(
                text("UPDATE accounts.users SET status = 'disabled' WHERE id = CAST(:id AS uuid)"), {"id": bob.id}
            )
        answers = [
            await login(api, ada.email, "wrong password"),
            await login(api, fresh_email(), PASSWORD),
            await login(api, bob.email, PASSWORD),
        ]
        documents = [answer.json() | {"trace_id": ""} for answer in answers]
        assert documents[0] == documents[1] == documents[2]
        assert documents[0]["type"] == "invalid-credentials"
        assert {a.status_code for a in answers} == {401}
        assert {a.headers["www-authenticate"] for a in answers} == {"Bearer"}

    async def test_known_and_unknown_users_cost_the_same_work(
        self, desk: Desk, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ):
        ada = await register(api)
        work: list[tuple[str, str]] = []
        verify, admit, by_email = desk.state.hasher.verify, desk.state.limiter.admit, Users.by_email

        async def verified(stored: str, password: str) -> bool:
            work.append(("hash", stored.rsplit("$", 2)[0]))
            return await verify(stored, password)

        async def admitted(limit, subject):
            work.append(("limit", limit.name))
            return await admit(limit, subject)

        async def looked_up(self, email):
            work.append(("query", "by_email"))
            return await by_email(self, email)

        monkeypatch.setattr(desk.state.hasher, "verify", verified)
        monkeypatch.setattr(desk.state.limiter, "admit", admitted)
        monkeypatch.setattr(Users, "by_email", looked_up)
        await login(api, ada.email, "wrong password")
        known, work[:] = list(work), []
        await login(api, fresh_email(), "wrong password")
        assert (
            known
            == work
            == [
                ("limit", "login.address"),
                ("limit", "login.account"),
                ("query", "by_email"),
                ("hash", "$argon2id$v=19$m=19456,t=2,p=1"),
            ]
        )

    async def test_an_account_takes_so_many_wrong_passwords_from_wherever(self, desk: Desk):
        async with desk.client() as api:
            ada = await register(api)
        answers = []
        for _ in range(4):
            async with desk.client(accounts_login_limit_per_account=3) as elsewhere:
                answers.append(await login(elsewhere, ada.email, "wrong password"))
        assert [a.status_code for a in answers] == [401, 401, 401, 429]
        assert answers[3].json()["type"] == "too-many-logins"
        assert int(answers[3].headers["retry-after"]) >= 1

    async def test_unknown_accounts_are_limited_alike(self, desk: Desk):
        email = fresh_email()
        async with desk.client(accounts_login_limit_per_account=2) as api:
            assert [(await login(api, email)).status_code for _ in range(3)] == [401, 401, 429]

    async def test_parallel_guesses_count_before_they_are_checked(self, desk: Desk):
        async with desk.client(accounts_login_limit_per_account=3) as api:
            ada = await register(api)
            answers = await asyncio.gather(*(login(api, ada.email, "wrong password") for _ in range(12)))
        assert sorted(a.status_code for a in answers) == [401] * 3 + [429] * 9

    async def test_a_success_forgets_the_failures(self, desk: Desk):
        async with desk.client(accounts_login_limit_per_account=2) as api:
            ada = await register(api)
            tries = ["wrong password", PASSWORD] * 3
            assert [(await login(api, ada.email, p)).status_code for p in tries] == [401, 200] * 3

    async def test_an_address_may_try_so_many_accounts_in_any_window(self, desk: Desk):
        limits = {"accounts_login_limit_per_address": 2, "accounts_login_address_window_seconds": 3}
        async with desk.client(**limits) as api:
            answers = [await login(api, fresh_email()) for _ in range(3)]
            assert [a.status_code for a in answers] == [401, 401, 429]
            await asyncio.sleep(int(answers[2].headers["retry-after"]))
            assert (await login(api, fresh_email())).status_code == 401

    async def test_a_full_queue_for_hashes_answers_503(
        self, desk: Desk, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ):
        async def busy(stored: str, password: str) -> bool:
            raise HashingBusy("Too many.", retry_after=2)

        monkeypatch.setattr(desk.state.hasher, "verify", busy)
        answer = await login(api, fresh_email())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")

    async def test_an_old_hash_is_made_anew(self, desk: Desk, database: Database, api: httpx.AsyncClient):
        ada = await register(api)
        weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        async with database.write() as session:
            await session.execute(
                text("UPDATE accounts.users SET password_hash = :hash WHERE id = CAST(:id AS uuid)"),
                {"hash": weak, "id": ada.id},
            )
        assert (await login(api, ada.email)).status_code == 200
        async with database.read() as session:
            user = await Users(session).by_id(ada.id)
        assert user is not None
        assert not passwords.is_outdated(user.password_hash)
        assert (await login(api, ada.email)).status_code == 200

    async def test_the_oldest_sign_ins_end_when_there_are_too_many(self, desk: Desk):
        async with desk.client(accounts_sign_ins_per_user=2) as api:
            ada = await register(api)
            tokens = [(await login(api, ada.email)).json()["refresh_token"] for _ in range(3)]
            assert [(await refresh(api, token)).status_code for token in tokens] == [401, 200, 200]


class TestRefresh:
    async def test_rotates(self, desk: Desk, api: httpx.AsyncClient):
        ada = await register(api)
        answer = await refresh(api, ada.tokens["refresh_token"])
        assert answer.status_code == 200
        body = answer.json()
        assert body["refresh_token"] != ada.tokens["refresh_token"]
        assert verify_access_token(desk.resources.settings, body["access_token"]).user_id == ada.id
        assert "user" not in body
        assert answer.headers["cache-control"] == "no-store"
        assert (await refresh(api, body["refresh_token"])).status_code == 200

    async def test_reuse_ends_the_whole_family_and_no_other(self, desk: Desk, api: httpx.AsyncClient):
        ada = await register(api)
        other = (await login(api, ada.email)).json()["refresh_token"]
        stolen = ada.tokens["refresh_token"]
        newest = (await refresh(api, stolen)).json()["refresh_token"]
        desk.clock.advance(dt.timedelta(seconds=desk.state.settings.accounts_refresh_grace_seconds))
        answer = await refresh(api, stolen)
        assert (answer.status_code, answer.json()["type"]) == (401, "refresh-rejected")
        assert (await refresh(api, newest)).status_code == 401
        assert (await refresh(api, other)).status_code == 200

    async def test_reuse_is_seen_within_the_grace_too_once_the_successor_was_used(self, api: httpx.AsyncClient):
        ada = await register(api)
        first = ada.tokens["refresh_token"]
        second = (await refresh(api, first)).json()["refresh_token"]
        third = (await refresh(api, second)).json()["refresh_token"]
        assert (await refresh(api, first)).status_code == 401
        assert (await refresh(api, third)).status_code == 401

    async def test_at_once_all_get_the_same_successor(self, api: httpx.AsyncClient):
        ada = await register(api)
        answers = await asyncio.gather(*(refresh(api, ada.tokens["refresh_token"]) for _ in range(6)))
        assert {a.status_code for a in answers} == {200}
        [successor] = {a.json()["refresh_token"] for a in answers}
        assert (await refresh(api, successor)).status_code == 200

    async def test_without_grace_of_many_at_once_one_wins_and_the_family_ends(self, desk: Desk):
        async with desk.client(accounts_refresh_grace_seconds=0) as api:
            ada = await register(api)
            answers = await asyncio.gather(*(refresh(api, ada.tokens["refresh_token"]) for _ in range(4)))
            assert sorted(a.status_code for a in answers) == [200, 401, 401, 401]
            [won] = [a.json()["refresh_token"] for a in answers if a.status_code == 200]
            assert (await refresh(api, won)).status_code == 401

    async def test_an_unused_token_expires(self, desk: Desk, api: httpx.AsyncClient):
        ada = await register(api)
        desk.clock.advance(dt.timedelta(seconds=desk.state.settings.accounts_refresh_token_seconds))
        assert (await refresh(api, ada.tokens["refresh_token"])).status_code == 401

    async def test_a_sign_in_ends_however_often_it_is_refreshed(self, desk: Desk):
        async with desk.client(accounts_sign_in_seconds=100, accounts_refresh_token_seconds=60) as api:
            ada = await register(api)
            desk.clock.advance(dt.timedelta(seconds=55))
            answer = await refresh(api, ada.tokens["refresh_token"])
            expires_at = dt.datetime.fromisoformat(answer.json()["refresh_expires_at"])
            assert expires_at - desk.clock.now() == dt.timedelta(seconds=45)
            desk.clock.advance(dt.timedelta(seconds=45))
            assert (await refresh(api, answer.json()["refresh_token"])).status_code == 401

    async def test_a_disabled_account_gets_nothing(self, database: Database, api: httpx.AsyncClient):
        ada = await register(api)
        async with database.write() as session:
            await session.execute(
                text("UPDATE accounts.users SET status = 'disabled' WHERE id = CAST(:id AS uuid)"), {"id": ada.id}
            )
        assert (await refresh(api, ada.tokens["refresh_token"])).status_code == 401

    async def test_tokens_lie_in_the_database_as_hashes_only(self, database: Database, api: httpx.AsyncClient):
        ada = await register(api)
        async with database.read() as session:
            rows = await session.execute(
                text(
                    "SELECT to_jsonb(t)::text || to_jsonb(f)::text FROM accounts.refresh_tokens t "
                    "JOIN accounts.token_families f ON f.id = t.family_id WHERE f.user_id = CAST(:id AS uuid)"
                ),
                {"id": ada.id},
            )
            [stored] = rows.scalars()
        assert ada.tokens["refresh_token"] not in stored
        assert '"user_agent": "tests"' in stored

    @pytest.mark.parametrize("token", ["", "x", "a" * 44, "ä" * 43, "a b" * 14 + "a"])
    async def test_what_is_no_token_is_422(self, api: httpx.AsyncClient, token: str):
        assert (await refresh(api, token)).status_code == 422

    async def test_an_unknown_token_is_401(self, api: httpx.AsyncClient):
        assert (await refresh(api, "A" * 43)).status_code == 401


class TestLogout:
    async def test_ends_the_sign_in(self, api: httpx.AsyncClient):
        ada = await register(api)
        newest = (await refresh(api, ada.tokens["refresh_token"])).json()["refresh_token"]
        answer = await api.post("/api/auth/logout", json={"refresh_token": newest})
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await refresh(api, newest)).status_code == 401

    async def test_an_unknown_token_has_nothing_to_end(self, api: httpx.AsyncClient):
        assert (await api.post("/api/auth/logout", json={"refresh_token": "A" * 43})).status_code == 204


class TestPassword:
    async def test_changes_and_ends_all_sign_ins(self, api: httpx.AsyncClient):
        ada = await register(api)
        change = {"current_password": PASSWORD, "new_password": "another long one"}
        answer = await api.put("/api/users/me/password", json=change, headers=ada.headers)
        assert answer.status_code == 204
        assert (await refresh(api, ada.tokens["refresh_token"])).status_code == 401
        assert (await login(api, ada.email, PASSWORD)).status_code == 401
        assert (await login(api, ada.email, "another long one")).status_code == 200

    async def test_needs_the_present_one_and_a_good_new_one(self, api: httpx.AsyncClient):
        ada = await register(api)
        wrong = {"current_password": "not it at all", "new_password": "another long one"}
        weak = {"current_password": PASSWORD, "new_password": ada.email}
        answers = [await api.put("/api/users/me/password", json=body, headers=ada.headers) for body in (wrong, weak)]
        assert [(a.status_code, a.json()["type"]) for a in answers] == [
            (401, "invalid-credentials"),
            (422, "validation-error"),
        ]
        assert (await login(api, ada.email)).status_code == 200

    async def test_of_two_at_once_one_changes_it(self, api: httpx.AsyncClient):
        ada = await register(api)
        answers = await asyncio.gather(
            *(
                api.put(
                    "/api/users/me/password",
                    json={"current_password": PASSWORD, "new_password": f"another long one {n}"},
                    headers=ada.headers,
                )
                for n in range(2)
            )
        )
        assert sorted(a.status_code for a in answers) == [204, 401]

    async def test_a_login_under_way_with_the_old_one_fails(
        self, desk: Desk, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ):
        ada = await register(api)
        verify = desk.state.hasher.verify

        async def meanwhile_changed(stored: str, password: str) -> bool:
            monkeypatch.setattr(desk.state.hasher, "verify", verify)
            body = {"current_password": PASSWORD, "new_password": "another long one"}
            assert (await api.put("/api/users/me/password", json=body, headers=ada.headers)).status_code == 204
            return await verify(stored, password)

        monkeypatch.setattr(desk.state.hasher, "verify", meanwhile_changed)
        answer = await login(api, ada.email)
        assert (answer.status_code, answer.json()["type"]) == (401, "invalid-credentials")


class TestAdmin:
    async def test_is_made_once_and_can_sign_in(self, desk: Desk, database: Database, api: httpx.AsyncClient):
        email, now = fresh_email(), desk.clock.now()
        ids = []
        for _ in range(2):
            async with database.write() as session:
                ids.append(await ensure_admin(session, email.upper(), PASSWORD, now=now))
        assert ids[0] == ids[1]
        assert desk.said(ids[0]) == ["account.registered"]
        answer = await login(api, email)
        assert answer.json()["user"]["role"] == "admin"
        principal = verify_access_token(desk.resources.settings, answer.json()["access_token"])
        assert principal == Principal(ids[0], Role.ADMIN)

    async def test_gets_a_new_password_and_a_customer_becomes_one(
        self, desk: Desk, database: Database, api: httpx.AsyncClient
    ):
        ada = await register(api)
        async with database.write() as session:
            assert await ensure_admin(session, ada.email, "a new admin password", now=desk.clock.now()) == ada.id
        assert (await login(api, ada.email, PASSWORD)).status_code == 401
        assert (await refresh(api, ada.tokens["refresh_token"])).status_code == 401
        assert (await login(api, ada.email, "a new admin password")).json()["user"]["role"] == "admin"

    async def test_a_principal_is_found_by_email(self, database: Database, api: httpx.AsyncClient):
        ada = await register(api)
        async with database.read() as session:
            assert await principal_of(session, ada.email.upper()) == Principal(ada.id, Role.CUSTOMER)
            assert await principal_of(session, fresh_email()) is None


async def test_redis_away_answers_503(desk: Desk, redis_away: Redis):
    from oltp.accounts.limits import Limiter

    away = replace(desk.state, limiter=Limiter(redis_away))
    here = replace(desk, state=away)
    async with here.client() as api:
        answer = await login(api, fresh_email())
    assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
    assert answer.headers["retry-after"]
