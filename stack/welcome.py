"""Where the running shop is, and how to sign in."""

from rich.table import Table

from stack.definitions import GATEWAY, PROCESSES
from stack.environment import ADMIN_EMAIL, DEMO_EMAIL, ensure_secrets
from stack.instance import Instance


def welcome(instance: Instance) -> Table:
    """The URLs and logins that `surge up` closes with."""
    secret = ensure_secrets(instance)
    shop = f"http://127.0.0.1:{instance.port(PROCESSES[GATEWAY].port)}"
    mail = f"http://127.0.0.1:{instance.port(PROCESSES['mailsink'].port)}"
    docs = f"http://127.0.0.1:{instance.port(PROCESSES['docs'].port)}"
    table = Table.grid(padding=(0, 2))
    for what, where in (
        ("API", f"{shop}/docs"),
        ("emails", mail),
        *((("data docs", docs),) if instance.platform else ()),
        ("customer", f"{DEMO_EMAIL}  {secret['SURGE_DEMO_PASSWORD']}"),
        ("admin", f"{ADMIN_EMAIL}  {secret['SURGE_ADMIN_PASSWORD']}"),
        ("next", "surge status · surge audit · surge logs gateway -f · surge down"),
    ):
        table.add_row(what, where)
    return table
