"""TLS on both sides: which certificates are shown, which are believed.

Knows the files and rules of one TLS context, and makes it of them; does not know connections, nor
when the files are looked at again (`mcp_proxy_exporter.proxy.tls`).
"""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NoReturn, Self, TypeAlias

from pydantic import field_validator, model_validator

from mcp_proxy_exporter.config.address import parse_authority
from mcp_proxy_exporter.config.secret import describe_unreadable
from mcp_proxy_exporter.config.section import Flag, Section, faults

TlsVersion: TypeAlias = Literal["1.2", "1.3"]
"""Older ones are broken, and forbidden by RFC 8996."""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_ALPN = ("http/1.1",)
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_MISMATCH = "KEY_VALUES_MISMATCH"
_NO_CERTIFICATE = "holds no certificate in PEM form"


class WrongFile(ValueError):
    """A file that a TLS setting names is not what it should be."""

    def __init__(self, setting: str, message: str) -> None:
        """Take the setting's name in its table, and what follows it in a complaint."""
        super().__init__(f"{setting}: {message}")
        self.setting = setting
        self.message = message


class TlsSettings(Section):
    """How an https upstream is verified, and how we identify ourselves to it."""

    ca_file: str = ""
    """Certificates to trust, PEM; empty: those the system trusts."""
    cert_file: str = ""
    """Our certificate and those that lead to it, PEM, for a server that asks for one."""
    key_file: str = ""
    """Its key, PEM, not encrypted; empty: ``cert_file`` has it."""
    server_name: str = ""
    """The name its certificate must have (and SNI); empty: the host of ``upstream``."""
    min_version: TlsVersion = "1.2"
    insecure_skip_verify: Flag = False
    """Believe any certificate: whoever is in between reads and changes everything."""

    @field_validator("server_name")
    @classmethod
    def _check_server_name(cls, value: str) -> str:
        if value:
            _, port = parse_authority(value)
            if port is not None:
                raise ValueError("is a host name without a port")
        return value

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        _check_key(self.cert_file, self.key_file)
        if self.files:
            _try(self.build)
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """What `build` reads besides the system's own."""
        return _named(self.ca_file, self.cert_file, self.key_file)

    def build(self) -> ssl.SSLContext:
        """Make the context of a client; raise WrongFile."""
        with _reading_authorities("ca_file"):
            context = ssl.create_default_context(cafile=self.ca_file or None)
        context.minimum_version = _VERSIONS[self.min_version]
        context.set_alpn_protocols(_ALPN)
        if self.cert_file:
            _load_identity(context, self.cert_file, self.key_file)
        if self.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class ListenTlsSettings(Section):
    """TLS on a listener of ours; off without a certificate."""

    cert_file: str = ""
    """Our certificate and those that lead to it, PEM; empty: plain HTTP."""
    key_file: str = ""
    """Its key, PEM, not encrypted; empty: ``cert_file`` has it."""
    client_ca_file: str = ""
    """Whoever connects must have a certificate of one of these authorities, PEM; empty: need not
    have any."""
    min_version: TlsVersion = "1.2"

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        _check_key(self.cert_file, self.key_file)
        if self.client_ca_file and not self.cert_file:
            raise faults([(("client_ca_file",), "has no use without cert_file")])
        if self.cert_file:
            _try(self.build)
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """What `build` reads."""
        return _named(self.cert_file, self.key_file, self.client_ca_file)

    def build(self) -> ssl.SSLContext:
        """Make the context of a server that has a certificate; raise WrongFile."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self.min_version]
        context.set_alpn_protocols(_ALPN)
        _load_identity(context, self.cert_file, self.key_file)
        if self.client_ca_file:
            with _reading_authorities("client_ca_file"):
                context.load_verify_locations(self.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _named(*files: str) -> tuple[str, ...]:
    return tuple(file for file in files if file)


def _check_key(cert_file: str, key_file: str) -> None:
    if key_file and not cert_file:
        raise faults([(("key_file",), "has no use without cert_file")])


def _try(build: Callable[[], object]) -> None:
    try:
        build()
    except WrongFile as error:
        raise faults([((error.setting,), error.message)]) from None


@contextmanager
def _reading_authorities(setting: str) -> Iterator[None]:
    """Say which setting's file is wrong."""
    try:
        yield
    except ssl.SSLError:
        raise WrongFile(setting, _NO_CERTIFICATE) from None
    except OSError as error:
        raise WrongFile(setting, describe_unreadable(error)) from None


def _load_identity(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    """Load a certificate and its key, and say which of the files is wrong: OpenSSL does not."""
    held = {}
    for setting, file in (("cert_file", cert_file), ("key_file", key_file)):
        try:
            held[setting] = Path(file).read_bytes() if file else b""
        except OSError as error:
            raise WrongFile(setting, describe_unreadable(error)) from None
    if _CERTIFICATE not in held["cert_file"]:
        raise WrongFile("cert_file", _NO_CERTIFICATE)
    try:
        # Without a function OpenSSL would ask the terminal for a pass phrase, and wait.
        context.load_cert_chain(cert_file, key_file or None, password=_refuse_encrypted)
    except ssl.SSLError as error:
        of = "key_file" if key_file else "cert_file"
        if error.reason == _MISMATCH:
            raise WrongFile(of, "holds the key of another certificate") from None
        raise WrongFile(of, "holds no key that can be used, in PEM form") from None
    except _EncryptedError:
        message = "holds a key that is encrypted: there is nobody to ask for its pass phrase"
        raise WrongFile("key_file" if key_file else "cert_file", message) from None


class _EncryptedError(Exception):
    pass


def _refuse_encrypted() -> NoReturn:
    raise _EncryptedError
