"""What can be wrong with visitors' events."""

from kit.errors import BadRequest


class SessionRequired(BadRequest):
    """Nobody can tell whose events these are."""

    type = "session-required"
    title = "A session is required"
