"""Fraudsters among the visitors, in the specification's patterns. What is fraud is written to a file and said nowhere
else: no event, no table tells it.

The patterns and their names are those of the seed (:class:`seed.fraud.Kind`).
"""

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from typing import Final

import orjson

from contracts.orders import Address
from seed.fraud import DECLINED, SHARES, Kind
from stack.generate.shop import Buyer

PATTERNS: Final = (Kind.NEW_ACCOUNT, Kind.RING, Kind.TAKEOVER, Kind.CARD_TESTING)
"""Those that show in the traffic of an hour; the patient fraudster of the seed needs months."""

_BURSTS: Final = {Kind.NEW_ACCOUNT: 1, Kind.RING: 12, Kind.TAKEOVER: 4, Kind.CARD_TESTING: 8}
_NEWEST: Final = 200
_RING_ACCOUNTS: Final = 6
_DROPS: Final = 3


@dataclass(frozen=True, slots=True)
class Deceit:
    """One fraudulent order: its pattern, whose account, where it goes, from which address, and what it buys.

    ``lavish``: much of the dearest; ``petty``: one of the cheapest.
    """

    kind: Kind
    buyer: Buyer
    address: Address
    client_ip: str
    declined: float

    @property
    def lavish(self) -> bool:
        return self.kind in (Kind.NEW_ACCOUNT, Kind.TAKEOVER)

    @property
    def petty(self) -> bool:
        return self.kind is Kind.CARD_TESTING


@dataclass(slots=True)
class _Burst:
    kind: Kind
    left: int
    accounts: list[Buyer]
    client_ip: str
    drops: list[Address] = field(default_factory=list)


def home_ip(user_id: str) -> str:
    """A customer's own address, of the space that carriers share (RFC 6598), if no order of theirs told one."""
    digest = sha1(user_id.encode(), usedforsecurity=False).digest()
    return f"100.{64 + digest[0] % 64}.{digest[1]}.{digest[2]}"


class Fraudsters:
    """Says of each order whether it is one of theirs: ``share`` of all are, in bursts as their patterns go."""

    def __init__(self, chance: random.Random, buyers: Sequence[Buyer], newest: Sequence[Buyer], share: float) -> None:
        self._chance = chance
        self._buyers = buyers
        self._newest = list(newest[:_NEWEST]) or list(buyers)
        self._share = share
        self._bursts: list[_Burst] = []

    def next(self) -> Deceit | None:
        """The next order's deceit; None if it is honest."""
        chance = self._chance
        if chance.random() >= self._share:
            return None
        if not self._bursts or chance.random() < 0.2:
            self._bursts.append(self._begun())
        burst = chance.choice(self._bursts)
        burst.left -= 1
        if not burst.left:
            self._bursts.remove(burst)
        buyer = chance.choice(burst.accounts)
        address = buyer.address
        if burst.kind is Kind.TAKEOVER:
            address = chance.choice(self._buyers).address
        elif burst.drops:
            address = chance.choice(burst.drops)
        return Deceit(burst.kind, buyer, address, burst.client_ip, DECLINED[burst.kind])

    def _begun(self) -> _Burst:
        """A burst of a pattern; patterns come as often as their orders' shares ask for."""
        chance = self._chance
        weights = [SHARES[kind] / _BURSTS[kind] for kind in PATTERNS]
        kind = chance.choices(PATTERNS, weights=weights)[0]
        accounts = chance.sample(self._newest, min(_RING_ACCOUNTS if kind is Kind.RING else 1, len(self._newest)))
        if kind is Kind.TAKEOVER:
            accounts = [chance.choice(self._buyers)]
        drops = [chance.choice(self._buyers).address for _ in range(_DROPS)] if kind is Kind.RING else []
        client_ip = f"100.{chance.randrange(64, 128)}.{chance.randrange(256)}.{chance.randrange(256)}"
        return _Burst(kind, _BURSTS[kind], accounts, client_ip, drops)


class Truth:
    """The file that says which orders are fraud: a JSON object a line, as the seed's ``fraud_truth`` has them."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.orders = 0

    def tell(self, order_id: str, user_id: str, created_at: dt.datetime, kind: Kind) -> None:
        """Adds an order that is in the log."""
        self.orders += 1
        if self.file is None:
            return
        line = {
            "order_id": order_id,
            "user_id": user_id,
            "created_at": created_at,
            "kind": kind.name.lower(),
            "is_fraud": True,
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as lines:
            lines.write(orjson.dumps(line) + b"\n")
