"""Every query on schema ``catalog``."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import IntegrityError

from contracts.products import ProductCard
from kit.db import ReadSession, WriteSession
from oltp.catalog.domain import Sort, like_pattern, to_minor, to_price


@dataclass(frozen=True, slots=True)
class Category:
    """A category. Its slug never changes."""

    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class CountedCategory(Category):
    """A category with how many of its products are for sale."""

    product_count: int


@dataclass(frozen=True, slots=True)
class Product:
    """A product with its category; ``unit_price`` in minor units."""

    id: str
    sku: str
    name: str
    description: str
    unit_price: int
    currency: str
    category: Category
    image_url: str
    active: bool
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def card(self) -> ProductCard:
        """What other services may know of it."""
        return ProductCard(
            product_id=self.id,
            sku=self.sku,
            name=self.name,
            category=self.category.name,
            unit_price=self.unit_price,
            currency=self.currency,
            active=self.active,
            image_url=self.image_url,
        )


@dataclass(frozen=True, slots=True)
class VersionedCard:
    """A product's card with the version of the product that it shows."""

    card: ProductCard
    version: int


@dataclass(frozen=True, slots=True)
class PriceChange:
    """A row of ``catalog.price_history``; prices in minor units."""

    version: int
    old_unit_price: int
    new_unit_price: int
    currency: str
    reason: str
    actor_id: str
    changed_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Filter:
    """What the public list is narrowed to; prices in minor units, both ends included."""

    category: str | None = None
    price_min: int | None = None
    price_max: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions a statement could see: all below ``xmin`` are over, none from ``xmax`` on has begun."""

    xmin: int
    xmax: int


_PRODUCT: Final = """
    p.id::text AS id, p.sku, p.name, p.description, p.price, p.currency, c.slug AS category_slug,
    c.name AS category_name, p.image_url, p.active, p.version, p.created_at, p.updated_at
"""
_CARD: Final = """
    p.id::text AS id, p.sku, p.name, c.name AS category, p.price, p.currency, p.active, p.image_url, p.version
"""
_FROM: Final = "FROM catalog.products AS p JOIN catalog.categories AS c ON c.id = p.category_id"
_ORDER: Final = {
    Sort.NEWEST: "p.created_at DESC, p.id DESC",
    Sort.PRICE_ASC: "p.price, p.id",
    Sort.PRICE_DESC: "p.price DESC, p.id DESC",
    Sort.NAME: "lower(p.name), p.id",
}


def _product(row: RowMapping) -> Product:
    return Product(
        id=row["id"],
        sku=row["sku"],
        name=row["name"],
        description=row["description"],
        unit_price=to_minor(row["price"]),
        currency=row["currency"],
        category=Category(row["category_slug"], row["category_name"]),
        image_url=row["image_url"],
        active=row["active"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _card(row: RowMapping) -> VersionedCard:
    card = ProductCard(
        product_id=row["id"],
        sku=row["sku"],
        name=row["name"],
        category=row["category"],
        unit_price=to_minor(row["price"]),
        currency=row["currency"],
        active=row["active"],
        image_url=row["image_url"],
    )
    return VersionedCard(card, row["version"])


def _conditions(narrowed: Filter) -> tuple[str, dict[str, Any]]:
    conditions, values = ["p.active"], dict[str, Any]()
    if narrowed.category is not None:
        conditions.append("p.category_id = (SELECT id FROM catalog.categories WHERE slug = :category)")
        values["category"] = narrowed.category
    if narrowed.price_min is not None:
        conditions.append("p.price >= :price_min")
        values["price_min"] = to_price(narrowed.price_min)
    if narrowed.price_max is not None:
        conditions.append("p.price <= :price_max")
        values["price_max"] = to_price(narrowed.price_max)
    return " AND ".join(conditions), values


class Products:
    """Products, read."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def get(self, product_id: str) -> Product | None:
        """The product with this id, for sale or not."""
        return await self._one(f"SELECT {_PRODUCT} {_FROM} WHERE p.id = CAST(:id AS uuid)", {"id": product_id})

    async def page(self, narrowed: Filter, sort: Sort, *, offset: int, limit: int) -> list[Product]:
        """Products for sale. The offset is walked in an index of the list's order, before anything is joined."""
        conditions, values = _conditions(narrowed)
        rows = await self._session.execute(
            text(
                f"""
                SELECT {_PRODUCT} {_FROM} WHERE p.id IN (
                    SELECT p.id FROM catalog.products AS p WHERE {conditions}
                    ORDER BY {_ORDER[sort]} LIMIT :limit OFFSET :offset)
                ORDER BY {_ORDER[sort]}
                """  # noqa: S608
            ),
            {**values, "limit": limit, "offset": offset},
        )
        return [_product(row) for row in rows.mappings()]

    async def count(self, narrowed: Filter, *, cap: int) -> int:
        """How many products for sale there are; counting stops at ``cap``."""
        conditions, values = _conditions(narrowed)
        counted = await self._session.execute(
            text(
                f"SELECT count(*) FROM (SELECT FROM catalog.products AS p WHERE {conditions} LIMIT :cap) AS counted"  # noqa: S608
            ),
            {**values, "cap": cap},
        )
        return int(counted.scalar_one())

    async def search(
        self,
        *,
        containing: str | None,
        category: str | None,
        active: bool | None,
        before: tuple[dt.datetime, str] | None,
        limit: int,
    ) -> list[Product]:
        """All products, newest first, from ``before`` (creation time and id) on; by text in name or SKU."""
        conditions, values = ["true"], dict[str, Any]()
        if containing is not None:
            conditions.append(r"(p.name ILIKE :pattern ESCAPE '\' OR p.sku ILIKE :pattern ESCAPE '\')")
            values["pattern"] = like_pattern(containing)
        if category is not None:
            conditions.append("c.slug = :category")
            values["category"] = category
        if active is not None:
            conditions.append("p.active = :active")
            values["active"] = active
        if before is not None:
            conditions.append("(p.created_at, p.id) < (:before_at, CAST(:before_id AS uuid))")
            values["before_at"], values["before_id"] = before
        rows = await self._session.execute(
            text(
                f"""
                SELECT {_PRODUCT} {_FROM} WHERE {" AND ".join(conditions)}
                ORDER BY p.created_at DESC, p.id DESC LIMIT :limit
                """
            ),
            {**values, "limit": limit},
        )
        return [_product(row) for row in rows.mappings()]

    async def price_changes(self, product_id: str, *, before: int | None, limit: int) -> list[PriceChange]:
        """A product's price changes, newest first, from below version ``before`` on."""
        rows = await self._session.execute(
            text(
                """
                SELECT version, old_price, new_price, currency, reason, actor_id, changed_at
                FROM catalog.price_history
                WHERE product_id = CAST(:id AS uuid) AND version < :before
                ORDER BY version DESC LIMIT :limit
                """
            ),
            {"id": product_id, "before": 2**31 - 1 if before is None else before, "limit": limit},
        )
        return [
            PriceChange(
                version=row["version"],
                old_unit_price=to_minor(row["old_price"]),
                new_unit_price=to_minor(row["new_price"]),
                currency=row["currency"],
                reason=row["reason"],
                actor_id=row["actor_id"],
                changed_at=row["changed_at"],
            )
            for row in rows.mappings()
        ]

    async def categories(self) -> list[CountedCategory]:
        """All categories by name, with how many of their products are for sale."""
        rows = await self._session.execute(
            text(
                """
                SELECT c.slug, c.name, coalesce(counted.products, 0) AS product_count
                FROM catalog.categories AS c
                LEFT JOIN (SELECT category_id, count(*) AS products FROM catalog.products WHERE active
                    GROUP BY category_id) AS counted ON counted.category_id = c.id
                ORDER BY c.name
                """
            )
        )
        return [CountedCategory(**row) for row in rows.mappings()]

    async def _one(self, statement: str, values: Mapping[str, Any]) -> Product | None:
        row = (await self._session.execute(text(statement), values)).mappings().one_or_none()
        return None if row is None else _product(row)


class ProductWriter(Products):
    """Products, to be changed. Every change of a row counts its version up (a trigger sees to it)."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)

    async def lock(self, product_id: str) -> Product | None:
        """The product, which nobody else changes before this transaction ends."""
        return await self._one(
            f"SELECT {_PRODUCT} {_FROM} WHERE p.id = CAST(:id AS uuid) FOR UPDATE OF p",
            {"id": product_id},
        )

    async def add(self, product_id: str, fields: Mapping[str, Any], *, at: dt.datetime) -> Product | None:
        """Adds a product with these ``products`` columns (``category`` by slug), unless its SKU is taken.

        Raises:
            UnknownCategory: if there is no such category.
        """
        category_id = await self._category_id(fields["category"])
        result = await self._session.execute(
            text(
                """
                INSERT INTO catalog.products
                    (id, sku, name, description, price, currency, category_id, image_url, active, created_at,
                     updated_at)
                VALUES (CAST(:id AS uuid), :sku, :name, :description, :price, :currency, CAST(:category_id AS uuid),
                    :image_url, :active, :at, :at)
                ON CONFLICT (sku) DO NOTHING RETURNING id
                """
            ),
            {
                **{name: fields[name] for name in ("sku", "name", "description", "currency", "image_url", "active")},
                "id": product_id,
                "price": to_price(fields["unit_price"]),
                "category_id": category_id,
                "at": at,
            },
        )
        return None if result.first() is None else await self.get(product_id)

    async def change(self, product_id: str, fields: Mapping[str, Any], *, at: dt.datetime) -> Product | None:
        """Changes these columns (``category`` by slug, ``unit_price`` in minor units), unless the SKU is taken.

        Raises:
            UnknownCategory: if there is no such category.
        """
        values: dict[str, Any] = {"id": product_id, "at": at}
        assignments = ["updated_at = :at"]
        for name, value in fields.items():
            match name:
                case "category":
                    assignments.append("category_id = CAST(:category_id AS uuid)")
                    values["category_id"] = await self._category_id(value)
                case "unit_price":
                    assignments.append("price = :price")
                    values["price"] = to_price(value)
                case "sku" | "name" | "description" | "image_url" | "active":
                    assignments.append(f"{name} = :{name}")
                    values[name] = value
                case _:
                    raise ValueError(f"a product has no column {name!r} to change")
        try:
            async with self._session.begin_nested():
                await self._session.execute(
                    text(f"UPDATE catalog.products SET {', '.join(assignments)} WHERE id = CAST(:id AS uuid)"),  # noqa: S608
                    values,
                )
        except IntegrityError as error:
            if "uq_products_sku" in str(error.orig):
                return None
            raise
        return await self.get(product_id)

    async def record_price(
        self, changed: Product, *, old_unit_price: int, reason: str, actor_id: str, at: dt.datetime
    ) -> None:
        """Keeps a price change that made ``changed`` what it is."""
        await self._session.execute(
            text(
                """
                INSERT INTO catalog.price_history
                    (product_id, version, old_price, new_price, currency, reason, actor_id, changed_at)
                VALUES (CAST(:id AS uuid), :version, :old, :new, :currency, :reason, :actor, :at)
                """
            ),
            {
                "id": changed.id,
                "version": changed.version,
                "old": to_price(old_unit_price),
                "new": to_price(changed.unit_price),
                "currency": changed.currency,
                "reason": reason,
                "actor": actor_id,
                "at": at,
            },
        )

    async def add_category(self, category_id: str, slug: str, name: str) -> bool:
        """Adds a category, unless its slug or name is taken."""
        result = await self._session.execute(
            text(
                """
                INSERT INTO catalog.categories (id, slug, name) VALUES (CAST(:id AS uuid), :slug, :name)
                ON CONFLICT DO NOTHING RETURNING id
                """
            ),
            {"id": category_id, "slug": slug, "name": name},
        )
        return result.first() is not None

    async def _category_id(self, slug: str) -> str:
        found = await self._session.execute(
            text("SELECT id::text FROM catalog.categories WHERE slug = :slug"), {"slug": slug}
        )
        category_id: str | None = found.scalar_one_or_none()
        if category_id is None:
            raise UnknownCategory(slug)
        return category_id


class UnknownCategory(ValueError):
    """There is no category with this slug."""


class Cards:
    """Product cards, as the directory reads them."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def get(self, product_ids: Sequence[str]) -> list[VersionedCard]:
        """The cards of those products that exist."""
        rows = await self._session.execute(
            text(f"SELECT {_CARD} {_FROM} WHERE p.id = ANY(CAST(:ids AS uuid[]))"),
            {"ids": list(product_ids)},
        )
        return [_card(row) for row in rows.mappings()]

    async def after(self, product_id: str, *, limit: int) -> list[VersionedCard]:
        """Cards in the order of their ids, from above ``product_id`` on."""
        rows = await self._session.execute(
            text(f"SELECT {_CARD} {_FROM} WHERE p.id > CAST(:id AS uuid) ORDER BY p.id LIMIT :limit"),
            {"id": product_id, "limit": limit},
        )
        return [_card(row) for row in rows.mappings()]

    async def snapshot(self) -> Snapshot:
        """What this session's next statement will see at least."""
        rows = await self._session.execute(
            text(
                """
                SELECT pg_snapshot_xmin(now_visible)::text::bigint, pg_snapshot_xmax(now_visible)::text::bigint
                FROM pg_current_snapshot() AS now_visible
                """
            )
        )
        row = rows.one()
        return Snapshot(row[0], row[1])

    async def changed_since(self, xid: int, *, until: int) -> list[VersionedCard]:
        """Cards of the products whose present state was made by a transaction from ``xid`` on and below ``until``."""
        rows = await self._session.execute(
            text(f"SELECT {_CARD} {_FROM} WHERE p.changed_xid >= :since AND p.changed_xid < :until"),
            {"since": xid, "until": until},
        )
        return [_card(row) for row in rows.mappings()]
