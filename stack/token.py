"""Access tokens for people at the command line."""

from typing import Final

import asyncpg

from kit import db
from kit.auth import Principal, Role, issue_access_token
from kit.clock import SystemClock
from kit.ids import new_id
from kit.settings import Settings
from oltp.accounts.repository import Users
from stack.errors import StackError

LOAD_TOKEN_SECONDS: Final = 6 * 3600
"""Life of the tokens for load tests: longer than a run."""

_CUSTOMERS: Final = (
    "SELECT id::text FROM accounts.users WHERE role = 'customer' AND status = 'active' ORDER BY id LIMIT $1"
)


async def issue(email: str) -> str:
    """An access token for the user with that address.

    Raises:
        StackError: if there is none, or the account is disabled.
    """
    settings = Settings()
    database = db.from_settings(settings)
    try:
        async with database.read() as session:
            user = await Users(session).by_email(email)
    finally:
        await database.close()
    if user is None:
        raise StackError(f"there is no user {email}")
    if not user.is_active:
        raise StackError(f"the account of {email} is disabled")
    return issue_access_token(settings, user.principal, SystemClock().now())


async def issue_many(count: int) -> list[str]:
    """Access tokens of so many customers: the shop's own by id, and then ones that nobody has registered."""
    settings = Settings().model_copy(update={"access_token_seconds": LOAD_TOKEN_SECONDS})
    connection = await asyncpg.connect(settings.database_url.get_secret_value().replace("+asyncpg", "", 1), timeout=10)
    try:
        rows = await connection.fetch(_CUSTOMERS, count)
    finally:
        await connection.close()
    known = [row["id"] for row in rows]
    now = SystemClock().now()
    everybody = known + [new_id() for _ in range(count - len(known))]
    return [issue_access_token(settings, Principal(user_id, Role.CUSTOMER), now) for user_id in everybody]
