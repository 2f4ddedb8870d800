"""The settings of every process as ``SURGE_*`` variables, and the secrets behind them.

The same function renders the native environment and is what ``compose.yml`` is compared with: only the hosts, the
secrets' values and the address to listen on differ.
"""

import os
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from stack.definitions import (
    CONNECT,
    DAGSTER_CODE,
    DAGSTER_WEB,
    DOCSTORE,
    GATEWAY,
    KAFKA,
    POSTGRES,
    PROCESSES,
    REDIS,
    SINK,
    WAREHOUSE,
    Process,
)
from stack.instance import REPLICAS, Instance
from stack.variables import read_variables, write_private

_MADE: Final[Mapping[str, Callable[[], str]]] = {
    "SURGE_POSTGRES_PASSWORD": lambda: secrets.token_urlsafe(24),
    "SURGE_DATABASE_PASSWORD": lambda: secrets.token_urlsafe(24),
    "SURGE_DEBEZIUM_PASSWORD": lambda: secrets.token_urlsafe(24),
    "SURGE_REDIS_PASSWORD": lambda: secrets.token_urlsafe(24),
    "SURGE_JWT_SECRET": lambda: secrets.token_urlsafe(48),
    "SURGE_STRIPE_API_KEY": lambda: f"sk_test_{secrets.token_hex(16)}",
    "SURGE_STRIPE_WEBHOOK_SECRET": lambda: f"whsec_{secrets.token_hex(24)}",
    "SURGE_PAYPAL_CLIENT_ID": lambda: f"surge-{secrets.token_hex(8)}",
    "SURGE_PAYPAL_CLIENT_SECRET": lambda: secrets.token_hex(24),
    "SURGE_PAYPAL_WEBHOOK_ID": lambda: f"WH-{secrets.token_hex(10).upper()}",
    "SURGE_PAYPAL_WEBHOOK_SECRET": lambda: secrets.token_hex(24),
    "SURGE_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(12),
    "SURGE_DEMO_PASSWORD": lambda: secrets.token_urlsafe(9),
    "SURGE_WAREHOUSE_PASSWORD": lambda: secrets.token_urlsafe(24),
    "SURGE_LOADER_PASSWORD": lambda: secrets.token_urlsafe(24),
    "SURGE_TRANSFORMER_PASSWORD": lambda: secrets.token_urlsafe(24),
    "SURGE_ANALYST_PASSWORD": lambda: secrets.token_urlsafe(24),
    "SURGE_DAGSTER_PASSWORD": lambda: secrets.token_urlsafe(24),
}
"""Secret → how a fresh one is made."""

SECRETS: Final = tuple(_MADE)

_SUPERUSERS: Final = ("SURGE_POSTGRES_PASSWORD", "SURGE_WAREHOUSE_PASSWORD")
_IN_URLS: Final = ("SURGE_DATABASE_PASSWORD", "SURGE_REDIS_PASSWORD")
PLATFORM_SECRETS: Final = (
    "SURGE_DEBEZIUM_PASSWORD",
    "SURGE_LOADER_PASSWORD",
    "SURGE_TRANSFORMER_PASSWORD",
    "SURGE_ANALYST_PASSWORD",
    "SURGE_DAGSTER_PASSWORD",
)
"""What the data platform's processes and the commands are given besides what every service is."""

_SHARED_SECRETS: Final = tuple(key for key in SECRETS if key not in (*_SUPERUSERS, *_IN_URLS, *PLATFORM_SECRETS))

ADMIN_EMAIL: Final = "admin@surge.example"
DEMO_EMAIL: Final = "customer1@surge.example"
DATABASE: Final = "surge"
OWNER: Final = "surge"
REPLICATION_ROLE: Final = "debezium"
WAREHOUSE_DATABASE: Final = "warehouse"


def ensure_secrets(instance: Instance) -> dict[str, str]:
    """The instance's secrets; what is missing is made once and kept."""
    known = read_variables(instance.secrets_file)
    missing = {name: make() for name, make in _MADE.items() if name not in known}
    if missing:
        known |= missing
        write_private(instance.secrets_file, "".join(f"{name}={value}\n" for name, value in known.items()))
    return known


def loopback(_: str) -> str:
    """Every process runs on this machine."""
    return "127.0.0.1"


def shared(
    *,
    name: str,
    home: str,
    port_base: int,
    secret: Mapping[str, str],
    host: Callable[[str], str] = loopback,
    dial_base: int | None = None,
) -> dict[str, str]:
    """What every service is given. ``host`` maps a process's name to the name of the machine that it runs on.

    ``dial_base`` is the port base by which the processes reach each other, if it is not the one they listen at.
    """

    def port(process: str, role: str | None = None) -> int:
        ports = PROCESSES[process].ports
        return (dial_base or port_base) + (ports[role] if role else PROCESSES[process].port)

    def at(process: str, role: str | None = None) -> str:
        return f"{host(process)}:{port(process, role)}"

    providers = f"http://{at('payment-providers')}"
    return {
        "SURGE_INSTANCE": name,
        "SURGE_HOME": home,
        "SURGE_PORT_BASE": str(port_base),
        "SURGE_DATABASE_URL": (
            f"postgresql+asyncpg://{OWNER}:{secret['SURGE_DATABASE_PASSWORD']}@{at(POSTGRES)}/{DATABASE}"
        ),
        "SURGE_REDIS_URL": f"redis://:{secret['SURGE_REDIS_PASSWORD']}@{at(REDIS)}/0",
        "SURGE_KAFKA_BOOTSTRAP": at(KAFKA),
        "SURGE_MONGO_URL": f"mongodb://{at(DOCSTORE)}",
        "SURGE_CONNECT_URL": f"http://{at(CONNECT)}",
        "SURGE_SINK_URL": f"http://{host(SINK)}:{port_base + PROCESSES[SINK].port}",
        "SURGE_SMTP_HOST": host("mailsink"),
        "SURGE_SMTP_PORT": str(port("mailsink", "smtp")),
        "SURGE_MAILSINK_URL": f"http://{at('mailsink')}",
        "SURGE_STRIPE_API_BASE": providers,
        "SURGE_PAYPAL_API_BASE": providers,
        "SURGE_STRIPE_WEBHOOK_URL": f"http://{at(GATEWAY)}/api/payments/webhooks/stripe",
        "SURGE_PAYPAL_WEBHOOK_URL": f"http://{at(GATEWAY)}/api/payments/webhooks/paypal",
        "SURGE_ADMIN_EMAIL": ADMIN_EMAIL,
        "SURGE_DEMO_EMAIL": DEMO_EMAIL,
        **{key: secret[key] for key in _SHARED_SECRETS},
    }


def platform(*, port_base: int, secret: Mapping[str, str], host: Callable[[str], str] = loopback) -> dict[str, str]:
    """What the data platform's processes are given besides."""
    return {
        "SURGE_WAREHOUSE_HOST": host(WAREHOUSE),
        "SURGE_WAREHOUSE_PORT": str(port_base + PROCESSES[WAREHOUSE].port),
        "SURGE_DAGSTER_URL": f"http://{host(DAGSTER_WEB)}:{port_base + PROCESSES[DAGSTER_WEB].port}",
        "SURGE_DAGSTER_CODE_HOST": host(DAGSTER_CODE),
        "SURGE_DAGSTER_CODE_PORT": str(port_base + PROCESSES[DAGSTER_CODE].port),
        **{key: secret[key] for key in PLATFORM_SECRETS},
    }


def of_process(process: Process, *, port_base: int, listen: str) -> dict[str, str]:
    """What one service is given besides: its name and where it listens."""
    extra = {f"SURGE_{role.upper()}_PORT": str(port_base + offset) for role, offset in process.ports.items()}
    extra.pop("SURGE_HTTP_PORT", None)
    if process.entrance is not None:
        extra["SURGE_ENTRANCE_PORT"] = str(port_base + process.entrance)
    return {
        "SURGE_PROCESS": process.name,
        "SURGE_HOST": listen,
        "SURGE_PORT": str(port_base + process.port),
        **extra,
    }


def build(instance: Instance) -> dict[str, str]:
    """The environment of an instance's commands and of its data platform: a service's, and the platform's passwords."""
    return {**for_services(instance), **platform(port_base=instance.port_base, secret=ensure_secrets(instance))}


def for_services(instance: Instance) -> dict[str, str]:
    """The environment of an instance's services: computed values, and over them ``settings.env``.

    ``settings.env`` in the instance's home is the operator's: any ``SURGE_*`` setting that is not an address or a
    secret. Such variables in the caller's own environment count too, and come last.
    """
    fixed = shared(
        name=instance.name,
        home=str(instance.home),
        port_base=instance.port_base,
        secret=ensure_secrets(instance),
        dial_base=instance.dial_base,
    )
    chosen = {**read_variables(instance.home / "settings.env"), **os.environ}
    reserved = {
        "SURGE_PORT",
        "SURGE_PROCESS",
        "SURGE_CLOCK_OFFSET_FILE",
        "SURGE_HOST",
        "SURGE_PYTHON",
        "SURGE_SUPERVISED_BY",
        REPLICAS,
    }
    tuned = {
        key: value
        for key, value in chosen.items()
        if key.startswith("SURGE_")
        and key not in fixed
        and key not in SECRETS
        and key not in reserved
        and not key.startswith(("SURGE_TEST_", "SURGE_CHAOS_"))
    }
    return {**fixed, **tuned}


def apply(instance: Instance) -> dict[str, str]:
    """Puts the instance's environment into this process's own, for code that reads ``kit.settings``."""
    values = build(instance)
    os.environ.update(values)
    return values
