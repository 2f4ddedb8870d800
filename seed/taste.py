"""Who likes what, when, and how much the price matters: the structure that models are to find in the history."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seed.plan import WEEK_MS, Plan
from seed.words import CATEGORIES

Floats = npt.NDArray[np.float64]

GROUPS: Final = {
    "electronics": range(0, 10),
    "kitchen": range(10, 16),
    "home": range(16, 23),
    "diy": range(23, 26),
    "fashion": range(26, 33),
    "beauty": range(33, 36),
    "outdoors": range(36, 41),
    "family": range(41, 45),
    "leisure": range(45, 50),
}
"""The categories of each room of the shop, by their place in :data:`seed.words.CATEGORIES`."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A kind of customer: its part of all, how often it buys, what part of it stays away after a year, its taste."""

    name: str
    share: float
    appetite: float
    churn: float
    likes: dict[str, float]
    bargains: bool = False


SEGMENTS: Final = (
    Segment("gadgeteer", 0.18, 1.2, 0.25, {"electronics": 6.0, "leisure": 1.3}),
    Segment("homemaker", 0.22, 1.1, 0.15, {"kitchen": 4.0, "home": 4.0, "diy": 1.6}),
    Segment("parent", 0.17, 1.3, 0.20, {"family": 6.0, "home": 1.5, "fashion": 1.4}),
    Segment("outdoors", 0.13, 0.8, 0.25, {"outdoors": 7.0, "diy": 1.8}),
    Segment("stylish", 0.17, 1.0, 0.35, {"fashion": 5.0, "beauty": 5.0}),
    Segment("bargain hunter", 0.13, 0.7, 0.50, {"home": 1.5, "leisure": 1.5}, bargains=True),
)

FAVOURITE_SHARE: Final = 0.30
"""Lines that come from one of a customer's own two favourite categories, whatever the segment likes."""

COMPANION_SHARE: Final = 0.28
"""Further lines of an order that are companions of its first product."""

COMPANIONS: Final = (0.55, 0.30, 0.15)
"""How a product's three companions share that."""

_PEAKS: Final[dict[str, tuple[float, float]]] = {
    "Garden": (5, 0.85),
    "Water Sports": (7, 0.85),
    "Camping": (7, 0.75),
    "Cycling": (6, 0.60),
    "Winter Sports": (1, 0.95),
    "Toys": (12, 0.65),
    "Board Games": (12, 0.60),
    "Jewelry": (12, 0.45),
    "Watches": (12, 0.45),
    "Televisions & Video": (12, 0.40),
    "Gaming": (12, 0.40),
    "Home Decor": (12, 0.35),
    "Fitness": (1, 0.55),
    "Health": (1, 0.35),
    "Travel": (6, 0.55),
    "Office": (9, 0.50),
    "Bedding": (11, 0.30),
    "Bath": (4, 0.20),
    "Skin Care": (7, 0.25),
    "Kids' Clothing": (8, 0.40),
    "Tools": (5, 0.35),
    "Coffee & Tea": (12, 0.30),
    "Lighting": (11, 0.30),
}
"""The month in which a category is most wanted, and how far it swings around its year's mean."""

_WEEKEND: Final[dict[str, float]] = {
    **dict.fromkeys(("Board Games", "Toys", "Garden", "Tools", "Art & Crafts", "Camping"), 1.35),
    **dict.fromkeys(("Office", "Computer Accessories", "Networking"), 0.70),
}

_ELASTICITIES: Final[dict[str, float]] = {
    "electronics": 2.1,
    "kitchen": 1.3,
    "home": 1.5,
    "diy": 1.4,
    "fashion": 1.9,
    "beauty": 1.0,
    "outdoors": 1.6,
    "family": 1.1,
    "leisure": 1.7,
}


def elasticities() -> Floats:
    """By how many percent each category's products sell less when their price rises by one."""
    result = np.empty(len(CATEGORIES))
    for group, numbers in GROUPS.items():
        result[numbers.start : numbers.stop] = _ELASTICITIES[group]
    return result


def category_weights() -> Floats:
    """How often each category is bought from: what costs less is bought more often."""
    price = np.array([category.price for category in CATEGORIES])
    weights: Floats = (price / np.median(price)) ** -0.5
    return weights


def season(moment: dt.datetime) -> Floats:
    """How much each category is wanted at a moment of the year; 1 is its mean."""
    month = moment.month + moment.day / 31
    swing = np.ones(len(CATEGORIES))
    for n, category in enumerate(CATEGORIES):
        if category.name in _PEAKS:
            peak, strength = _PEAKS[category.name]
            swing[n] = 1 + strength * np.cos(2 * np.pi * (month - peak - 0.5) / 12)
    return swing


def weekend() -> Floats:
    """How much more each category is wanted on Saturdays and Sundays than on other days."""
    return np.array([_WEEKEND.get(category.name, 1.0) for category in CATEGORIES])


@dataclass(frozen=True)
class Tastes:
    """From which category a line comes: one cumulative table for each segment, week and kind of day."""

    flat: Floats
    weeks: int

    def draw(
        self,
        segment: npt.NDArray[np.int64],
        week: npt.NDArray[np.int64],
        is_weekend: npt.NDArray[np.bool_],
        chance: Floats,
    ) -> npt.NDArray[np.int64]:
        """The category of each line."""
        block = (segment * self.weeks + week) * 2 + is_weekend
        found: npt.NDArray[np.int64] = np.searchsorted(self.flat, block + chance * (1 - 1e-9), side="right")
        return found % len(CATEGORIES)


def tastes(plan: Plan) -> Tastes:
    """The tables of a plan's weeks."""
    count = len(CATEGORIES)
    likes = np.tile(category_weights(), (len(SEGMENTS), 1))
    for n, segment in enumerate(SEGMENTS):
        for group, weight in segment.likes.items():
            likes[n, GROUPS[group].start : GROUPS[group].stop] *= weight
    middle = [
        dt.datetime.fromtimestamp((plan.first_week_ms + (week + 0.5) * WEEK_MS) / 1000, dt.UTC)
        for week in range(plan.weeks)
    ]
    seasons = np.stack([season(moment) for moment in middle])
    days = np.stack([np.ones(count), weekend()])
    weights = likes[:, None, None, :] * seasons[None, :, None, :] * days[None, None, :, :]
    cumulative = np.cumsum(weights.reshape(-1, count), axis=1)
    cumulative /= cumulative[:, -1:]
    cumulative[:, -1] = 1.0
    return Tastes((np.arange(len(cumulative))[:, None] + cumulative).reshape(-1), plan.weeks)
