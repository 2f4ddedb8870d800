"""The general rate limits, with ``RateLimit`` headers (draft-ietf-httpapi-ratelimit-headers).

Each gateway counts by itself and adds its counts up with the others' in Redis ten times a second, so that no request
waits for it; between two exchanges the limit can be passed by what the other gateways let in meanwhile. Without Redis
each gateway goes on by its own count.
"""

import ipaddress
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit import telemetry
from kit.auth import verify_access_token
from kit.errors import MEDIA_TYPE, TooManyRequests, Unauthorized
from kit.shared_redis import Script, SharedRedis
from oltp.gateway.settings import GatewaySettings

WINDOW_SECONDS: Final = 60
EXCHANGE_SECONDS: Final = 0.1
WEBHOOKS: Final = "/api/payments/webhooks/"
"""Payment providers sign their calls, and make many from few addresses."""
CHECKOUT: Final = "/api/orders/checkout"
"""Besides what every request counts for it has limits of its own, for an address and for all together."""

_AT_ONCE: Final = 500

# KEYS: counts; ARGV: seconds that they last, then what to add to each
_ADD_UP: Final = Script("""
local totals = {}
for i, key in ipairs(KEYS) do
  totals[i] = redis.call('INCRBY', key, ARGV[i + 1])
  if totals[i] == tonumber(ARGV[i + 1]) then redis.call('EXPIRE', key, ARGV[1]) end
end
return totals
""")


@dataclass(slots=True)
class _Count:
    """Requests of one caller in the present window: of all gateways as last heard, and own ones not told yet."""

    shared: int = 0
    untold: int = 0


class Windows:
    """Counts requests by caller in fixed windows of a minute."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = redis
        self._window = 0
        self._counts: dict[str, _Count] = {}

    def hit(self, caller: str) -> int:
        """Counts a request and returns how many the caller has made in this window."""
        window = int(time.time()) // WINDOW_SECONDS
        if window != self._window:
            self._window, self._counts = window, {}
        count = self._counts.get(caller)
        if count is None:
            count = self._counts[caller] = _Count()
        count.untold += 1
        return count.shared + count.untold

    async def exchange(self) -> None:
        """Tells Redis the new counts and learns everybody's. If it is away, they are told next time."""
        window = self._window
        callers = [(caller, count.untold) for caller, count in self._counts.items() if count.untold]
        for start in range(0, len(callers), _AT_ONCE):
            some = callers[start : start + _AT_ONCE]
            totals = await self._redis.run(
                _ADD_UP,
                [f"requests:{window}:{caller}" for caller, _ in some],
                [2 * WINDOW_SECONDS, *(hits for _, hits in some)],
            )
            if window != self._window:
                return
            for (caller, hits), total in zip(some, totals, strict=True):
                self._counts[caller].untold -= hits
                self._counts[caller].shared = total


def seconds_left() -> int:
    """Seconds until the present window ends."""
    return WINDOW_SECONDS - int(time.time()) % WINDOW_SECONDS


@lru_cache(maxsize=4096)
def _network(host: str) -> tuple[str, bool]:
    """What counts as one anonymous caller (an IPv6 customer has a whole /64), and whether it is this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host, False
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False)), address.is_loopback
    return host, address.is_loopback


class RateLimits:
    """ASGI middleware: answers 429 to who asks too often, and tells everybody else where they stand.

    Signed-in users are counted by user, everybody else by address; only paths under ``/api`` count, and not the payment
    providers' webhooks. Checkouts count by address and altogether as well. The counts are the :class:`Windows` at
    ``limits`` in the request's state.
    """

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        self._app = app
        self._settings = settings

    def _caller(self, scope: Scope) -> tuple[str, str, int] | None:
        """Policy, caller and limit; None for who is not limited."""
        settings = self._settings
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                try:
                    principal = verify_access_token(settings, value[7:].decode("latin-1").strip())
                except Unauthorized:
                    break
                limit = settings.user_requests_per_minute
                return ("user", f"user:{principal.user_id}", limit) if limit else None
        return self._address(scope, "address", settings.address_requests_per_minute)

    def _address(self, scope: Scope, policy: str, limit: int) -> tuple[str, str, int] | None:
        host, is_loopback = _network(scope["client"][0] if scope.get("client") else "")
        if not limit or (is_loopback and not self._settings.limit_loopback):
            return None
        return policy, f"{policy}:{host}", limit

    def _policies(self, scope: Scope) -> list[tuple[str, str, int]]:
        """The limits that a request counts for: policy, who is counted, and how many there may be."""
        policies = [self._caller(scope)]
        if scope["path"] == CHECKOUT and scope["method"] == "POST":
            settings = self._settings
            policies.append(self._address(scope, "checkout-address", settings.checkout_address_limit_per_minute))
            if limit := settings.checkout_limit_of_all_per_minute:
                policies.append(("checkout-all", "checkout-all", limit))
        return [policy for policy in policies if policy is not None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts and passes on, or refuses."""
        policies: list[tuple[str, str, int]] = []
        path = scope.get("path", "")
        if scope["type"] == "http" and path.startswith("/api/") and not path.startswith(WEBHOOKS):
            policies = self._policies(scope)
        if not policies:
            await self._app(scope, receive, send)
            return
        windows: Windows = scope["state"]["limits"]
        reset = seconds_left()
        headers: list[tuple[bytes, bytes]] = []
        over: int | None = None
        for policy, key, limit in policies:
            used = windows.hit(key)
            headers.append((b"ratelimit-policy", f'"{policy}";q={limit};w={WINDOW_SECONDS}'.encode()))
            headers.append((b"ratelimit", f'"{policy}";r={max(0, limit - used)};t={reset}'.encode()))
            if used > limit:
                over = limit
                break

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        if over is None:
            await self._app(scope, receive, answer)
            return
        document = {
            "type": TooManyRequests.type,
            "title": TooManyRequests.title,
            "status": TooManyRequests.status_code,
            "detail": f"At most {over} requests a minute; come back in {reset} s.",
            "instance": scope["path"],
            "trace_id": telemetry.trace_id(),
        }
        refused = JSONResponse(
            document, TooManyRequests.status_code, media_type=MEDIA_TYPE, headers={"Retry-After": str(reset)}
        )
        await refused(scope, receive, answer)
