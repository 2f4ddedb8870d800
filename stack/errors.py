"""What stops a command, told to the person who ran it."""


class StackError(Exception):
    """A command cannot go on. ``str()`` is the whole message; ``detail`` holds lines to print below it."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail
