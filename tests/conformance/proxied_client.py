"""The client under test with the proxy between it and the server.

Usage: python -m tests.conformance.proxied_client URL

The conformance suite starts it in place of the client. Knows that the proxy stands in front of a
server by its origin; does not know what is said.
"""

import argparse
import signal
from urllib.parse import urlsplit

from tests.conformance import client
from tests.conformance.watch import run_watched


def main() -> None:
    """Run the proxy in front of the server and the client in front of the proxy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    url = urlsplit(parser.parse_args().url)
    # The suite ends a client that takes too long by SIGTERM: leave the `with` block, so that the
    # proxy ends too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with run_watched(f"{url.scheme}://{url.netloc}") as origin:
        client.run(f"{origin}{url.path}")


if __name__ == "__main__":
    main()
