"""`surge seed`: fills the shop with demo data."""

import asyncio
from typing import Annotated, Final

import asyncpg
import typer
from rich.console import Console

from seed import demo as demo_data
from seed.settings import SeedSettings

app: Final = typer.Typer(
    help="Fill the shop with demo data.", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)


@app.callback()
def seed() -> None:
    """Fill the shop with demo data."""


@app.command()
def demo(
    customers: Annotated[int | None, typer.Option(min=1, help="Customers (default: 1,000).")] = None,
    products: Annotated[int | None, typer.Option(min=50, help="Products (default: 2,000).")] = None,
    orders: Annotated[int | None, typer.Option(min=0, help="Orders of the past year (default: 20,000).")] = None,
) -> None:
    """Customers, products, stock and a year of orders; a shop that has them stays as it is."""
    asked = {"demo_customers": customers, "demo_products": products, "demo_orders": orders}
    settings = SeedSettings(**{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]
    console = Console(highlight=False)
    try:
        with console.status("seeding") as status:
            seeded = asyncio.run(demo_data.ensure(settings, progress=lambda what: status.update(f"seeding: {what}")))
    except (OSError, asyncpg.PostgresError) as error:
        Console(stderr=True, highlight=False).print(f"✗ the shop could not be seeded: {error}")
        raise typer.Exit(1) from None
    console.print(f"{seeded} ({seeded.seconds:.1f} s)")
