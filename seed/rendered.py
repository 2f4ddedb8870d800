"""What the orders' rows say again and again, rendered once: addresses, products, statuses."""

import json
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa

from contracts.orders import Address
from seed.history import World
from seed.ids import Bytes, as_uuids, uuid7_bytes
from seed.places import WAREHOUSES
from seed.plan import BASE
from seed.wire import Json, hexadecimal, piece, pieces
from seed.words import CATEGORIES

_MOST_UNITS: Final = 10


@dataclass(frozen=True)
class Rendered:
    """The world's fixed ids and pieces. ``currency`` is the shop's."""

    world: World
    currency: str

    @cached_property
    def _base_ids(self) -> Bytes:
        """The ids of warehouses, categories and the administrator: all made before the history began."""
        plan = self.world.plan
        opened = np.full(len(WAREHOUSES) + len(CATEGORIES) + 1, plan.start_ms - 3 * 365 * 86_400_000)
        return uuid7_bytes(opened, plan.generator(BASE))

    @cached_property
    def warehouse_ids(self) -> Bytes:
        """The warehouses' ids."""
        return self._base_ids[: len(WAREHOUSES)]

    @cached_property
    def warehouses(self) -> list[uuid.UUID]:
        """The same as objects."""
        return as_uuids(self.warehouse_ids)

    @cached_property
    def categories(self) -> list[uuid.UUID]:
        """The categories' ids."""
        return as_uuids(self._base_ids[len(WAREHOUSES) : -1])

    @cached_property
    def admin_id(self) -> uuid.UUID:
        """The administrator's id."""
        return as_uuids(self._base_ids[-1:])[0]

    @cached_property
    def addresses(self) -> pa.BinaryArray:
        """``shipping_address`` by customer."""
        return pieces(piece(Json(address_json(customer.address))) for customer in self.world.people.customers)

    @cached_property
    def products(self) -> pa.BinaryArray:
        """``sku``, ``product_name`` and ``category`` by product."""
        return pieces(piece(p.sku, p.name, p.category) for p in self.world.goods.products)

    @cached_property
    def product_entries(self) -> pa.BinaryArray:
        """The beginning of a JSON object about a product, by product; see :attr:`units`."""
        texts = hexadecimal(self.world.goods.draft.ids).tolist()
        return pieces(b'{"product_id": "' + text + b'", ' for text in texts)

    @cached_property
    def warehouse_entries(self) -> pa.BinaryArray:
        """Its middle, which names the warehouse."""
        texts = hexadecimal(self.warehouse_ids).tolist()
        return pieces(b'"warehouse_id": "' + text + b'", ' for text in texts)

    @cached_property
    def units(self) -> pa.BinaryArray:
        """Its end, which says how many units."""
        return pieces(b'"quantity": %d}' % n for n in range(_MOST_UNITS))


def address_json(address: Address) -> str:
    """An address without what is empty in it."""
    fields = {name: getattr(address, name) for name in address.__struct_fields__}
    return json.dumps({name: value for name, value in fields.items() if value not in ("", None)}, separators=(",", ":"))
