"""Schema ``catalog``."""

import re
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from seed.copy import Table, table
from seed.goods import Goods
from seed.history import moment
from seed.money import dollars
from seed.plan import DAY_MS, GOODS, WEEK_MS, Plan
from seed.rendered import Rendered
from seed.rows.orders import Payload
from seed.taste import GROUPS
from seed.wire import Fixed, payload, piece, pieces, take
from seed.words import CATEGORIES

CATEGORY_ROWS: Final = table("catalog", "categories", "id slug name")
PRODUCTS: Final = table(
    "catalog", "products", "id sku name description price currency category_id version created_at updated_at"
)
PRICES: Final = table(
    "catalog", "price_history", "product_id version old_price new_price currency reason actor_id changed_at"
)
COSTS: Final = table("catalog", "product_costs", "product_id unit_cost valid_from currency")
COMPETITORS: Final = table("catalog", "competitor_prices", "product_id price observed_at competitor currency")

RIVALS: Final = {"northgate": 1.03, "bluecart": 0.97, "homestead": 1.08}
"""Competitors, and what they ask on the whole against us."""

WATCHED_SHARE: Final = 0.3
"""Products whose prices at competitors are looked up every four weeks."""

_MARGINS: Final = {
    "electronics": 0.22,
    "kitchen": 0.38,
    "home": 0.45,
    "diy": 0.36,
    "fashion": 0.55,
    "beauty": 0.60,
    "outdoors": 0.42,
    "family": 0.40,
    "leisure": 0.44,
}


def rows(
    goods: Goods, *, categories: list[uuid.UUID], currency: str, actor_id: uuid.UUID
) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
    """The categories, the products, and the price changes of the past; ``actor_id`` made them."""
    yield (
        CATEGORY_ROWS,
        [(categories[n], slug(category.name), category.name) for n, category in enumerate(CATEGORIES)],
    )
    ids = {category.name: categories[n] for n, category in enumerate(CATEGORIES)}
    products: list[tuple[Any, ...]] = []
    prices: list[tuple[Any, ...]] = []
    money: dict[int, Decimal] = {}
    actor = str(actor_id)

    for product in goods.products:
        changes = product.repricings
        version = 1 + len(changes)
        named = (product.product_id, product.sku, product.name, product.description)
        sold = (dollars(product.price), currency, ids[product.category], version)
        updated_at = moment(changes[-1].at_ms) if changes else product.created_at
        products.append((*named, *sold, product.created_at, updated_at))
        for number, change in enumerate(changes, 2):
            old = money.setdefault(change.old, dollars(change.old))
            new = money.setdefault(change.new, dollars(change.new))
            prices.append((product.product_id, number, old, new, currency, change.reason, actor, moment(change.at_ms)))
    yield PRODUCTS, products
    yield PRICES, prices


def figures(plan: Plan, rendered: Rendered) -> Iterator[tuple[Table, Payload]]:
    """What the products cost the shop, with a change for some, and what competitors asked for the watched ones."""
    goods = rendered.world.goods
    generator = plan.generator(GOODS, 1)
    count = goods.draft.count
    margin = np.empty(len(CATEGORIES))
    for group, numbers in GROUPS.items():
        margin[numbers.start : numbers.stop] = _MARGINS[group]
    usual = np.median(goods.prices, axis=0)
    cost = usual * (1 - np.clip(margin[goods.draft.category] + generator.normal(0, 0.07, count), 0.05, 0.80))
    changed = np.flatnonzero(generator.random(count) < 0.3)
    at = plan.start_ms + generator.integers(20, 340, len(changed)) * DAY_MS
    first = cost.copy()
    first[changed] *= generator.uniform(0.85, 1.05, len(changed))
    product = np.concatenate([np.arange(count), changed])
    yield (
        COSTS,
        payload(
            Fixed(len(product), len(COSTS.columns))
            .uuid(goods.draft.ids[product])
            .money(np.concatenate([first, cost[changed]]).astype(np.int64))
            .moment(np.concatenate([goods.draft.created_ms, np.maximum(at, goods.draft.created_ms[changed] + DAY_MS)]))
            .constant(rendered.currency)
            .build()
        ),
    )
    yield COMPETITORS, _competitors(plan, rendered, usual, generator)


def _competitors(
    plan: Plan, rendered: Rendered, usual: npt.NDArray[np.float64], generator: np.random.Generator
) -> Payload:
    goods = rendered.world.goods
    watched = np.flatnonzero(generator.random(goods.draft.count) < WATCHED_SHARE)
    if not len(watched):
        watched = np.arange(1)
    weeks = np.arange(plan.weeks - 1, -1, -4)
    shape = (len(watched), len(RIVALS), len(weeks))
    # each has its own level a product, and follows what we did a while ago, by and large
    level = np.array(list(RIVALS.values()))[None, :, None] * generator.lognormal(0, 0.08, (*shape[:2], 1))
    ours = goods.prices[np.maximum(weeks - 2, 0)][:, watched].T[:, None, :]
    price = level * (0.6 * usual[watched][:, None, None] + 0.4 * ours) * generator.lognormal(0, 0.03, shape)
    at = plan.first_week_ms + weeks * WEEK_MS + 6 * 3_600_000
    index = np.indices(shape).reshape(3, -1)
    return payload(
        Fixed(price.size, len(COMPETITORS.columns))
        .uuid(goods.draft.ids[watched[index[0]]])
        .money(np.maximum(price.reshape(-1), 100).astype(np.int64))
        .moment(np.minimum(at, plan.now_ms)[index[2]])
        .build(),
        take(pieces(piece(name, rendered.currency) for name in RIVALS), index[1]),
    )


def slug(name: str) -> str:
    """A category's name in a URL."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("'", "")).strip("-")
