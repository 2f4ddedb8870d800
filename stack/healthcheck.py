"""``python -m stack.healthcheck``: exits 0 if the process of this container is ready."""

import os
import sys
from http.client import HTTPConnection


def main() -> None:
    """Asks ``/readyz`` on the process's own port."""
    connection = HTTPConnection("127.0.0.1", int(os.environ["SURGE_PORT"]), timeout=4)
    try:
        connection.request("GET", "/readyz")
        sys.exit(connection.getresponse().status != 200)
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
