"""What products are called and how the shop describes them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seed.words import BRANDS, CATEGORIES, QUALITIES


@dataclass(frozen=True, slots=True)
class Description:
    """A product in words; SKU and name are unique."""

    sku: str
    name: str
    description: str


def described(categories: npt.NDArray[np.int64], generator: np.random.Generator) -> list[Description]:
    """A description of each product; ``categories`` are places in :data:`seed.words.CATEGORIES`."""
    count = len(categories)
    brands = generator.integers(0, len(BRANDS), count)
    qualities = generator.integers(0, len(QUALITIES), count)
    articles = generator.random(count)
    taken: dict[str, int] = {}
    result = []
    for n, number in enumerate(categories.tolist()):
        category = CATEGORIES[number]
        article = category.articles[int(articles[n] * len(category.articles))]
        name = f"{BRANDS[brands[n]]} {QUALITIES[qualities[n]]} {article}"
        edition = taken[name] = taken.get(name, 0) + 1
        name = name if edition == 1 else f"{name} {edition}"
        sku = f"{''.join(c for c in category.name.upper() if c.isalpha())[:4]}-{n + 1:06d}"
        result.append(Description(sku, name, f"{name}, from our {category.name.lower()} range."))
    return result
