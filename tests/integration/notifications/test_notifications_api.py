"""The notification routes: a customer's choice, and the admins' list."""

import httpx

from contracts import events
from kit.auth import Role
from kit.ids import new_id

from .conftest import Desk, customer, signed_in, transition

PATH = "/api/users/me/notification-preferences"
NOTHING = {"account": False, "orders": False, "shipping": False}


async def test_a_customer_chooses_and_is_told_so(desk: Desk, api: httpx.AsyncClient):
    someone = customer()
    headers = signed_in(desk.resources, someone.user_id)
    default = (await api.get(PATH, headers=headers)).json()
    assert default == {
        "email": {"account": True, "orders": True, "shipping": True},
        "sms": NOTHING,
        "push": {"account": False, "orders": False, "shipping": True},
    }
    wanted = {"email": {**NOTHING, "account": True}, "sms": {**NOTHING, "orders": True}, "push": NOTHING}
    assert (await api.put(PATH, headers=headers, json=wanted)).json() == wanted
    assert (await api.get(PATH, headers=headers)).json() == wanted
    await desk.note(someone.registered, transition(events.OrderConfirmed, new_id(), someone.user_id))
    await desk.dispatch()
    rows = await desk.rows(someone.user_id)
    assert {(row.template, row.channel, row.status) for row in rows} == {
        ("welcome", "email", "sent"),
        ("order_confirmed", "sms", "sent"),
    }


async def test_a_choice_stops_what_is_on_its_way(desk: Desk, api: httpx.AsyncClient):
    someone = customer()
    await desk.note(someone.registered)
    nothing = {"email": NOTHING, "sms": NOTHING, "push": NOTHING}
    assert (await api.put(PATH, headers=signed_in(desk.resources, someone.user_id), json=nothing)).status_code == 200
    await desk.dispatch()
    assert [(row.status, row.reason) for row in await desk.rows(someone.user_id)] == [("skipped", "opted_out")]


async def test_bad_choices_are_refused(desk: Desk, api: httpx.AsyncClient):
    headers = signed_in(desk.resources, new_id())
    assert (await api.get(PATH)).status_code == 401
    for body in (
        {},
        {"email": NOTHING},
        {"email": NOTHING, "sms": NOTHING, "push": NOTHING, "fax": NOTHING},
        {"email": {**NOTHING, "orders": "yes"}, "sms": NOTHING, "push": NOTHING},
        {"email": {**NOTHING, "news": True}, "sms": NOTHING, "push": NOTHING},
    ):
        assert (await api.put(PATH, headers=headers, json=body)).status_code == 422


async def test_admins_list_and_narrow(desk: Desk, api: httpx.AsyncClient):
    admin = signed_in(desk.resources, new_id(), Role.ADMIN)
    someone = customer()
    await desk.note(
        someone.registered,
        *(transition(events.OrderShipped, new_id(), someone.user_id) for _ in range(3)),
    )
    await desk.dispatch()
    path, mine = "/api/admin/notifications", {"user_id": someone.user_id}
    assert (await api.get(path)).status_code == 401
    assert (await api.get(path, headers=signed_in(desk.resources, someone.user_id))).status_code == 403
    seen, cursor = [], None
    while True:
        params = {**mine, "limit": 3, **({"cursor": cursor} if cursor else {})}
        page = (await api.get(path, params=params, headers=admin)).json()
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == 7
    assert [row["id"] for row in seen] == sorted((row["id"] for row in seen), reverse=True)
    pushed = (await api.get(path, params={**mine, "channel": "push"}, headers=admin)).json()["items"]
    assert {row["template"] for row in pushed} == {"order_shipped"}
    assert (await api.get(path, params={**mine, "status": "failed"}, headers=admin)).json()["items"] == []
    for params in ({"status": "lost"}, {"channel": "fax"}, {"user_id": "1"}, {"cursor": "x"}, {"limit": "0"}):
        assert (await api.get(path, params=params, headers=admin)).status_code == 422
