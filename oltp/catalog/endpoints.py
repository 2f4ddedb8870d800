"""HTTP to the use cases of the catalog."""

import uuid
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request, Response

from contracts.storefront import StorefrontKind, Visit, Visits
from kit.auth import CurrentAdmin
from kit.db import ReadSessionDep
from kit.errors import BadRequest, Forbidden, Invalid, Unauthorized, Unavailable, responses
from kit.pagination import Page
from oltp.catalog.errors import CategoryExists, CategoryUnknown, ProductNotFound, SkuTaken, VersionConflict
from oltp.catalog.schemas import (
    AdminProduct,
    AdminProductQuery,
    CategoryCount,
    CategoryCreate,
    CategoryList,
    CategoryRef,
    PriceHistoryEntry,
    PriceHistoryQuery,
    PriceUpdate,
    ProductCreate,
    ProductDetail,
    ProductPage,
    ProductQuery,
    ProductUpdate,
)
from oltp.catalog.service import Assortment, Shelves
from oltp.catalog.state import CatalogState

_public = APIRouter(tags=["catalog"], responses=responses(Invalid, Unavailable))
_admin = APIRouter(
    prefix="/api/admin",
    tags=["catalog"],
    responses=responses(BadRequest, Invalid, Unavailable, Unauthorized, Forbidden),
)


def _state(request: Request) -> CatalogState:
    return cast(CatalogState, request.state.catalog)


async def _given_state(request: Request) -> CatalogState:
    return _state(request)


async def _shelves(request: Request) -> Shelves:
    resources = request.state.resources
    return Shelves(resources.redis, request.state.sales, resources.clock, _state(request).settings)


async def _assortment(request: Request) -> Assortment:
    return Assortment(request.state.resources, _state(request))


async def _visit(request: Request) -> Visit:
    visits: Visits = request.state.visits
    return visits.of(request.headers.raw)


VisitDep = Annotated[Visit, Depends(_visit)]
StateDep = Annotated[CatalogState, Depends(_given_state)]
ShelvesDep = Annotated[Shelves, Depends(_shelves)]
AssortmentDep = Annotated[Assortment, Depends(_assortment)]


@_public.get("/api/products", summary="List products", response_model=ProductPage)
async def list_products(
    query: Annotated[ProductQuery, Query()], session: ReadSessionDep, shelves: ShelvesDep, visit: VisitDep
) -> ProductPage:
    """Products for sale, with their stock. An unknown category has none."""
    found = await shelves.page(session, query)
    if (words := query.in_words()) and query.page == 1:
        visit.note(StorefrontKind.SEARCH, query=words, results=found.total)
    return found


@_public.get(
    "/api/products/{product_id}",
    summary="Show a product",
    response_model=ProductDetail,
    responses=responses(ProductNotFound),
)
async def show_product(
    product_id: uuid.UUID, session: ReadSessionDep, shelves: ShelvesDep, visit: VisitDep
) -> ProductDetail:
    """A product that is for sale, with its stock."""
    found = await shelves.get(session, str(product_id))
    price = found.unit_price if found.sale is None else found.sale.unit_price
    visit.note(StorefrontKind.PRODUCT_VIEW, product_id=str(product_id), unit_price=price)
    return found


@_public.get("/api/categories", summary="List categories", response_model=CategoryList)
async def list_categories(state: StateDep) -> CategoryList:
    """All categories by name, with how many products each has for sale."""
    return CategoryList(items=[CategoryCount.model_validate(row) for row in await state.categories.get()])


@_admin.post(
    "/categories",
    status_code=201,
    summary="Add a category",
    response_model=CategoryRef,
    responses=responses(CategoryExists),
)
async def add_category(body: CategoryCreate, admin: CurrentAdmin, assortment: AssortmentDep) -> CategoryRef:
    """Adds a category."""
    return CategoryRef.model_validate(await assortment.add_category(body))


@_admin.get("/products", summary="List all products", response_model=Page[AdminProduct])
async def list_all_products(
    query: Annotated[AdminProductQuery, Query()],
    admin: CurrentAdmin,
    session: ReadSessionDep,
    assortment: AssortmentDep,
) -> Page[AdminProduct]:
    """Products for sale or not, newest first."""
    return await assortment.search(session, query)


@_admin.post(
    "/products",
    status_code=201,
    summary="Add a product",
    response_model=AdminProduct,
    responses=responses(SkuTaken, CategoryUnknown),
)
async def create_product(
    body: ProductCreate, admin: CurrentAdmin, assortment: AssortmentDep, response: Response
) -> AdminProduct:
    """Adds a product, in the shop's currency. It has no stock until inventory is told."""
    product = await assortment.create(body)
    response.headers["Location"] = f"/api/admin/products/{product.id}"
    return AdminProduct.model_validate(product)


@_admin.get(
    "/products/{product_id}",
    summary="Show any product",
    response_model=AdminProduct,
    responses=responses(ProductNotFound),
)
async def show_any_product(
    product_id: uuid.UUID, admin: CurrentAdmin, session: ReadSessionDep, assortment: AssortmentDep
) -> AdminProduct:
    """A product, for sale or not, with the version that edits name."""
    return AdminProduct.model_validate(await assortment.get(session, str(product_id)))


@_admin.patch(
    "/products/{product_id}",
    summary="Edit a product",
    response_model=AdminProduct,
    responses=responses(ProductNotFound, VersionConflict, SkuTaken, CategoryUnknown),
)
async def update_product(
    product_id: uuid.UUID, body: ProductUpdate, admin: CurrentAdmin, assortment: AssortmentDep
) -> AdminProduct:
    """Changes what is given, if the product is still at the version given."""
    return AdminProduct.model_validate(await assortment.update(str(product_id), body))


@_admin.put(
    "/products/{product_id}/price",
    summary="Change a price",
    response_model=AdminProduct,
    responses=responses(ProductNotFound, VersionConflict),
)
async def change_price(
    product_id: uuid.UUID, body: PriceUpdate, admin: CurrentAdmin, assortment: AssortmentDep
) -> AdminProduct:
    """Changes the price, if the product is still at the version given, and keeps the old one in the history."""
    return AdminProduct.model_validate(await assortment.set_price(str(product_id), body, admin))


@_admin.get(
    "/products/{product_id}/price-history",
    summary="Show price changes",
    response_model=Page[PriceHistoryEntry],
    responses=responses(ProductNotFound),
)
async def list_price_changes(
    product_id: uuid.UUID,
    query: Annotated[PriceHistoryQuery, Query()],
    admin: CurrentAdmin,
    session: ReadSessionDep,
    assortment: AssortmentDep,
) -> Page[PriceHistoryEntry]:
    """A product's price changes, newest first."""
    return await assortment.price_history(session, str(product_id), query)


@_admin.post(
    "/products/{product_id}/activate",
    summary="Put a product on sale",
    response_model=AdminProduct,
    responses=responses(ProductNotFound),
)
async def activate_product(product_id: uuid.UUID, admin: CurrentAdmin, assortment: AssortmentDep) -> AdminProduct:
    """Puts it on sale; one that is stays so."""
    return AdminProduct.model_validate(await assortment.set_active(str(product_id), True))


@_admin.post(
    "/products/{product_id}/deactivate",
    summary="Take a product off sale",
    response_model=AdminProduct,
    responses=responses(ProductNotFound),
)
async def deactivate_product(product_id: uuid.UUID, admin: CurrentAdmin, assortment: AssortmentDep) -> AdminProduct:
    """Takes it off sale; orders that have it are not touched, carts show it as unavailable."""
    return AdminProduct.model_validate(await assortment.set_active(str(product_id), False))


router = APIRouter()
router.include_router(_public)
router.include_router(_admin)
