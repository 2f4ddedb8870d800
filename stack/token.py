"""Access tokens for people at the command line."""

from kit import db
from kit.auth import issue_access_token
from kit.clock import SystemClock
from kit.settings import Settings
from oltp.accounts.repository import Users
from stack.errors import StackError


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
