"""Addresses that HTTP+SSE servers announce, in all forms in which they do.

Knows URLs; does not know who sends requests there.
"""

from urllib.parse import urljoin, urlsplit

import msgspec


class _EndpointObject(msgspec.Struct, gc=False, frozen=True):
    """What some servers send for the endpoint's address."""

    uri: str


_decode_endpoint = msgspec.json.Decoder(_EndpointObject).decode


def resolve_endpoint(base: bytes, endpoint: bytes) -> bytes | None:
    """Give the target of a request to an announced address."""
    address = endpoint.strip()
    try:
        if address.startswith(b"{"):
            address = _decode_endpoint(address).uri.encode()
        # Latin-1 keeps every byte.
        parts = urlsplit(urljoin(base.decode("latin-1"), address.decode("latin-1")))
    except (ValueError, RecursionError):
        return None
    path = parts.path or "/"
    return (f"{path}?{parts.query}" if parts.query else path).encode("latin-1")
