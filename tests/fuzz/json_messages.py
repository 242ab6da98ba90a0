"""JSON-RPC messages, and whatever reads their params and results.

What Python's own JSON parser takes for a message of JSON-RPC must be read, with the same id and
method; padding, a copy in a bytearray and a batch around it change nothing.
"""

import json
import math
from typing import Any, NoReturn

from mcp_proxy_exporter.protocol import Call, Limits
from mcp_proxy_exporter.protocol.calls import open_call
from mcp_proxy_exporter.protocol.catalog import Catalog
from mcp_proxy_exporter.protocol.description import read_discovery, read_initialize
from mcp_proxy_exporter.protocol.events import Client
from mcp_proxy_exporter.protocol.ids import equal_number, id_key
from mcp_proxy_exporter.protocol.inputs import Inputs
from mcp_proxy_exporter.protocol.jsonrpc import TOO_LARGE, Batch, Malformed, Message, decode
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.routing import contradicts
from mcp_proxy_exporter.protocol.tasks import Tasks
from mcp_proxy_exporter.protocol.verdict import judge
from tests.fuzz.corpus import JSON_TOKENS, messages
from tests.fuzz.hunt import Check, Target

_MAX_CERTAIN = 2**63
"""Integers below are exact in every parser."""
_SHALLOW = 100
_CALL = Call("tools/call", "a", 0.0)
_TASK_METHODS = ("tasks/get", "tasks/result", "tasks/list", "tasks/cancel")


def begin() -> Check:
    """Begin a life."""
    return check


def check(payload: bytes) -> None:
    """Decode an input in several ways, and read what it holds."""
    decoded = decode(payload)
    assert decode(bytearray(payload)) == decoded
    if not payload.startswith(b"\xef\xbb\xbf"):
        assert decode(b" \n" + payload + b"\t") == decoded
    if isinstance(decoded, Batch):
        for element, text in decoded.elements:
            if isinstance(element, Message):
                assert decode(bytes(text)) == element
                _read(element)
    elif isinstance(decoded, Message):
        batch = decode(b"[" + payload.removeprefix(b"\xef\xbb\xbf") + b"]")
        assert batch == TOO_LARGE or (isinstance(batch, Batch) and batch.elements[0][0] == decoded)
        _read(decoded)
    _compare(payload, decoded)


def _read(message: Message) -> None:
    """Let everybody read who would."""
    key = id_key(message.id)
    assert hash(key) is not None
    assert key is None or equal_number(key) != key
    if message.method is not None:
        contradicts(message, b"tools/call", b"=?base64?YQ==?=")
        open_call(message.method, message.params, Client(), None, 0.0)
    for status in (200, 404):
        verdicts = {
            judge(message, status, asked_for_task=asked, about_task=about)[0]
            for asked in (False, True)
            for about in (False, True)
        }
        assert all(isinstance(outcome, Outcome) for outcome in verdicts)
    if message.error is not None:
        Inputs().require(message, 0.0)
    if message.result:
        tasks = Tasks(Limits())
        tasks.create(_CALL, message.result, 0.0)
        for method in _TASK_METHODS:
            opened = open_call(method, message.params, Client(), None, 0.0)
            tasks.read_answer(opened, message, Outcome.SUCCESS, 1.0)
        Catalog().add(None, message.result)
        read_initialize(message.result, None)
        read_discovery(message.result, None)
        Inputs().require(message, 0.0)


def _compare(payload: bytes, decoded: object) -> None:
    value = _read_with_python(payload)
    if isinstance(value, dict) and value.get("jsonrpc") == "2.0" and _is_certain(value):
        if decoded == TOO_LARGE:
            assert payload.count(b"[") + payload.count(b"{") > _SHALLOW
            return
        assert isinstance(decoded, Message), decoded
        if b"\\u" not in payload:  # halves of surrogates are replaced
            assert decoded.method == value.get("method")
            if "id" in value:
                assert (type(decoded.id), decoded.id) == (type(value["id"]), value["id"])
    elif isinstance(value, list) and len(value) < _SHALLOW:
        assert isinstance(decoded, Batch) or decoded == TOO_LARGE
    elif value is None or not isinstance(value, dict):
        assert not isinstance(decoded, Malformed) or value is None


def _is_certain(value: dict[str, Any]) -> bool:
    """Tell whether an object is a message of which no two parsers may think differently."""
    method, message_id = value.get("method"), value.get("id")
    if not isinstance(method, str) and ("method" in value or not value.keys() & {"id", "result"}):
        return False
    if isinstance(message_id, float):
        return math.isfinite(message_id)
    if isinstance(message_id, int):
        return abs(message_id) < _MAX_CERTAIN
    return message_id is None or isinstance(message_id, str)


def _read_with_python(payload: bytes) -> Any:
    """Return what Python's own parser makes of a text; None if it takes it for no JSON."""
    try:
        return json.loads(payload.decode(), parse_constant=_refuse, parse_float=_read_float)
    except (ValueError, RecursionError):
        return None


def _refuse(_constant: str) -> NoReturn:
    raise ValueError


def _read_float(text: str) -> float:
    """Read a number that is one in every parser."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _seeds() -> list[bytes]:
    batches = [b"[" + b",".join(messages()[n : n + 3]) + b"]" for n in range(0, 60, 3)]
    return [*messages(), *batches, b"", b"[]", b"[" * 3_000, b"\xef\xbb\xbf{}"]


TARGET = Target("jsonrpc", 200_000, _seeds, JSON_TOKENS, begin)
