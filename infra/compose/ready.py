"""A container's health check: `ready.py URL` ends with 0 while the URL answers 200.

It is run every few seconds in every container, so it loads as little as possible (`python -I -S`: 30 ms instead of 200).
"""

import http.client
import sys
from urllib.parse import urlsplit

TIMEOUT_S = 4.0


def is_ready(url: str) -> bool:
    """Whether `url` (plain HTTP on this container's loopback) answers 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready(sys.argv[1]) else 1)
