"""The mail sink: ``python -m stack.simulators.mailsink``."""

from kit.app import serve
from stack.simulators.mailsink.server import create_mail_sink
from stack.simulators.mailsink.settings import MailSinkSettings


def main() -> None:
    """Serves until SIGTERM."""
    settings = MailSinkSettings()
    serve(create_mail_sink(settings), settings)


if __name__ == "__main__":
    main()
