"""Order lines are judged one by one, and what is left adds up."""

from pathlib import Path

import polars as pl
import pytest

from seed.importing import REASON, Imported, ImportRefused, Mapping, read_lines, read_mapping, report, understand
from tests import order_lines

MAPPING = Path(__file__).parents[3] / "seed" / "mappings" / "online_retail.yml"


@pytest.fixture(scope="module")
def mapping() -> Mapping:
    return read_mapping(MAPPING)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("lines") / "lines.csv"
    order_lines.write(made)
    return made


@pytest.fixture(scope="module")
def imported(file: Path, mapping: Mapping) -> Imported:
    return understand(read_lines(file, mapping), mapping)


def test_every_kind_of_dirt_is_set_aside_with_its_reason(imported: Imported) -> None:
    reasons = dict(imported.quarantine[REASON].value_counts().iter_rows())
    assert reasons == {
        "code is no product": 2,
        "negative quantity in an order that is not cancelled": 1,
        "quantity of zero": 1,
        "quantity is no whole number": 2,
        "price is not above zero": 2,
        "price is no number": 1,
        "price has a fraction of the smallest coin": 1,
        "no readable time": 1,
        "country is not in the mapping": 1,
        "no order number": 1,
        "no product code": 1,
        "positive quantity in a cancelled order": 1,
        "order of several customers": 2,
        "order to several countries": 2,
    }
    assert imported.quarantine.columns == ["line", *order_lines.HEADING, "reason"]


def test_every_line_is_an_item_or_set_aside(imported: Imported, file: Path) -> None:
    lines = file.read_text().count("\n") - 1
    assert imported.read == lines == imported.lines.height + imported.quarantine.height
    assert not set(imported.lines["line"]) & set(imported.quarantine["line"])
    first = imported.quarantine.row(0, named=True)
    assert file.read_text().splitlines()[first["line"] - 1].split(",")[0] == first["InvoiceNo"]


def test_totals_are_those_of_the_file(imported: Imported, file: Path, mapping: Mapping) -> None:
    expected = order_lines.add_up(file, mapping.countries)
    assert imported.orders.height == expected.orders
    assert int(imported.orders["is_cancelled"].sum()) == expected.cancelled > 0
    assert imported.customers.height == expected.customers
    assert int(imported.customers["is_guest"].sum()) == expected.guests > 0
    assert imported.revenue == int(expected.revenue * 100)


def test_products_are_one_whatever_the_case_and_named_as_most_often(imported: Imported) -> None:
    codes = imported.products["product"].to_list()
    assert len(codes) == len({code.upper() for code in codes}) == imported.lines["product"].n_unique()
    named = set(imported.lines.filter(pl.col("name").is_not_null())["product"])
    for code, name in imported.products.select("product", "name").iter_rows():
        assert name == (f"LANTERN {code[:5]}" if code in named else code)
    assert named


def test_times_are_told_in_the_shops_zone(imported: Imported) -> None:
    summer = imported.orders.filter(pl.col("placed_at").dt.month() == 7)["placed_at"]
    assert set(summer.dt.minute()) == {15}
    assert summer.dt.hour().min() == 7


def test_the_report_says_what_became_of_what(imported: Imported) -> None:
    told = dict(report(imported))
    assert told["lines in the file"] == told["lines that became items"] + told["lines set aside"]
    assert told["revenue, GBP"] == imported.revenue / 100
    assert told["  code is no product"] == 2


def test_parquet_is_read_like_csv(imported: Imported, file: Path, mapping: Mapping, tmp_path: Path) -> None:
    copy = tmp_path / "lines.parquet"
    pl.read_csv(file, infer_schema_length=0).write_parquet(copy)
    assert understand(read_lines(copy, mapping), mapping).orders.equals(imported.orders)


def test_what_cannot_be_read_is_refused_in_words(file: Path, mapping: Mapping, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="No such file"):
        read_mapping(tmp_path / "nowhere.yml")
    (tmp_path / "bad.yml").write_text("name: x\ncolumns: {order: a}\ncurrency: pounds\n")
    with pytest.raises(ImportRefused, match=r"columns\.product: .*currency: "):
        read_mapping(tmp_path / "bad.yml")
    other = mapping.model_copy(update={"columns": mapping.columns.model_copy(update={"order": "Bestellung"})})
    with pytest.raises(ImportRefused, match="has no column Bestellung"):
        read_lines(file, other)
    with pytest.raises(ImportRefused, match="nothing"):
        read_lines(tmp_path / "nothing.csv", mapping)
