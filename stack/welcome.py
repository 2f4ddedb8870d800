"""Where the running shop is, and how to sign in."""

from typing import Final

from rich.table import Table

from stack.definitions import DAGSTER_WEB, GATEWAY
from stack.environment import ADMIN_EMAIL, DEMO_EMAIL, ensure_secrets
from stack.instance import Instance

PAGES: Final = {GATEWAY: "API", "mailsink": "emails", DAGSTER_WEB: "Dagster", "docs": "data docs"}


def welcome(instance: Instance) -> Table:
    """The URLs and logins that `surge up` closes with."""
    secret = ensure_secrets(instance)
    processes = instance.processes
    table = Table.grid(padding=(0, 2))
    for what, where in (
        *((title, instance.page(processes[name])) for name, title in PAGES.items() if name in processes),
        ("customer", f"{DEMO_EMAIL}  {secret['SURGE_DEMO_PASSWORD']}"),
        ("admin", f"{ADMIN_EMAIL}  {secret['SURGE_ADMIN_PASSWORD']}"),
        ("next", "surge status · surge audit · surge logs gateway -f · surge down"),
    ):
        table.add_row(what, where)
    return table
