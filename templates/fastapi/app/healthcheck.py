"""`python -m app.healthcheck`: asks this container's process whether it lives.

The image has no curl. The port is found as the process finds it: PORT, else the default.
"""

import http.client
import os
import sys


def main() -> int:
    port = int(os.environ.get("PORT") or 8000)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return 0 if connection.getresponse().status == http.HTTPStatus.OK else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
