"""Recorded HTTP exchanges: the format of ``tests/captures``.

Knows one exchange and when its pieces came, in seconds of its own; does not know when it began
among the others of its directory (`tests.support.replay`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CAPTURES = Path(__file__).parent.parent / "captures"

_REQUEST = b"===== REQUEST (raw bytes) =====\n"
_RESPONSE = b"\n===== RESPONSE (raw bytes) =====\n"
_END = b"\n===== END: "
_TIMING = b"bytes) =====\n"


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
    head_at: float = 0.0
    """Seconds from the request to the response's head."""
    arrivals: Sequence[tuple[float, bytes]] = ()
    """The response's body in the pieces in which it came, each with its seconds."""


def names() -> list[str]:
    """List all captures, as paths within their directory."""
    return sorted(str(path.relative_to(CAPTURES)) for path in CAPTURES.rglob("*.http"))


def load(name: str) -> Capture:
    """Read one capture."""
    raw = (CAPTURES / name).read_bytes()
    request, _, rest = raw.removeprefix(_REQUEST).partition(_RESPONSE)
    response, _, rest = rest.partition(_END)
    end, _, timing = rest.partition(b" =====\n")
    request_head, request_body = _split(request)
    if not response:
        return Capture(
            request=request_head,
            request_body=request_body,
            response=None,
            response_body=b"",
            end=end.decode(),
        )
    response_head, response_body = _split(response)
    chunked = response_head.fields.get(b"transfer-encoding") == b"chunked"
    came = _came(timing.partition(_TIMING)[2])
    before_body = len(response) - len(response_body)
    return Capture(
        request=request_head,
        request_body=request_body,
        response=response_head,
        response_body=_unchunk(response_body) if chunked else response_body,
        end=end.decode(),
        head_at=next(at for at, size in came if size >= before_body),
        arrivals=_arrivals(
            response_body, [(at, size - before_body) for at, size in came], chunked=chunked
        ),
    )


def _came(timing: bytes) -> Sequence[tuple[float, int]]:
    """Read how many bytes of the response had come at which times."""
    came = []
    total = 0
    for line in timing.splitlines():
        at, size = line.split()
        total += int(size)
        came.append((float(at), total))
    return came


def _arrivals(
    body: bytes, came: Sequence[tuple[float, int]], *, chunked: bool
) -> Sequence[tuple[float, bytes]]:
    arrivals = []
    known = b""
    for at, size in came:
        if size > 0:
            content = _unchunk(body[:size]) if chunked else body[:size]
            if len(content) > len(known):
                arrivals.append((at, content[len(known) :]))
                known = content
    return arrivals


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
