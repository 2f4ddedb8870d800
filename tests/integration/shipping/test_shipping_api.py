"""The shipping routes: who may see what, and what an admin may do when."""

import httpx

from kit.auth import Role
from kit.ids import new_id

from .conftest import Dock, received, signed_in


async def booked(dock: Dock, *, user_id: str | None = None, parcels: int = 1) -> str:
    order_id = new_id()
    await dock.answer([received(dock.create(order_id, user_id=user_id, parcels=parcels))])
    return order_id


async def test_the_owner_tracks_parcels_on_their_way(dock: Dock, api: httpx.AsyncClient):
    owner = new_id()
    order_id = await booked(dock, user_id=owner, parcels=2)
    while (await dock.record(order_id)).state.parcels[0].dispatched_at is None:
        await dock.tick(0.5)
    answer = await api.get(f"/api/orders/{order_id}/shipments", headers=signed_in(dock.resources, owner))
    assert answer.status_code == 200
    body = answer.json()
    assert body["state"] == "dispatched"
    assert len(body["shipments"]) == 2
    parcel = body["shipments"][0]
    assert 10 <= len(parcel["route"]) <= 20
    assert parcel["route"][0] == {"latitude": 50.0, "longitude": 5.0}
    assert parcel["route"][-1] == {"latitude": 59.91, "longitude": 10.75}
    assert parcel["position"]
    assert parcel["tracking_number"]
    assert parcel["estimated_delivery"] > parcel["dispatched_at"]


async def test_someone_elses_parcels_do_not_exist(dock: Dock, api: httpx.AsyncClient):
    order_id = await booked(dock)
    path = f"/api/orders/{order_id}/shipments"
    assert (await api.get(path)).status_code == 401
    assert (await api.get(path, headers=signed_in(dock.resources, new_id()))).status_code == 404
    assert (await api.get(path, headers=signed_in(dock.resources, new_id(), Role.ADMIN))).status_code == 200
    unknown = await api.get(f"/api/orders/{new_id()}/shipments", headers=signed_in(dock.resources, new_id()))
    assert unknown.status_code == 404
    assert (await api.get("/api/orders/1/shipments", headers=signed_in(dock.resources, new_id()))).status_code == 422


async def test_an_order_cancelled_before_it_was_booked_shows_no_parcels(dock: Dock, api: httpx.AsyncClient):
    order_id = new_id()
    await dock.answer([received(dock.cancel(order_id))])
    path = f"/api/orders/{order_id}/shipments"
    assert (await api.get(path, headers=signed_in(dock.resources, new_id()))).status_code == 404
    answer = await api.get(path, headers=signed_in(dock.resources, new_id(), Role.ADMIN))
    assert answer.json() == {"order_id": order_id, "state": "cancelled", "shipments": []}


async def test_an_admin_ships_and_delivers_once(dock: Dock, api: httpx.AsyncClient):
    admin = signed_in(dock.resources, new_id(), Role.ADMIN)
    order_id = await booked(dock)
    ship, deliver = f"/api/admin/orders/{order_id}/ship", f"/api/admin/orders/{order_id}/deliver"
    assert (await api.post(ship)).status_code == 401
    assert (await api.post(ship, headers=signed_in(dock.resources, new_id()))).status_code == 403
    assert (await api.post(deliver, headers=admin)).status_code == 409
    shipped = await api.post(ship, headers=admin)
    assert (shipped.status_code, shipped.json()["state"]) == (200, "dispatched")
    again = await api.post(ship, headers=admin)
    assert (again.status_code, again.json()["type"], again.json()["state"]) == (409, "not-shippable", "dispatched")
    assert (await api.post(deliver, headers=admin)).json()["state"] == "delivered"
    assert (await api.post(deliver, headers=admin)).status_code == 409
    assert (await api.post(f"/api/admin/orders/{new_id()}/ship", headers=admin)).status_code == 404
    assert dock.said(order_id)[-1] == "shipment.delivered"


async def test_the_admins_list_pages_by_key_and_narrows(dock: Dock, api: httpx.AsyncClient):
    admin = signed_in(dock.resources, new_id(), Role.ADMIN)
    orders = [await booked(dock, parcels=2) for _ in range(6)]
    seen: list[dict[str, str]] = []
    cursor = None
    while len(seen) < 12:
        params = {"limit": "5", **({"cursor": cursor} if cursor else {})}
        page = (await api.get("/api/admin/shipments", params=params, headers=admin)).json()
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    ids = [row["id"] for row in seen]
    assert ids == sorted(set(ids), reverse=True)
    assert set(orders) <= {row["order_id"] for row in seen}
    narrowed = {"status": "booked", "carrier": seen[0]["carrier"], "late": "false"}
    rows = (await api.get("/api/admin/shipments", params=narrowed, headers=admin)).json()["items"]
    assert rows
    assert {row["carrier"] for row in rows} == {seen[0]["carrier"]}
    late = (await api.get("/api/admin/shipments", params={"late": "true"}, headers=admin)).json()["items"]
    assert all(row["delayed_by_seconds"] > 0 for row in late)


async def test_bad_questions_are_refused(dock: Dock, api: httpx.AsyncClient):
    admin = signed_in(dock.resources, new_id(), Role.ADMIN)
    for params in (
        {"status": "lost"},
        {"carrier": "a\x00b"},
        {"carrier": ""},
        {"limit": "0"},
        {"limit": "201"},
        {"cursor": "é"},
        {"cursor": "WyJ4Il0"},
        {"cursor": "WzFd"},
    ):
        answer = await api.get("/api/admin/shipments", params=params, headers=admin)
        assert answer.status_code == 422, params
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await api.get("/api/admin/shipments", headers=signed_in(dock.resources, new_id()))).status_code == 403
