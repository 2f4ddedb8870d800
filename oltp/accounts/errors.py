"""What can go wrong with accounts."""

from kit.errors import Conflict, NotFound, TooManyRequests, Unauthorized, Unavailable


class EmailTaken(Conflict):
    """An account with this email address exists; sign in instead."""

    type = "email-taken"
    title = "Email address taken"


class InvalidCredentials(Unauthorized):
    """Email address or password is wrong."""

    type = "invalid-credentials"
    title = "Wrong email address or password"


class RefreshRejected(Unauthorized):
    """The refresh token is unknown, expired, revoked or was used before; sign in again."""

    type = "refresh-rejected"
    title = "Refresh token not accepted"


class TooManyLogins(TooManyRequests):
    """Too many logins for this account or from this address; `Retry-After` says when to try again."""

    type = "too-many-logins"
    title = "Too many logins"


class TooManyRegistrations(TooManyRequests):
    """Too many registrations from this address; `Retry-After` says when to try again."""

    type = "too-many-registrations"
    title = "Too many registrations"


class HashingBusy(Unavailable):
    """More passwords are being checked than this machine can take; nothing was done."""

    type = "busy"
    title = "Busy"


class AddressNotFound(NotFound):
    """The customer has no address with this id."""

    type = "address-not-found"
    title = "No such address"


class TooManyAddresses(Conflict):
    """The customer keeps as many addresses as are allowed; delete one first."""

    type = "too-many-addresses"
    title = "Too many addresses"
