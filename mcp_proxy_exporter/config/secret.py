"""Values that nobody may see: where they come from, and that they are read when settings are.

Knows the three sources of a secret and what makes one unfit; does not know what it is for. No error
repeats anything of a value.
"""

import os
import re
from pathlib import Path
from typing import Self

from pydantic import PrivateAttr, SecretStr, model_validator

from mcp_proxy_exporter.config.section import Section, faults

MAX_SECRET_BYTES = 65536
"""A secret's file: heads are limited to this by default, so more could never be sent."""

# RFC 9110 section 5.5: the tab is the only control character of a field value.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class SecretSettings(Section):
    """A secret, and where it comes from."""

    value: SecretStr | None = None
    env: str | None = None
    file: Path | None = None

    _bytes: bytes = PrivateAttr(default=b"")

    @model_validator(mode="after")
    def _read(self) -> Self:
        given = [key for key in ("value", "env", "file") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError("needs exactly one of value, env and file")
        try:
            self._bytes = _encode(self._complete(self._source_text()))
        except ValueError as error:
            raise faults([((given[0],), str(error))]) from None
        return self

    def _complete(self, text: str) -> str:
        return text

    def _source_text(self) -> str:
        if self.value is not None:
            return self.value.get_secret_value()
        text = _read_file(self.file) if self.file is not None else _read_variable(self.env or "")
        # Files, and variables made from files, usually end with a newline that is not meant.
        text = text.rstrip("\r\n")
        if not text:
            raise ValueError("leads to an empty value")
        return text

    def reveal(self) -> bytes:
        """Give the secret itself: to be written to a socket or compared, and nothing else."""
        return self._bytes


def describe_unreadable(error: OSError) -> str:
    """Say why a file that a setting names cannot be had."""
    return f"names a file that cannot be read: {(error.strerror or 'unknown error').lower()}"


def _encode(text: str) -> bytes:
    if _CONTROL.search(text):
        raise ValueError("leads to a value with a control character")
    try:
        # The system's own reading of variables that are not UTF-8 (PEP 383).
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("leads to a value that is not text") from None


def _read_variable(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ValueError("names an environment variable that is not set")
    return value


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(describe_unreadable(error)) from None
    if len(data) > MAX_SECRET_BYTES:
        raise ValueError(f"names a file of more than {MAX_SECRET_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("names a file that is not text in UTF-8") from None
