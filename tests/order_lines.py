"""Order lines of a made-up shop, as dirty as real ones; and what any such file must add up to, counted by hand."""

import csv
import gzip
import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

HEADING = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
NOT_PRODUCTS = re.compile(
    r"(POST|DOT|M|C2|D|S|B|PADS|CRUK|AMAZONFEE|BANK CHARGES|GIFT.*|DCGS.*|SP1002|TEST.*)", re.IGNORECASE
)


def write(file: Path, *, orders: int = 120, seed: int = 3, first_code: int = 21_700) -> None:
    """A file with every kind of dirt that the real one has, and some more."""
    chance = random.Random(seed)
    rows: list[tuple[object, ...]] = []
    for number in range(orders):
        cancelled = chance.random() < 0.15
        order = f"{'C' if cancelled else ''}{536_000 + number}"
        at = f"20{11 + number // 100}-{1 + number % 12:02d}-{1 + number % 28:02d} {8 + number % 9:02d}:15:00"
        customer = f"{17_000 + number % 23}.0" if chance.random() < 0.75 else ""
        country = chance.choice(["United Kingdom", "United Kingdom", "France", "EIRE", "Unspecified"])
        for _ in range(chance.randint(1, 6)):
            code = f"{first_code + chance.randint(0, 40)}{chance.choice(['', 'A', 'a'])}"
            units = chance.randint(1, 24) * (-1 if cancelled else 1)
            price = f"{chance.randint(10, 900) / 100:.2f}"
            rows.append((order, code, chance.choice([f" LANTERN {code[:5]}", ""]), units, at, price, customer, country))
        rows.append(rows[-1])
    good = ("536900", "22000", "LAMP", 1, "2011-05-05 10:00:00", "1.00", "17001.0", "France")

    def spoilt(**changes: object) -> tuple[object, ...]:
        return tuple({**dict(zip(HEADING, good, strict=True)), **changes}.values())

    rows += [
        spoilt(StockCode="POST"),
        spoilt(StockCode="m"),
        spoilt(Quantity=-4),
        spoilt(Quantity=0),
        spoilt(Quantity="many"),
        spoilt(Quantity="1.5"),
        spoilt(UnitPrice="0.0"),
        spoilt(UnitPrice="-11.50"),
        spoilt(UnitPrice="?"),
        spoilt(UnitPrice="0.001"),
        spoilt(InvoiceDate="yesterday"),
        spoilt(Country="Atlantis"),
        spoilt(InvoiceNo=""),
        spoilt(StockCode=" "),
        spoilt(InvoiceNo="C536901"),
        spoilt(InvoiceNo="536902"),
        spoilt(InvoiceNo="536902", CustomerID="17002.0"),
        spoilt(InvoiceNo="536903"),
        spoilt(InvoiceNo="536903", Country="EIRE"),
    ]
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(HEADING)
        writer.writerows(rows)


@dataclass
class Totals:
    """What a file comes to."""

    orders: int = 0
    cancelled: int = 0
    customers: int = 0
    guests: int = 0
    revenue: Decimal = Decimal(0)
    by_month: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    by_country: dict[str, tuple[int, Decimal]] = field(default_factory=dict)


def add_up(file: Path, countries: dict[str, str]) -> Totals:
    """The totals of the lines that hold water, line by line, without a data frame."""
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as source:
        rows = [row for row in csv.DictReader(source) if _holds(row, countries)]
    of_order: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        of_order[row["InvoiceNo"].strip()].append(row)
    totals = Totals()
    months: defaultdict[str, list[Decimal]] = defaultdict(list)
    lands: defaultdict[str, list[Decimal]] = defaultdict(list)
    customers = Counter[str]()
    for number, lines in of_order.items():
        if len({row["CustomerID"] for row in lines}) > 1 or len({row["Country"] for row in lines}) > 1:
            continue
        value = sum((abs(int(row["Quantity"])) * Decimal(row["UnitPrice"]) for row in lines), Decimal(0))
        totals.orders += 1
        customers[lines[0]["CustomerID"] or f"guest of {number}"] += 1
        totals.guests += not lines[0]["CustomerID"]
        if number.startswith("C"):
            totals.cancelled += 1
            continue
        totals.revenue += value
        months[min(row["InvoiceDate"] for row in lines)[:7]].append(value)
        lands[countries[lines[0]["Country"]]].append(value)
    totals.customers = len(customers)
    totals.by_month = {month: (len(values), sum(values, Decimal(0))) for month, values in months.items()}
    totals.by_country = {land: (len(values), sum(values, Decimal(0))) for land, values in lands.items()}
    return totals


def _holds(row: dict[str, str], countries: dict[str, str]) -> bool:
    code, order = row["StockCode"].strip(), row["InvoiceNo"].strip()
    try:
        units, price = int(row["Quantity"]), Decimal(row["UnitPrice"])
    except (ValueError, InvalidOperation):
        return False
    return (
        bool(code)
        and bool(order)
        and NOT_PRODUCTS.fullmatch(code) is None
        and row["Country"] in countries
        and re.match(r"\d{4}-\d\d-\d\d ", row["InvoiceDate"]) is not None
        and units != 0
        and (units < 0) == order.startswith("C")
        and price > 0
        and price == price.quantize(Decimal("0.01"))
    )
