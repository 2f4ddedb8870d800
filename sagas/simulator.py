"""A deterministic simulator of the whole saga: a world (:mod:`sagas.world`) that misbehaves by a seed.

One run places a few orders on scarce stock and then takes random steps: a consumer gets a batch, and may crash before
its commit, after it, in the middle of sending, or before its offsets are stored; messages are delivered twice and out
of order; the provider answers late, or not at all after having charged; customers cancel; carriers refuse; time leaps.
Then the faults stop, everything comes to rest, and the books are checked. The same seed takes the same steps.

Every third seed is a flash sale of a unit or two to more customers, one of whom tries twice.
"""

import datetime as dt
import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from contracts.envelope import Envelope
from contracts.orders import SaleTerms
from oltp.inventory import domain as inventory
from oltp.payments import domain as payments
from oltp.shipping.carriers import CarrierNetwork
from sagas.engine import Saga
from sagas.order import SAGA
from sagas.world import START, Crash, Manner, Moment, Problem, Provider, World, checkout

MOST_STEPS_TO_REST: Final = 5_000


class BooksBroken(AssertionError):
    """A run ended, or came to a moment, in which the books do not hold. Carries the seed that shows it again."""

    def __init__(self, seed: int, problem: str, trace: Sequence[str]) -> None:
        super().__init__(f"seed {seed}: {problem}  (again: surge saga simulate --seed {seed} --trace)")
        self.seed = seed
        self.problem = problem
        self.trace = tuple(trace)

    def __reduce__(self) -> tuple[type["BooksBroken"], tuple[int, str, tuple[str, ...]]]:
        return BooksBroken, (self.seed, self.problem, self.trace)


@dataclass(frozen=True, slots=True)
class Odds:
    """How likely each misfortune is, per step or message."""

    crash: float = 0.25
    duplicate: float = 0.08
    reorder: float = 0.10
    provider_silent: float = 0.20
    provider_declines: float = 0.12
    cancel: float = 0.012
    leap: float = 0.02

    @classmethod
    def none(cls) -> "Odds":
        """A calm world."""
        return cls(0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Result:
    """A run that held: what it did, and how its orders ended."""

    seed: int
    steps: int
    crashes: int
    messages: int
    statuses: tuple[str, ...]


class Run:
    """One seeded run.

    Args:
        seed: fixes every choice.
        saga: the table to run; tests give a broken one to see that the books notice.
        orders: how many orders are placed, on stock that does not suffice for all.
        buyers: how many more are placed in a flash sale; by default in every third seed.
        steps: how many steps are taken before the faults stop.
    """

    def __init__(
        self,
        seed: int,
        *,
        saga: Saga = SAGA,
        orders: int | None = None,
        buyers: int | None = None,
        steps: int = 90,
        odds: Odds | None = None,
    ) -> None:
        self.seed = seed
        self._rng = random.Random(seed)
        self._odds = odds or Odds()
        self._steps = steps
        self.trace: list[str] = []
        self.crashes = 0
        self.taken = 0
        self._dies_at: Moment | None = None
        self._products = [self._id() for _ in range(2)]
        warehouses = [inventory.Warehouse(self._id(), "NO", 60.0 + n, 10.0, n) for n in range(2)]
        stock = {(p, w.warehouse_id): self._rng.randint(0, 5) for p in self._products for w in warehouses}
        buyers = buyers if buyers is not None else 5 if seed % 3 == 0 else 0
        orders = orders if orders is not None else 1 if buyers else 3
        sale = self._sale() if buyers else None
        if sale is not None:
            stock |= {(sale.product_id, w.warehouse_id): self._rng.randint(0, 2) for w in warehouses}
        self._world = World(
            saga,
            warehouses=warehouses,
            stock=stock,
            provider=Provider(self._manner),
            carriers=CarrierNetwork(seed=seed, refusal_rate=0.3, delay_rate=0.3),
            fate=self._fate,
            note=self._note,
            sale=sale,
        )
        self._waiting = [self._checkout() for _ in range(orders)]
        if sale is not None:
            customers = [self._id() for _ in range(buyers - 1)]
            customers.append(customers[0])
            self._waiting += [self._purchase(customer, sale) for customer in customers]
            self._rng.shuffle(self._waiting)

    def _id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _note(self, text: str) -> None:
        seconds = (self._world.now - START).total_seconds()
        self.trace.append(f"{self.taken:4} {seconds:8.1f}s  {text}")

    def _checkout(self) -> Envelope:
        bought = self._rng.sample(self._products, self._rng.randint(1, 2))
        return checkout(self._id(), self._id(), self._id(), {p: self._rng.randint(1, 2) for p in bought})

    def _sale(self) -> SaleTerms:
        return SaleTerms(
            sale_id=self._id(),
            product_id=self._id(),
            units=self._rng.randint(1, 2),
            units_per_customer=1,
            ends_at=START + dt.timedelta(days=30),
        )

    def _purchase(self, customer_id: str, sale: SaleTerms) -> Envelope:
        others = {p: self._rng.randint(1, 2) for p in self._rng.sample(self._products, self._rng.randint(0, 1))}
        return checkout(self._id(), customer_id, self._id(), {sale.product_id: 1, **others}, sale)

    def _manner(self, action: payments.Action) -> Manner:
        rng, silent = self._rng, self._odds.provider_silent
        return Manner(
            does=rng.random() >= silent / 2,
            answers=rng.random() >= silent / 2,
            declines=rng.choice(["insufficient_funds", "processing_error"])
            if rng.random() < self._odds.provider_declines
            else "",
        )

    def _fate(self, who: str, moment: Moment, messages: Sequence[Envelope]) -> None:
        if moment is Moment.ANSWERED:
            if self._rng.random() < self._odds.crash / 5:
                raise Crash
        elif moment is self._dies_at:
            raise Crash(messages[: self._rng.randint(0, len(messages))] if moment is Moment.SENDING else ())

    def run(self) -> Result:
        """Takes the run's steps, lets it come to rest, and checks the books.

        Raises:
            BooksBroken: if they do not hold.
        """
        try:
            for _ in range(self._steps):
                self._step()
                self._world.check_always()
            self._rest()
            self._world.check_at_rest()
        except Problem as problem:
            raise BooksBroken(self.seed, str(problem), self.trace) from problem
        statuses = tuple(order.instance.status for order in self._world.tables.orders.values())
        messages = sum(map(len, self._world.log.partitions.values()))
        return Result(self.seed, self.taken, self.crashes, messages, statuses)

    def _step(self) -> None:
        self.taken += 1
        self._world.now += dt.timedelta(seconds=self._rng.random() * 2)
        dice = self._rng.random()
        if dice < 0.08 and self._waiting:
            self._place()
        elif dice < 0.08 + self._odds.cancel and self._world.placed:
            self._world.cancel(self._rng.choice(self._world.placed).subject, self._id())
        elif dice < 0.24:
            self._tick(self._rng.choice(self._clocks()))
        elif dice < 0.24 + self._odds.leap / 10 and self._world.allotment is not None:
            self._world.end_sale()
        elif dice < 0.24 + self._odds.leap:
            self._world.now += dt.timedelta(seconds=self._rng.choice([70, 130, 700]))
            self._note("time leaps")
        elif dice < 0.31 and self._rng.random() < self._odds.duplicate * 4:
            self._duplicate()
        elif dice < 0.38 and self._rng.random() < self._odds.reorder * 4:
            self._reorder()
        else:
            self._deliver()

    def _place(self) -> None:
        self._world.place(self._waiting.pop(), times=2 if self._rng.random() < self._odds.duplicate else 1)

    def _duplicate(self) -> None:
        place = self._rng.choice(list(self._world.log.partitions) or [("", "")])
        if messages := self._world.log.partitions.get(place):
            again = self._rng.choice(messages)
            self._note(f"{again.type} of {again.subject[:4]} comes again")
            messages.append(again)

    def _reorder(self) -> None:
        log, allotment = self._world.log, self._world.allotment
        # what lies under one key for its order's sake stays in it: that is the broker's promise
        places = [p for p in log.partitions if allotment is None or p[1] != allotment.terms.product_id]
        place = self._rng.choice(places or [("", "")])
        messages = log.partitions.get(place, [])
        read = max((n for (_, *where), n in log.committed.items() if tuple(where) == place), default=0)
        if len(messages) - read >= 2:
            unread = messages[read:]
            self._rng.shuffle(unread)
            messages[read:] = unread
            self._note(f"{place[0]} of {place[1][:4]} is shuffled")

    def _deliver(self) -> bool:
        """One consumer takes one batch. False if nobody has anything to read."""
        world, rng = self._world, self._rng
        busy = [(group, places) for group in world.consumers if (places := world.unread(group))]
        if not busy:
            return False
        group, places = rng.choice(busy)
        rng.shuffle(places)
        ends = {
            place: rng.randint(world.log.position(group, place) + 1, len(world.log.partitions[place]))
            for place in places[: rng.randint(1, len(places))]
        }
        self._perhaps_dying(lambda: world.deliver(group, ends))
        return True

    def _clocks(self) -> Sequence[Callable[[], None]]:
        world = self._world
        return world.saga_clock, world.hold_clock, world.carrier_clock, world.payment_clock, world.stream

    def _tick(self, clock: Callable[[], None]) -> None:
        self._perhaps_dying(clock)

    def _perhaps_dying(self, act: Callable[[], object]) -> None:
        if self._rng.random() < self._odds.crash:
            self._dies_at = self._rng.choice([m for m in Moment if m is not Moment.ANSWERED])
        try:
            act()
        except Crash:
            self.crashes += 1
        self._dies_at = None

    def _rest(self) -> None:
        """No more faults: everything is delivered and every clock ticks until nothing is left to do."""
        self._odds = replace(Odds.none(), provider_declines=self._odds.provider_declines)
        while self._waiting:
            self._place()
        for _ in range(MOST_STEPS_TO_REST):
            self.taken += 1
            if self._deliver():
                continue
            ahead = self._world.ahead()
            if not ahead:
                return
            self._world.now = max(self._world.now, min(ahead.values()))
            for clock in self._clocks():
                self._tick(clock)
        raise Problem("does not come to rest")


def simulate(
    seeds: Iterable[int], *, saga: Saga = SAGA, progress: Callable[[Result], None] | None = None
) -> list[Result]:
    """Runs every seed.

    Raises:
        BooksBroken: at the first seed whose books do not hold.
    """
    results = []
    for seed in seeds:
        result = Run(seed, saga=saga).run()
        if progress is not None:
            progress(result)
        results.append(result)
    return results
