"""What products are called and how the shop describes them: brand, material, colour, use, and merits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from seed.taste import GROUPS
from seed.words import BRANDS, CATEGORIES, QUALITIES


@dataclass(frozen=True, slots=True)
class Description:
    """A product in words; SKU and name are unique."""

    sku: str
    name: str
    description: str


class _Vocabulary(NamedTuple):
    """What the products of a room of the shop are made of, look like, are for, and can do."""

    materials: tuple[str, ...]
    colours: tuple[str, ...]
    uses: tuple[str, ...]
    features: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


_COLOURS: Final = _words(
    "Black, White, Slate Grey, Navy Blue, Forest Green, Brick Red, Sand, Charcoal, Sky Blue, Mustard, Rose, Burgundy, "
    "Ivory, Teal, Olive, Lavender, Copper, Turquoise"
)

_ROOMS: Final[dict[str, _Vocabulary]] = {
    "electronics": _Vocabulary(
        _words("Aluminium, Matte Polycarbonate, Recycled Plastic, Brushed Steel, Carbon Composite, Silicone"),
        _words("Black, White, Graphite, Silver, Midnight Blue, Rose Gold, Forest Green, Red"),
        _words("the daily commute, a home office, long flights, gaming nights, a small flat, video calls, the gym"),
        _words(
            "charges fully in under an hour, pairs in seconds and remembers three devices, runs all day on one charge, "
            "shrugs off splashes and dust, folds flat for a bag, keeps quiet under load, works without an account, "
            "comes with a two-year warranty"
        ),
    ),
    "kitchen": _Vocabulary(
        _words("Stainless Steel, Cast Iron, Beech Wood, Stoneware, Borosilicate Glass, Ceramic, Bamboo, Enamel"),
        _COLOURS,
        _words("weeknight dinners, Sunday baking, small kitchens, outdoor meals, a first flat, large families, gifts"),
        _words(
            "goes from oven to table, is safe in the dishwasher, heats evenly on every hob, nests to save room, "
            "keeps its edge for years, stays cool at the handle, needs no seasoning, pours without a drip"
        ),
    ),
    "home": _Vocabulary(
        _words("Linen, Organic Cotton, Oak, Walnut, Rattan, Velvet, Wool, Bamboo, Powder-Coated Steel"),
        _COLOURS,
        _words("a calm bedroom, a busy hallway, reading corners, guest rooms, small bathrooms, the nursery"),
        _words(
            "softens with every wash, goes together without tools, hides what should not be seen, holds more than it "
            "looks, wipes clean with a damp cloth, fits standard sizes, is dyed without harsh chemicals, stands steady"
        ),
    ),
    "diy": _Vocabulary(
        _words("Forged Steel, Chrome Vanadium, Galvanised Metal, Fibreglass, Reinforced Rubber, Ash Wood"),
        _words("Red, Blue, Green, Black, Orange, Yellow, Grey"),
        _words("weekend repairs, raised beds, balconies, the first workshop, long drives, tight corners, winter jobs"),
        _words(
            "sits well in either hand, survives a fall from a ladder, comes in its own case, is easy to read, "
            "resists rust, reaches where others do not, stores on a hook, has parts that can be replaced"
        ),
    ),
    "fashion": _Vocabulary(
        _words("Cotton, Merino, Linen, Denim, Vegetable-Tanned Leather, Recycled Nylon, Viscose, Cashmere, Suede"),
        _COLOURS,
        _words("summer evenings, the office, rainy days, weddings, long weekends, cold mornings, the beach"),
        _words(
            "keeps its shape after washing, has pockets where they are needed, is cut for an easy fit, layers well, "
            "breathes in the heat, dries overnight, is stitched to last, packs small"
        ),
    ),
    "beauty": _Vocabulary(
        _words("Aloe, Oat, Shea Butter, Green Tea, Rosehip, Sea Salt, Argan, Chamomile"),
        _words("Unscented, Citrus, Lavender, Rose, Cedar, Vanilla, Mint"),
        _words("dry skin, sensitive skin, sunny days, travel, long nights, after sport, every morning, fine hair"),
        _words(
            "sinks in at once, leaves no white film, is kind to sensitive skin, comes in a refillable bottle, lasts "
            "for months, is free of parabens, was not tested on animals, needs only a drop"
        ),
    ),
    "outdoors": _Vocabulary(
        _words("Ripstop Nylon, Merino, Neoprene, Aluminium, Natural Rubber, Fleece, Carbon, Waxed Canvas"),
        _words("Orange, Forest Green, Sky Blue, Black, Yellow, Red, Grey, Sand"),
        _words("multi-day hikes, wet weather, the first camping trip, winter mornings, open water, race days"),
        _words(
            "packs to the size of a bottle, keeps the rain out, is seen from afar at night, weighs next to nothing, "
            "dries by the fire, grips when wet, can be mended on the trail, sets up in a minute"
        ),
    ),
    "family": _Vocabulary(
        _words("Beech Wood, Organic Cotton, Food-Grade Silicone, Recycled Card, Felt, Natural Rubber, Plush"),
        _COLOURS,
        _words("rainy afternoons, first steps, family evenings, small hands, birthday parties, long car rides, naps"),
        _words(
            "is finished with water-based paint, washes at sixty degrees, has no small parts, plays in twenty minutes, "
            "grows with the child, makes no noise, packs into a bag, survives being thrown"
        ),
    ),
    "leisure": _Vocabulary(
        _words("Recycled Paper, Linen-Bound, Beech Wood, Brass, Canvas, Mahogany, Felt, Acid-Free Paper"),
        _COLOURS,
        _words("beginners, quiet evenings, the desk, train rides, gifts, students, a new hobby, the weekend"),
        _words(
            "lies flat when open, comes with a guide for beginners, fits into a coat pocket, does not bleed through, "
            "stays in tune, refills cheaply, passes as hand luggage, makes a good present"
        ),
    ),
}

_OWN: Final[dict[str, _Vocabulary]] = {
    "Pantry": _ROOMS["kitchen"]._replace(
        materials=_words("Organic, Stone-Milled, Cold-Pressed, Smoked, Wild, Sea Salt, Slow-Dried"),
        colours=_words("Mild, Sweet, Spicy, Dark, Golden, Unsweetened, Herbal"),
        features=_words(
            "comes from a single farm, keeps for a year, has nothing added, is packed in a tin, tastes of summer, "
            "is vegan, makes four servings"
        ),
    ),
    "Coffee & Tea": _ROOMS["kitchen"]._replace(
        materials=_words("Highland, Organic, Slow-Roasted, First-Flush, Single-Origin, Hand-Picked"),
        colours=_words("Dark, Medium, Light, Decaf, Floral, Spiced"),
        features=_words("is roasted to order, comes in a resealable bag, is traded fairly, stays fresh for months"),
    ),
    "Travel": _ROOMS["fashion"]._replace(
        materials=_words("Polycarbonate, Recycled Nylon, Leather, Waxed Canvas, Memory Foam, Aluminium"),
        features=_words(
            "passes as hand luggage, packs small, locks, rolls without a sound, weighs next to nothing, wipes clean, "
            "keeps papers flat, comes with a ten-year warranty"
        ),
    ),
    "Books": _ROOMS["leisure"]._replace(
        materials=_words("Illustrated, Pocket, Annotated, Hardback, Large-Print, Revised"),
        colours=_words("First Edition, Second Edition, Third Edition, Anniversary Edition, Travel Edition"),
        features=_words(
            "has an index that works, is printed on recycled paper, opens with a foreword by its editor, has maps"
        ),
    ),
}

_OPENINGS: Final = (
    "{article} in {colour}, made of {material} for {use}.",
    "Made for {use}: {an} {quality} {article} of {material} in {colour}.",
    "Our {quality} {article} in {colour} {material}, at its best for {use}.",
    "{brand}'s answer to {use}: {article} of {material}, {colour}.",
)


def _vocabulary(number: int) -> _Vocabulary:
    name = CATEGORIES[number].name
    group = next(group for group, numbers in GROUPS.items() if number in numbers)
    return _OWN.get(name, _ROOMS[group])


def described(categories: npt.NDArray[np.int64], generator: np.random.Generator) -> list[Description]:
    """A description of each product; ``categories`` are places in :data:`seed.words.CATEGORIES`."""
    count = len(categories)
    chances = generator.random((count, 9)).tolist()
    vocabularies = [_vocabulary(number) for number in range(len(CATEGORIES))]
    taken: dict[str, int] = {}
    result = []
    for n, (number, chance) in enumerate(zip(categories.tolist(), chances, strict=True)):
        category, words = CATEGORIES[number], vocabularies[number]
        article, brand, quality = (
            _one(category.articles, chance[0]),
            _one(BRANDS, chance[1]),
            _one(QUALITIES, chance[2]),
        )
        material, colour = _one(words.materials, chance[3]), _one(words.colours, chance[4])
        name = f"{brand} {quality} {material} {article}, {colour}"
        edition = taken[name] = taken.get(name, 0) + 1
        name = name if edition == 1 else f"{name} (No. {edition})"
        first, second = _two(words.features, chance[5], chance[6])
        opening = _one(_OPENINGS, chance[7]).format(
            article=article.lower(),
            colour=colour.lower(),
            material=material.lower(),
            use=_one(words.uses, chance[8]),
            quality=quality.lower(),
            an="an" if quality[0] in "AEIOU" else "a",
            brand=brand,
        )
        sku = f"{''.join(c for c in category.name.upper() if c.isalpha())[:4]}-{n + 1:06d}"
        result.append(Description(sku, name, f"{opening[0].upper()}{opening[1:]} It {first}, and {second}."))
    return result


def _one(words: Sequence[str], chance: float) -> str:
    return words[int(chance * len(words))]


def _two(words: Sequence[str], chance: float, other: float) -> tuple[str, str]:
    first = int(chance * len(words))
    second = (first + 1 + int(other * (len(words) - 1))) % len(words)
    return words[first], words[second]
