"""Settings of TLS: what is refused, and which of the files is named."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from mcp_proxy_exporter.config import (
    ListenTlsSettings,
    ServerSettings,
    TlsSettings,
    WrongFile,
)

BOTH = (TlsSettings, ListenTlsSettings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("a", "b"):
        leaf = authority.issue_cert(name)
        leaf.cert_chain_pems[0].write_to_path(str(folder / f"{name}.crt"))
        leaf.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
    key = load_pem_private_key((folder / "a.key").read_bytes(), None)
    (folder / "locked.key").write_bytes(
        key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"canary-6f1c")
        )
    )
    (folder / "empty").write_text("")
    return folder


def complaints(model: type[Any], folder: Path, **files: str) -> list[tuple[object, str]]:
    """Give what is wrong with files of the folder: the setting and the message of each."""
    with pytest.raises(ValidationError) as caught:
        model(**{setting: str(folder / name) for setting, name in files.items()})
    assert "canary" not in str(caught.value)
    return [(error["loc"][-1], error["msg"]) for error in caught.value.errors()]


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize(
    ("files", "setting", "message"),
    [
        ({"cert_file": "none"}, "cert_file", "names a file that cannot be read: no such file"),
        ({"cert_file": "empty"}, "cert_file", "holds no certificate in PEM form"),
        ({"cert_file": "a.key"}, "cert_file", "holds no certificate in PEM form"),
        ({"cert_file": "a.crt"}, "cert_file", "holds no key that can be used, in PEM form"),
        ({"cert_file": "a.crt", "key_file": "none"}, "key_file", "no such file or directory"),
        ({"cert_file": "a.crt", "key_file": "empty"}, "key_file", "holds no key that can be used"),
        ({"cert_file": "a.crt", "key_file": "b.key"}, "key_file", "the key of another certificate"),
        ({"cert_file": "a.crt", "key_file": "locked.key"}, "key_file", "a key that is encrypted"),
        ({"key_file": "a.key"}, "key_file", "has no use without cert_file"),
    ],
)
def test_wrong_file_is_named(
    model: type[Any], folder: Path, files: dict[str, str], setting: str, message: str
) -> None:
    [(place, text)] = complaints(model, folder, **files)
    assert place == setting
    assert message in text


@pytest.mark.parametrize("name", ["none", "empty"])
def test_wrong_authorities_are_named(folder: Path, name: str) -> None:
    [(place, _)] = complaints(TlsSettings, folder, ca_file=name)
    assert place == "ca_file"
    [(place, _)] = complaints(ListenTlsSettings, folder, cert_file="a.pem", client_ca_file=name)
    assert place == "client_ca_file"


def test_authorities_of_clients_have_no_use_without_tls(folder: Path) -> None:
    [(place, text)] = complaints(ListenTlsSettings, folder, client_ca_file="ca.pem")
    assert (place, text) == ("client_ca_file", "has no use without cert_file")


@pytest.mark.parametrize("model", BOTH)
def test_one_file_may_hold_certificate_and_key(model: type[Any], folder: Path) -> None:
    settings = model(cert_file=str(folder / "a.pem"))
    assert settings.files == (str(folder / "a.pem"),)
    assert isinstance(settings.build(), ssl.SSLContext)


def test_file_that_is_gone_later_is_told_by_whoever_builds(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.pem"
    file.write_bytes((folder / "a.pem").read_bytes())
    settings = ListenTlsSettings(cert_file=str(file))
    file.unlink()
    with pytest.raises(WrongFile, match="cert_file: names a file that cannot be read"):
        settings.build()


def test_upstream_is_verified_unless_that_is_switched_off(folder: Path) -> None:
    context = TlsSettings(ca_file=str(folder / "ca.pem")).build()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1
    assert TlsSettings().build().verify_mode is ssl.CERT_REQUIRED
    context = TlsSettings(insecure_skip_verify=True).build()
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize(
    ("text", "version"), [("1.2", ssl.TLSVersion.TLSv1_2), ("1.3", ssl.TLSVersion.TLSv1_3)]
)
def test_least_version_is_obeyed(
    model: type[Any], folder: Path, text: str, version: ssl.TLSVersion
) -> None:
    settings = model(cert_file=str(folder / "a.pem"), min_version=text)
    assert settings.build().minimum_version is version


def test_clients_need_a_certificate_where_authorities_of_theirs_are_named(folder: Path) -> None:
    pair = {"cert_file": str(folder / "a.crt"), "key_file": str(folder / "a.key")}
    assert ListenTlsSettings(**pair).build().verify_mode is ssl.CERT_NONE  # type: ignore[arg-type]
    settings = ListenTlsSettings(**pair, client_ca_file=str(folder / "ca.pem"))  # type: ignore[arg-type]
    assert settings.build().verify_mode is ssl.CERT_REQUIRED
    assert len(settings.files) == 3


def test_unix_listener_has_no_tls(folder: Path) -> None:
    with pytest.raises(ValidationError, match="a unix socket is listened on"):
        ServerSettings(
            upstream="http://h",
            listen="unix:/s",
            listen_tls=ListenTlsSettings(cert_file=str(folder / "a.pem")),
        )
