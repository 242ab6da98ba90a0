"""Certificates that are renewed, and clients that trust their authority.

Knows trustme and files; does not know the proxy.
"""

import asyncio
import ssl
from pathlib import Path

import trustme

from tests.support.raw_client import WAIT_SECONDS, RawClient


class Identity:
    """A certificate and its key, in files."""

    def __init__(self, authority: trustme.CA, folder: Path, name: str = "127.0.0.1") -> None:
        self._authority = authority
        self.cert_file = str(folder / "cert.pem")
        self.key_file = str(folder / "key.pem")
        self.name = name
        self.renew()

    def renew(self) -> trustme.LeafCert:
        """Write a new certificate over the old one."""
        leaf = self._authority.issue_cert(self.name)
        Path(self.cert_file).write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(self.key_file)
        return leaf

    @property
    def settings(self) -> dict[str, str]:
        return {"cert_file": self.cert_file, "key_file": self.key_file}


async def connect_tls(url: str, context: ssl.SSLContext) -> RawClient:
    """Connect to an https URL."""
    port = int(url.rpartition(":")[2])
    opening = asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 24)
    return RawClient(*await asyncio.wait_for(opening, WAIT_SECONDS))


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
