"""A real shop's order lines as this shop's customers, products and orders. Pure: frames in, frames out.

What cannot be what it claims to be is set aside with the reason, line by line, and never mended in silence.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

LINE: Final = "line"
REASON: Final = "reason"


class Columns(BaseModel):
    """What the file calls them."""

    model_config = ConfigDict(extra="forbid")

    order: str
    product: str
    quantity: str
    placed_at: str
    unit_price: str
    product_name: str | None = None
    customer: str | None = None
    country: str | None = None


class Mapping(BaseModel):
    """How a file's lines are to be read."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=60, description="The shop's name; its ids follow from it.")
    columns: Columns
    time_format: str | None = Field(default=None, description="strptime's; without it, ISO 8601.")
    time_zone: str = Field(default="UTC", description="In which the file's times are told.")
    currency: str = Field(pattern="^[A-Z]{3}$")
    category: str = Field(default="Imported", description="Of all products: order lines do not tell.")
    cancelled_prefix: str | None = Field(default=None, description="Begins the numbers of cancelled orders.")
    not_products: str | None = Field(default=None, description="Regular expression of codes that are no products.")
    countries: dict[str, str] = Field(default_factory=dict, description="Names to ISO 3166-1 alpha-2.")
    country: str = Field(default="ZZ", pattern="^[A-Z]{2}$", description="Of all orders, if the file does not tell.")


class ImportRefused(Exception):
    """The file or its mapping cannot be read; says why."""


@dataclass(frozen=True)
class Imported:
    """What a file was made into. Money is minor units, times are aware UTC.

    ``lines``: line, order, product, name, quantity, cents. ``orders``: order, customer, is_guest, country, placed_at,
    is_cancelled, cents. ``customers``: customer, is_guest, country, first_at. ``products``: product, name, cents,
    first_at. ``quarantine``: the file's own columns, its line number and the reason.
    """

    mapping: Mapping
    read: int
    lines: pl.DataFrame
    orders: pl.DataFrame
    customers: pl.DataFrame
    products: pl.DataFrame
    quarantine: pl.DataFrame
    repeated: int

    @property
    def begins(self) -> dt.datetime:
        """When the first order was placed."""
        return cast(dt.datetime, self.orders["placed_at"].min())

    @property
    def ends(self) -> dt.datetime:
        """When the last order was placed."""
        return cast(dt.datetime, self.orders["placed_at"].max())

    @property
    def revenue(self) -> int:
        """What the orders that were not cancelled came to."""
        return int(self.orders.filter(~pl.col("is_cancelled"))["cents"].sum())


def read_mapping(file: Path) -> Mapping:
    """The mapping in a YAML file.

    Raises:
        ImportRefused: if there is none, or it makes no sense.
    """
    try:
        return Mapping.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'mapping'}: {e['msg']}" for e in error.errors())
        raise ImportRefused(f"{file}: {said}") from None
    except (OSError, yaml.YAMLError) as error:
        raise ImportRefused(f"{file}: {error}") from None


def read_lines(file: Path, mapping: Mapping) -> pl.DataFrame:
    """The file's lines as texts, numbered as in the file (the heading is line 1).

    Raises:
        ImportRefused: if it cannot be read, or lacks a column.
    """
    try:
        if file.suffix == ".parquet":
            frame = pl.read_parquet(file).select(pl.all().cast(pl.String))
        else:
            frame = pl.read_csv(file, infer_schema_length=0)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ImportRefused(f"{file}: {error}") from None
    wanted = [name for name in mapping.columns.model_dump().values() if name is not None]
    if missing := [name for name in wanted if name not in frame.columns]:
        raise ImportRefused(f"{file} has no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    return frame.with_row_index(LINE, offset=2)


def understand(raw: pl.DataFrame, mapping: Mapping) -> Imported:
    """Makes customers, products, orders and items of lines."""
    judged = _judged(raw, mapping)
    good = judged.filter(pl.col(REASON).is_null())
    kept = raw.join(judged.select(LINE, REASON), on=LINE, maintain_order="left")
    lines = good.select(LINE, "order", "product", "name", "quantity", "cents")
    orders = (
        good.group_by("order")
        .agg(
            pl.first("customer"),
            pl.first("is_guest"),
            pl.first("country"),
            pl.min("placed_at"),
            pl.first("is_cancelled"),
            (pl.col("quantity") * pl.col("cents")).sum().alias("cents"),
        )
        .sort("placed_at", "order")
    )
    customers = (
        orders.group_by("customer")
        .agg(
            pl.first("is_guest"),
            pl.col("country").mode().sort().first(),
            pl.min("placed_at").alias("first_at"),
        )
        .sort("first_at", "customer")
    )
    products = (
        good.sort("placed_at", LINE)
        .group_by("product")
        .agg(
            pl.col("name").drop_nulls().mode().sort().first(),
            pl.last("cents"),
            pl.min("placed_at").alias("first_at"),
        )
        .with_columns(pl.col("name").fill_null(pl.col("product")))
        .sort("first_at", "product")
    )
    same = [name for name in raw.columns if name != LINE]
    return Imported(
        mapping=mapping,
        read=raw.height,
        lines=lines.sort(LINE),
        orders=orders,
        customers=customers,
        products=products,
        quarantine=kept.filter(pl.col(REASON).is_not_null()).sort(LINE),
        repeated=int(raw.join(good.select(LINE), on=LINE).select(same).is_duplicated().sum()),
    )


def _judged(raw: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """Every line understood as far as possible, with the first reason against it."""
    names = mapping.columns
    parsed = raw.select(
        LINE,
        _text(names.order).alias("order"),
        _text(names.product).str.to_uppercase().alias("product"),
        _text(names.product_name).alias("name"),
        _text(names.quantity).cast(pl.Float64, strict=False).alias("units"),
        _text(names.unit_price).cast(pl.Float64, strict=False).alias("price"),
        _moment(names.placed_at, mapping).alias("placed_at"),
        _text(names.customer).str.replace(r"\.0$", "").alias("known_customer"),
        _country(mapping).alias("country"),
    ).with_columns(
        _starts(mapping.cancelled_prefix).alias("is_cancelled"),
        (pl.col("price") * 100).round().cast(pl.Int64, strict=False).alias("cents"),
        pl.col("known_customer").is_null().alias("is_guest"),
    )
    wrong = pl.coalesce(
        _if(pl.col("order").is_null(), "no order number"),
        _if(pl.col("product").is_null(), "no product code"),
        _if(_matches(mapping.not_products), "code is no product"),
        _if(pl.col("placed_at").is_null(), "no readable time"),
        _if(pl.col("units").is_null() | (pl.col("units") != pl.col("units").round()), "quantity is no whole number"),
        _if(pl.col("units") == 0, "quantity of zero"),
        _if((pl.col("units") < 0) & ~pl.col("is_cancelled"), "negative quantity in an order that is not cancelled"),
        _if((pl.col("units") > 0) & pl.col("is_cancelled"), "positive quantity in a cancelled order"),
        _if(pl.col("price").is_null(), "price is no number"),
        _if(pl.col("price") <= 0, "price is not above zero"),
        _if((pl.col("price") * 100 - pl.col("cents")).abs() > 1e-6, "price has a fraction of the smallest coin"),
        _if(pl.col("country").is_null(), "country is not in the mapping"),
    )
    one = pl.col("known_customer").n_unique().over("order") > 1
    somewhere = pl.col("country").n_unique().over("order") > 1
    return (
        parsed.with_columns(wrong.alias(REASON))
        .with_columns(
            pl.coalesce(
                pl.col(REASON),
                _if(one, "order of several customers"),
                _if(somewhere, "order to several countries"),
            ).alias(REASON)
        )
        .with_columns(
            pl.col("units").abs().cast(pl.Int64, strict=False).alias("quantity"),
            pl.coalesce(pl.col("known_customer"), pl.concat_str(pl.lit("guest of "), "order")).alias("customer"),
        )
    )


def _text(name: str | None) -> pl.Expr:
    """A column without the spaces around it; null if it is empty or there is none."""
    if name is None:
        return pl.lit(None, dtype=pl.String)
    stripped = pl.col(name).str.strip_chars()
    return pl.when(stripped == "").then(None).otherwise(stripped)


def _moment(name: str, mapping: Mapping) -> pl.Expr:
    told = _text(name).str.to_datetime(mapping.time_format, strict=False, time_unit="ms")
    local = told.dt.replace_time_zone(mapping.time_zone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC")


def _country(mapping: Mapping) -> pl.Expr:
    if mapping.columns.country is None:
        return pl.lit(mapping.country)
    return _text(mapping.columns.country).replace_strict(mapping.countries, default=None, return_dtype=pl.String)


def _starts(prefix: str | None) -> pl.Expr:
    return pl.lit(False) if prefix is None else pl.col("order").str.starts_with(prefix).fill_null(False)


def _matches(pattern: str | None) -> pl.Expr:
    return pl.lit(False) if pattern is None else pl.col("product").str.contains(pattern).fill_null(False)


def _if(condition: pl.Expr, reason: str) -> pl.Expr:
    return pl.when(condition).then(pl.lit(reason)).otherwise(None)


def report(imported: Imported) -> list[tuple[str, Any]]:
    """What was made of what."""
    orders, customers = imported.orders, imported.customers
    cancelled = orders.filter(pl.col("is_cancelled"))
    reasons = imported.quarantine[REASON].value_counts().sort("count", REASON, descending=[True, False])
    return [
        ("lines in the file", imported.read),
        ("lines that became items", imported.lines.height),
        ("of these, equal to another line (kept)", imported.repeated),
        ("lines set aside", imported.quarantine.height),
        *((f"  {reason}", count) for reason, count in reasons.iter_rows()),
        ("orders", orders.height),
        ("of these, cancelled", cancelled.height),
        ("customers", customers.filter(~pl.col("is_guest")).height),
        ("guests, one for each of their orders", customers.filter(pl.col("is_guest")).height),
        ("products", imported.products.height),
        ("countries", orders["country"].n_unique()),
        (f"revenue, {imported.mapping.currency}", imported.revenue / 100),
        (f"cancelled, {imported.mapping.currency}", int(cancelled["cents"].sum()) / 100),
    ]
