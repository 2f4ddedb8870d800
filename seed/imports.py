"""Writes an imported shop into the tables, as settled history: all or nothing, and once.

What order lines do not tell is written so that the books close, and marked: payments of the provider ``imported`` that
were captured when the order was placed, one parcel of the carrier ``imported`` that arrived at that moment, and stock
that came in as it was sold. No figure about payments, parcels or stock should be drawn from these.
"""

import asyncio
import hashlib
import re
import uuid
from collections.abc import Iterator
from typing import Any, Final

import asyncpg
import numpy as np
import polars as pl

from contracts.orders import Address
from kit.resources import open_resources
from oltp.accounts.passwords import hash_password
from oltp.catalog import directory
from oltp.inventory import reconciler
from seed import marks
from seed.copy import Table, copy, stream, table
from seed.ids import Bytes, as_uuids, part_id, uuid7_bytes
from seed.importing import Imported, ImportRefused
from seed.loading import connected
from seed.money import dollars
from seed.rendered import address_json
from seed.rows import accounts, catalog, inventory, notifications
from seed.rows.orders import COMPACT_SEQUENCE, ITEMS
from seed.settings import SeedSettings
from seed.wire import Fixed, payload, piece, pieces, take

IMPORTED: Final = "imported"
"""Provider of the payments and carrier of the parcels that nobody told us about."""

_ORDERS: Final = table(
    "orders",
    "orders",
    """id user_id status total_amount currency cancel_reason payment_method shipping_address idempotency_key sequence
    created_at updated_at""",
)
_PAYMENTS: Final = table(
    "payments",
    "payments",
    """order_id payment_id user_id provider method amount currency status tombstone answer attempts created_at
    updated_at""",
)
_REFUNDS: Final = table(
    "payments", "refunds", "order_id payment_id provider amount currency status requested_at completed_at"
)
_FULFILMENTS: Final = table("shipping", "fulfilments", "order_id user_id state attempt created_at updated_at")
_SHIPMENTS: Final = table(
    "shipping",
    "shipments",
    """id order_id user_id warehouse_id carrier service_level tracking_number status items legs progress transit_seconds
    estimated_delivery dispatched_at delivered_at created_at updated_at""",
)
_SITES: Final = table("shipping", "warehouse_locations", "warehouse_id name latitude longitude")
_LEDGER: Final = table("inventory", "stock_ledger", "product_id warehouse_id kind delta balance reason occurred_at")

_PAYMENT, _PARCEL = 15, 32


async def write(settings: SeedSettings, imported: Imported) -> None:
    """Writes everything in one transaction, then fills Redis from it.

    Raises:
        ImportRefused: if it, or something that it would clash with, is in the shop already.
        OSError, asyncpg.PostgresError: if Postgres is away.
        RedisError: if Redis is away.
    """
    admin_hash = await asyncio.to_thread(hash_password, settings.admin_password.get_secret_value())
    customer_hash = await asyncio.to_thread(hash_password, settings.demo_password.get_secret_value())
    async with connected(settings) as connection:
        await marks.prepare(connection)
        async with connection.transaction():
            await _refuse(connection, imported)
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM accounts.users WHERE role = 'admin')"):
                opened = imported.begins
                (admin_id,) = as_uuids(uuid7_bytes(_ms(pl.Series([opened])), _generator(imported, "admin")))
                await copy(connection, *accounts.admin(admin_id, settings.admin_email.lower(), admin_hash, opened))
            shop = _Shop(imported, await _warehouse(connection, imported), await _category(connection, imported))
            for target, rows in shop.rows(customer_hash):
                await copy(connection, target, rows)
            await stream(connection, ITEMS, shop.items())
            await marks.note_import(
                connection,
                imported.mapping.name,
                customers=imported.customers.height,
                products=imported.products.height,
                orders=imported.orders.height,
                until=imported.ends,
            )
        await connection.execute("ANALYZE orders.orders, orders.order_items, accounts.users, catalog.products")
    async with open_resources(settings) as resources:
        await directory.warm(resources.shared_redis, resources.database)
        await reconciler.rebuild(resources)


async def _refuse(connection: asyncpg.Connection, imported: Imported) -> None:
    if not imported.orders.height:
        raise ImportRefused("no line of the file is an order's; see the quarantine")
    if imported.mapping.name in await marks.imports(connection):
        raise ImportRefused(f"{imported.mapping.name} was imported already")
    taken = await connection.fetchval(
        "SELECT sku FROM catalog.products WHERE sku = ANY($1) LIMIT 1", imported.products["product"].to_list()
    )
    if taken is not None:
        raise ImportRefused(f"the shop has a product {taken} already")


async def _warehouse(connection: asyncpg.Connection, imported: Imported) -> uuid.UUID:
    """The warehouse that all was sent from: the shop's first, or one that is made for it."""
    found: uuid.UUID | None = await connection.fetchval(
        "SELECT id FROM inventory.warehouses ORDER BY priority, id LIMIT 1"
    )
    if found is not None:
        return found
    (made,) = as_uuids(uuid7_bytes(_ms(imported.orders["placed_at"][:1]), _generator(imported, "warehouse")))
    await copy(connection, inventory.SITES, [(made, "IMP", imported.mapping.name, "ZZ", 0.0, 0.0, 0)])
    await copy(connection, _SITES, [(made, imported.mapping.name, 0.0, 0.0)])
    return made


async def _category(connection: asyncpg.Connection, imported: Imported) -> uuid.UUID:
    name = imported.mapping.category
    found: uuid.UUID | None = await connection.fetchval("SELECT id FROM catalog.categories WHERE name = $1", name)
    if found is not None:
        return found
    (made,) = as_uuids(uuid7_bytes(_ms(imported.orders["placed_at"][:1]), _generator(imported, "category")))
    await copy(connection, catalog.CATEGORY_ROWS, [(made, catalog.slug(name), name)])
    return made


def _generator(imported: Imported, purpose: str) -> np.random.Generator:
    """Random bits that are the same for the same shop and purpose."""
    digest = hashlib.blake2b(f"{imported.mapping.name}|{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.SFC64(list(digest)))


def _ms(moments: pl.Series) -> np.ndarray[Any, np.dtype[np.int64]]:
    return moments.dt.epoch("ms").to_numpy().astype(np.int64)


class _Shop:
    def __init__(self, imported: Imported, warehouse: uuid.UUID, category: uuid.UUID) -> None:
        self._imported = imported
        self._warehouse = warehouse
        self._category = category
        self._orders = self._ids(imported.orders["placed_at"], "orders")
        self._customers = self._ids(imported.customers["first_at"], "customers")
        self._products = self._ids(imported.products["first_at"], "products")
        self._user = dict(zip(imported.customers["customer"].to_list(), as_uuids(self._customers), strict=True))
        self._product = dict(zip(imported.products["product"].to_list(), as_uuids(self._products), strict=True))

    def _ids(self, moments: pl.Series, purpose: str) -> Bytes:
        return uuid7_bytes(_ms(moments), _generator(self._imported, purpose))

    def rows(self, password_hash: str) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
        """Everything but the items."""
        yield from self._people(password_hash)
        yield from self._goods()
        yield from self._sold()
        yield from self._stock()

    def _people(self, password_hash: str) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
        host = f"{re.sub(r'[^a-z0-9]+', '-', self._imported.mapping.name.lower()).strip('-')}.example"
        users, addresses, contacts = [], [], []
        for row in self._imported.customers.iter_rows(named=True):
            user_id, at = self._user[row["customer"]], row["first_at"]
            name = "Guest" if row["is_guest"] else f"Customer {row['customer']}"
            kind = "guest" if row["is_guest"] else "customer"
            email = f"{kind}.{row['customer'].removeprefix('guest of ')}@{host}".lower()
            users.append((user_id, name, email, password_hash, "customer", "", at, at))
            place = ("", "", "", "", "", row["country"], "", None, None)
            addresses.append((part_id(user_id, 1), user_id, "home", name, *place, True, at, at))
            contacts.append((user_id, email, name, "", at))
        yield accounts.USERS, users
        yield accounts.ADDRESSES, addresses
        yield notifications.CONTACTS, contacts

    def _goods(self) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
        currency = self._imported.mapping.currency
        products = [
            (self._product[code], code, name.strip(), "", dollars(cents), currency, self._category, 1, at, at)
            for code, name, cents, at in self._imported.products.iter_rows()
        ]
        yield catalog.PRODUCTS, products

    def _sold(self) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
        currency = self._imported.mapping.currency
        contents = self._contents()
        orders, payments, refunds, fulfilments, shipments = [], [], [], [], []
        addresses: dict[tuple[uuid.UUID, str], str] = {}
        for order_id, row in zip(as_uuids(self._orders), self._imported.orders.iter_rows(named=True), strict=True):
            user_id, at, cancelled = self._user[row["customer"]], row["placed_at"], row["is_cancelled"]
            total = dollars(row["cents"])
            name = "Guest" if row["is_guest"] else f"Customer {row['customer']}"
            address = addresses.setdefault((user_id, row["country"]), _address(name, row["country"]))
            why = "customer_request" if cancelled else None
            head = (order_id, user_id, "cancelled" if cancelled else "delivered", total, currency, why)
            orders.append((*head, "card", address, f"import-{row['order']}", COMPACT_SEQUENCE, at, at))
            payment_id = part_id(order_id, _PAYMENT)
            status = "refunded" if cancelled else "succeeded"
            paid = (order_id, payment_id, user_id, IMPORTED, "card", total, currency)
            payments.append((*paid, status, cancelled, "succeeded", 1, at, at))
            if cancelled:
                refunds.append((order_id, payment_id, IMPORTED, total, currency, "succeeded", at, at))
            state = "cancelled" if cancelled else "delivered"
            fulfilments.append((order_id, user_id, state, 1, at, at))
            sent = None if cancelled else at
            parcel = (part_id(order_id, _PARCEL), order_id, user_id, self._warehouse, IMPORTED, IMPORTED, "", state)
            way = (contents[row["order"]], 1, 0 if cancelled else 1, 0.0)
            shipments.append((*parcel, *way, at, sent, sent, at, at))
        yield _ORDERS, orders
        yield _PAYMENTS, payments
        yield _REFUNDS, refunds
        yield _FULFILMENTS, fulfilments
        yield _SHIPMENTS, shipments

    def _contents(self) -> dict[str, str]:
        """What is in each order's parcel, as JSON."""
        ids = pl.DataFrame({"product": list(self._product), "id": [str(found) for found in self._product.values()]})
        lines = self._imported.lines.join(ids, on="product", maintain_order="left").with_columns(
            pl.concat_str(
                pl.lit('{"product_id": "'),
                "id",
                pl.lit('", "quantity": '),
                pl.col("quantity").cast(pl.String),
                pl.lit("}"),
            ).alias("entry")
        )
        grouped = lines.group_by("order").agg(pl.col("entry").str.join(", "))
        return {order: f"[{entries}]" for order, entries in grouped.iter_rows()}

    def items(self) -> list[memoryview]:
        """The items, ready to be streamed."""
        imported = self._imported
        places = pl.DataFrame({"order": imported.orders["order"], "at": np.arange(imported.orders.height)})
        goods = pl.DataFrame({"product": imported.products["product"], "good": np.arange(imported.products.height)})
        lines = (
            imported.lines.join(places, on="order", maintain_order="left")
            .join(goods, on="product", maintain_order="left")
            .sort("at", "line")
        )
        order = lines["at"].to_numpy()
        first = np.searchsorted(order, order)
        order_ids = self._orders[order]
        # an order may have more lines than a part's number has room for: it takes two bytes here
        ids = order_ids.copy()
        number = np.arange(len(order)) - first + 1
        ids[:, 14] ^= (number >> 8).astype(np.uint8)
        ids[:, 15] ^= (number & 255).astype(np.uint8)
        head = (
            Fixed(len(order), len(ITEMS.columns))
            .uuid(ids)
            .uuid(order_ids)
            .uuid(self._products[lines["good"].to_numpy()])
            .int4(lines["quantity"].to_numpy())
            .money(lines["cents"].to_numpy())
            .build()
        )
        named = pieces(
            piece(code, name.strip(), imported.mapping.category)
            for code, name in imported.products.select("product", "name").iter_rows()
        )
        return payload(head, take(named, lines["good"].to_numpy()))

    def _stock(self) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
        """Nothing is left: what was sold had come in before, as far as anybody can tell."""
        orders = self._imported.orders.select("order", "placed_at", "is_cancelled")
        sold = (
            self._imported.lines.join(orders, on="order")
            .filter(~pl.col("is_cancelled"))
            .group_by("product", pl.col("placed_at").dt.truncate("1mo").alias("month"))
            .agg(pl.sum("quantity"), pl.max("placed_at"))
            .sort("product", "month")
        )
        total = dict(sold.group_by("product").agg(pl.sum("quantity")).iter_rows())
        now = self._imported.ends
        levels, ledger = [], []
        left: dict[str, int] = {}
        for code, _, _, first in self._imported.products.iter_rows():
            product_id, units = self._product[code], total.get(code, 0)
            levels.append((product_id, self._warehouse, 0, 0, now))
            ledger.append((product_id, self._warehouse, "initial", units, units, "import", first))
            left[code] = units
        for code, _, units, at in sold.iter_rows():
            left[code] -= units
            line = ("settled", -units, left[code], "settled orders of the month", at)
            ledger.append((self._product[code], self._warehouse, *line))
        yield inventory.LEVELS, levels
        yield _LEDGER, ledger


def _address(name: str, country: str) -> str:
    return address_json(Address(name=name, line1="-", city="-", postal_code="-", country=country))
