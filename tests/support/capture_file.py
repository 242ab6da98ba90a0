"""Recorded HTTP exchanges: the format of ``tests/captures``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CAPTURES = Path(__file__).parent.parent / "captures"

_REQUEST = b"===== REQUEST (raw bytes) =====\n"
_RESPONSE = b"\n===== RESPONSE (raw bytes) =====\n"
_END = b"\n===== END: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A start line and its fields, by lower-case name, repeated ones joined."""

    start: list[bytes]
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One exchange. Bodies are without their chunk framing."""

    request: Head
    request_body: bytes
    response: Head | None
    """None where the exchange ended before any."""
    response_body: bytes
    end: str


def names() -> list[str]:
    """List all captures, as paths within their directory."""
    return sorted(str(path.relative_to(CAPTURES)) for path in CAPTURES.rglob("*.http"))


def load(name: str) -> Capture:
    """Read one capture."""
    raw = (CAPTURES / name).read_bytes()
    request, _, rest = raw.removeprefix(_REQUEST).partition(_RESPONSE)
    response, _, rest = rest.partition(_END)
    end = rest.partition(b" =====\n")[0].decode()
    request_head, request_body = _split(request)
    if not response:
        return Capture(
            request=request_head,
            request_body=request_body,
            response=None,
            response_body=b"",
            end=end,
        )
    response_head, response_body = _split(response)
    if response_head.fields.get(b"transfer-encoding") == b"chunked":
        response_body = _unchunk(response_body)
    return Capture(
        request=request_head,
        request_body=request_body,
        response=response_head,
        response_body=response_body,
        end=end,
    )


def _split(message: bytes) -> tuple[Head, bytes]:
    head, _, body = message.partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        name, value = name.strip().lower(), value.strip()
        fields[name] = fields[name] + b", " + value if name in fields else value
    return Head(start=start.split(b" ", 2), fields=fields), body


def _unchunk(body: bytes) -> bytes:
    """Take the chunk framing off; a body that was cut ends where it was cut."""
    content = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            break
        content += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return bytes(content)
