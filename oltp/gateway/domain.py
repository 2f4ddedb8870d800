"""Pure rules of the checkout: what a cart costs, which order it becomes, and the answer that an order gets."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from contracts.events import OrderCreated
from contracts.orders import Address, OrderLine, OrderStatus, PaymentMethod, SaleTerms
from contracts.products import ProductCard
from contracts.sales import SaleCard

LARGEST_TOTAL: Final = 999_999_999_999
"""Minor units that an order's total column holds: NUMERIC(12,2)."""

_encoder: Final = msgspec.json.Encoder()


class CheckoutItem(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an accepted order."""

    product_id: str
    sku: str
    name: str
    quantity: int
    unit_price: int


class CheckoutAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an accepted checkout. It follows from what the order was born with and nothing else."""

    order_id: str
    status: str
    total_amount: int
    currency: str
    queue_position: int
    created_at: dt.datetime
    items: list[CheckoutItem]


@dataclass(frozen=True, slots=True)
class StoredAddress:
    """An address of the customer's own, by its id."""

    address_id: str


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a checkout asks for besides the cart."""

    shipping_address: Address | StoredAddress
    payment_method: PaymentMethod


class _Fingerprint(msgspec.Struct, omit_defaults=True, kw_only=True):
    shipping_address: Address | None = None
    payment_method: PaymentMethod
    address_id: str = ""


def request_hash(purchase: Purchase) -> str:
    """SHA-256 of the request's meaning: the order of its members and its white space don't count.

    A stored address counts by its id: what it says may change between a request and its repetition.
    """
    to = purchase.shipping_address
    if isinstance(to, StoredAddress):
        meaning = _Fingerprint(address_id=to.address_id, payment_method=purchase.payment_method)
    else:
        meaning = _Fingerprint(shipping_address=to, payment_method=purchase.payment_method)
    return hashlib.sha256(_encoder.encode(meaning)).hexdigest()


@dataclass(frozen=True, slots=True)
class Priced:
    """A cart at today's prices, lines in order of product id; ``unavailable`` products have no line."""

    lines: list[OrderLine]
    unavailable: list[str]
    currencies: frozenset[str]

    @property
    def total(self) -> int:
        """In minor units."""
        return sum(line.unit_price * line.quantity for line in self.lines)


def price(cart: Mapping[str, int], cards: Mapping[str, ProductCard], sale: SaleCard | None = None) -> Priced:
    """Prices a cart; one of its products may be in a flash sale. Unknown and inactive products are unavailable."""
    lines: list[OrderLine] = []
    unavailable: list[str] = []
    currencies: set[str] = set()
    for product_id in sorted(cart):
        card = cards.get(product_id)
        if card is None or not card.active:
            unavailable.append(product_id)
            continue
        currencies.add(card.currency)
        unit_price = card.unit_price
        if sale is not None and sale.product_id == product_id:
            unit_price = min(unit_price, sale.unit_price)
        lines.append(
            OrderLine(
                product_id=product_id,
                sku=card.sku,
                name=card.name,
                category=card.category,
                quantity=cart[product_id],
                unit_price=unit_price,
            )
        )
    return Priced(lines, unavailable, frozenset(currencies))


def order_of(
    priced: Priced,
    purchase: Purchase,
    address: Address,
    *,
    order_id: str,
    user_id: str,
    key: str,
    queue_position: int,
    created_at: dt.datetime,
    digest: str = "",
    sale: SaleTerms | None = None,
    client_ip: str = "",
) -> OrderCreated:
    """The order that a priced cart becomes; all lines must be in one currency.

    ``address`` is what the purchase's address says, ``digest`` the purchase's hash, if it is known.
    """
    [currency] = priced.currencies
    return OrderCreated(
        order_id=order_id,
        user_id=user_id,
        idempotency_key=key,
        request_hash=digest or request_hash(purchase),
        currency=currency,
        total_amount=priced.total,
        lines=priced.lines,
        shipping_address=address,
        payment_method=purchase.payment_method,
        queue_position=queue_position,
        created_at=created_at,
        sale=sale,
        client_ip=client_ip,
    )


def answer(
    *,
    order_id: str,
    total_amount: int,
    currency: str,
    queue_position: int,
    created_at: dt.datetime,
    items: Iterable[CheckoutItem],
) -> bytes:
    """The body of the answer, the same bytes each time; items in order of product id."""
    return _encoder.encode(
        CheckoutAnswer(
            order_id=order_id,
            status=OrderStatus.PENDING,
            total_amount=total_amount,
            currency=currency,
            queue_position=queue_position,
            created_at=created_at.astimezone(dt.UTC),
            items=sorted(items, key=lambda item: item.product_id),
        )
    )


def answer_to(created: OrderCreated) -> bytes:
    """The answer to the checkout that an order was born from."""
    return answer(
        order_id=created.order_id,
        total_amount=created.total_amount,
        currency=created.currency,
        queue_position=created.queue_position,
        created_at=created.created_at,
        items=[
            CheckoutItem(
                product_id=line.product_id,
                sku=line.sku,
                name=line.name,
                quantity=line.quantity,
                unit_price=line.unit_price,
            )
            for line in created.lines
        ],
    )


def units(lines: Sequence[OrderLine]) -> dict[str, int]:
    """Product → units of an order."""
    return {line.product_id: line.quantity for line in lines}
