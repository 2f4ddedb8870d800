"""Use cases of the catalog."""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from contracts import redis_keys
from contracts.events import ProductChanged
from contracts.sales import SaleBoard, SaleCard, SaleStanding
from kit import outbox
from kit.auth import Principal
from kit.clock import Clock
from kit.db import ReadSession, WriteSession
from kit.errors import Invalid
from kit.ids import is_uuid, new_id
from kit.pagination import Page, decode_cursor, encode_cursor
from kit.resources import Resources
from kit.transient import is_transient
from oltp.catalog.domain import availability, stock_level
from oltp.catalog.errors import CategoryExists, CategoryUnknown, ProductNotFound, SkuTaken, VersionConflict
from oltp.catalog.repository import Category, Filter, Product, Products, ProductWriter, UnknownCategory, VersionedCard
from oltp.catalog.schemas import (
    AdminProduct,
    AdminProductQuery,
    CategoryCreate,
    PriceHistoryEntry,
    PriceHistoryQuery,
    PriceUpdate,
    ProductCreate,
    ProductDetail,
    ProductPage,
    ProductQuery,
    ProductSale,
    ProductSummary,
    ProductUpdate,
)
from oltp.catalog.settings import CatalogSettings
from oltp.catalog.state import CatalogState

log = structlog.get_logger()

SOURCE: Final = "catalog"


class Shelves:
    """What customers see: products for sale, with their stock."""

    def __init__(self, redis: Redis, sales: SaleBoard, clock: Clock, settings: CatalogSettings) -> None:
        self._redis = redis
        self._sales = sales
        self._clock = clock
        self._settings = settings

    async def page(self, session: ReadSession, query: ProductQuery) -> ProductPage:
        """One page of the products for sale.

        Raises:
            Invalid: if the page lies deeper than can be paged.
        """
        if query.page * query.page_size > self._settings.catalog_page_depth:
            deepest = self._settings.catalog_page_depth // query.page_size
            raise Invalid("query.page", f"pages of {query.page_size} end at {deepest}; narrow by category or price")
        narrowed = Filter(category=query.category, price_min=query.price_min, price_max=query.price_max)
        products, offset = Products(session), (query.page - 1) * query.page_size
        rows = await products.page(narrowed, query.sort, offset=offset, limit=query.page_size + 1)
        deeper = (query.page + 1) * query.page_size <= self._settings.catalog_page_depth
        cap = self._settings.catalog_count_cap
        total = await products.count(narrowed, cap=cap + 1)
        shown = rows[: query.page_size]
        return ProductPage(
            items=[ProductSummary(**facts) for facts in await self._facts(shown)],
            page=query.page,
            page_size=query.page_size,
            has_more=len(rows) > query.page_size and deeper,
            total=min(total, cap),
            total_is_exact=total <= cap,
        )

    async def get(self, session: ReadSession, product_id: str) -> ProductDetail:
        """One product that is for sale.

        Raises:
            ProductNotFound
        """
        product = await Products(session).get(product_id)
        if product is None or not product.active:
            raise ProductNotFound("There is no product with this id for sale.")
        [facts] = await self._facts([product])
        return ProductDetail(
            **facts,
            description=product.description,
            created_at=product.created_at,
            updated_at=product.updated_at,
        )

    async def _facts(self, products: Sequence[Product]) -> list[dict[str, Any]]:
        stock = await self._stock(product.id for product in products)
        now = self._clock.now()
        running = [sale for product in products if (sale := self._sales.running(product.id, now)) is not None]
        standing = await self._sales.standing(running)
        sales = {sale.product_id: (sale, standing.get(sale.sale_id)) for sale in running}
        return [self._facts_of(product, stock[product.id], sales.get(product.id)) for product in products]

    def _facts_of(
        self, product: Product, stock: int | None, offer: tuple[SaleCard, SaleStanding | None] | None
    ) -> dict[str, Any]:
        sale = None
        if offer is not None:
            sale = _sale(product, *offer)
            stock = sale.units_left
        return {
            "sale": sale,
            "id": product.id,
            "sku": product.sku,
            "name": product.name,
            "category": product.category,
            "unit_price": product.unit_price,
            "currency": product.currency,
            "image_url": product.image_url,
            "stock": stock,
            "availability": availability(stock, low=self._settings.catalog_low_stock),
        }

    async def _stock(self, product_ids: Iterable[str]) -> Mapping[str, int | None]:
        ids = list(product_ids)
        if not ids:
            return {}
        try:
            stored = await self._redis.mget([redis_keys.stock(product_id) for product_id in ids])
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("catalog.stock_unknown", error=repr(error))
            return dict.fromkeys(ids)
        return {product_id: stock_level(level) for product_id, level in zip(ids, stored, strict=True)}


def _sale(product: Product, sale: SaleCard, standing: SaleStanding | None) -> ProductSale:
    return ProductSale(
        sale_id=uuid.UUID(sale.sale_id),
        unit_price=min(product.unit_price, sale.unit_price),
        starts_at=sale.starts_at,
        ends_at=sale.ends_at,
        units=sale.units,
        units_left=standing.left if standing is not None else None,
        units_per_customer=sale.units_per_customer,
        sold_out=standing is not None and not standing.admits,
    )


class Assortment:
    """What admins do. Changes open their own transaction, because what changed is made known after it."""

    def __init__(self, resources: Resources, state: CatalogState) -> None:
        self._database = resources.database
        self._clock = resources.clock
        self._state = state

    async def get(self, session: ReadSession, product_id: str) -> Product:
        """A product, for sale or not.

        Raises:
            ProductNotFound
        """
        return _found(await Products(session).get(product_id))

    async def search(self, session: ReadSession, query: AdminProductQuery) -> Page[AdminProduct]:
        """All products, newest first.

        Raises:
            Invalid: if the cursor is none.
        """
        rows = await Products(session).search(
            containing=query.q,
            category=query.category,
            active=query.active,
            before=None if query.cursor is None else _product_position(query.cursor),
            limit=query.limit + 1,
        )
        shown = rows[: query.limit]
        more = len(rows) > query.limit
        return Page(
            items=[AdminProduct.model_validate(row) for row in shown],
            next_cursor=encode_cursor(shown[-1].created_at.isoformat(), shown[-1].id) if more else None,
        )

    async def price_history(
        self, session: ReadSession, product_id: str, query: PriceHistoryQuery
    ) -> Page[PriceHistoryEntry]:
        """A product's price changes, newest first.

        Raises:
            ProductNotFound
            Invalid: if the cursor is none.
        """
        products = Products(session)
        _found(await products.get(product_id))
        before = None if query.cursor is None else _version_position(query.cursor)
        rows = await products.price_changes(product_id, before=before, limit=query.limit + 1)
        shown = rows[: query.limit]
        more = len(rows) > query.limit
        return Page(
            items=[PriceHistoryEntry.model_validate(row) for row in shown],
            next_cursor=encode_cursor(shown[-1].version) if more else None,
        )

    async def create(self, new: ProductCreate) -> Product:
        """Adds a product, in the shop's currency.

        Raises:
            SkuTaken, CategoryUnknown
        """
        fields = {**new.model_dump(), "currency": self._state.settings.currency}
        now = self._clock.now()
        async with self._database.write() as session:
            try:
                product = await ProductWriter(session).add(new_id(), fields, at=now)
            except UnknownCategory:
                raise CategoryUnknown("There is no category with this slug; add it first.") from None
            if product is None:
                raise SkuTaken(f"There is a product with SKU {new.sku} already.")
            await _announce(session, product, now)
        return await self._made_known(product)

    async def update(self, product_id: str, change: ProductUpdate) -> Product:
        """Edits a product; an edit to what is already so is none.

        Raises:
            ProductNotFound, VersionConflict, SkuTaken, CategoryUnknown
        """
        wanted = change.model_dump(exclude={"version"}, exclude_none=True)
        now = self._clock.now()
        async with self._database.write() as session:
            products = ProductWriter(session)
            present = await _at_version(products, product_id, change.version)
            fields = {name: value for name, value in wanted.items() if value != _present(present, name)}
            if not fields:
                return present
            product = await _changed(products, present, fields, now)
            await _announce(session, product, now)
        return await self._made_known(product)

    async def set_price(self, product_id: str, change: PriceUpdate, admin: Principal) -> Product:
        """Changes a product's price and keeps who did it and why; the present price again is no change.

        Raises:
            ProductNotFound, VersionConflict
        """
        now = self._clock.now()
        async with self._database.write() as session:
            products = ProductWriter(session)
            present = await _at_version(products, product_id, change.version)
            if present.unit_price == change.unit_price:
                return present
            product = await _changed(products, present, {"unit_price": change.unit_price}, now)
            await products.record_price(
                product, old_unit_price=present.unit_price, reason=change.reason, actor_id=admin.user_id, at=now
            )
            await _announce(session, product, now)
        return await self._made_known(product)

    async def set_active(self, product_id: str, active: bool) -> Product:
        """Puts a product on sale or takes it off; it is about a state, so it needs no version.

        Raises:
            ProductNotFound
        """
        now = self._clock.now()
        async with self._database.write() as session:
            products = ProductWriter(session)
            present = _found(await products.lock(product_id))
            if present.active == active:
                return present
            product = await _changed(products, present, {"active": active}, now)
            await _announce(session, product, now)
        self._state.categories.forget()
        return await self._made_known(product)

    async def add_category(self, new: CategoryCreate) -> Category:
        """Adds a category.

        Raises:
            CategoryExists
        """
        async with self._database.write() as session:
            if not await ProductWriter(session).add_category(new_id(), new.slug, new.name):
                raise CategoryExists("There is a category with this slug or name already.")
        self._state.categories.forget()
        return Category(new.slug, new.name)

    async def _made_known(self, product: Product) -> Product:
        await self._state.directory.publish([VersionedCard(product.card, product.version)])
        return product


def _found(product: Product | None) -> Product:
    if product is None:
        raise ProductNotFound("There is no product with this id.")
    return product


async def _at_version(products: ProductWriter, product_id: str, version: int) -> Product:
    present = _found(await products.lock(product_id))
    if present.version != version:
        raise VersionConflict(present.version)
    return present


def _present(product: Product, field: str) -> Any:
    return product.category.slug if field == "category" else getattr(product, field)


async def _changed(products: ProductWriter, present: Product, fields: Mapping[str, Any], now: dt.datetime) -> Product:
    try:
        product = await products.change(present.id, fields, at=now)
    except UnknownCategory:
        raise CategoryUnknown("There is no category with this slug; add it first.") from None
    if product is None:
        raise SkuTaken(f"There is a product with SKU {fields['sku']} already.")
    return product


async def _announce(session: WriteSession, product: Product, now: dt.datetime) -> None:
    event = ProductChanged(
        product_id=product.id,
        version=product.version,
        sku=product.sku,
        name=product.name,
        category=product.category.name,
        unit_price=product.unit_price,
        currency=product.currency,
        active=product.active,
    )
    await outbox.publish(session, [outbox.announce(event, source=SOURCE, subject=product.id, time=now)])


def _product_position(cursor: str) -> tuple[dt.datetime, str]:
    created_at, product_id = decode_cursor(cursor, 2)
    try:
        at = dt.datetime.fromisoformat(created_at)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None or not isinstance(product_id, str) or not is_uuid(product_id):
        raise Invalid("query.cursor", "is not a cursor from an earlier page; leave it out for the first page")
    return at, product_id


def _version_position(cursor: str) -> int:
    [version] = decode_cursor(cursor, 1)
    if not isinstance(version, int) or isinstance(version, bool) or not 0 < version < 2**31:
        raise Invalid("query.cursor", "is not a cursor from an earlier page; leave it out for the first page")
    return version
