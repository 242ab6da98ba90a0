"""What a response says about its call: the reading of ``result`` and ``error``.

Knows the result members that decide (``isError``, ``resultType``, ``task``) and the error codes
that are no failures; does not know which call is meant, nor what a missing response means.
"""

from typing import Final, TypeAlias

import msgspec

from mcp_proxy_exporter.protocol.content import Block, measure, read_blocks
from mcp_proxy_exporter.protocol.events import Content
from mcp_proxy_exporter.protocol.jsonrpc import Error, Message
from mcp_proxy_exporter.protocol.outcome import Outcome
from mcp_proxy_exporter.protocol.params import is_absent, read_or_none

Verdict: TypeAlias = tuple[Outcome, int | None, int | None, Content | None]
"""The outcome, the bytes of the result's JSON text, the error's code, and what the result holds."""

# MCP 2025-11-25 client/elicitation: to be repeated once the user has opened a URL.
URL_ELICITATION_REQUIRED: Final = -32042
# LSP's code, which the Python SDK 2.x and FastMCP answer to a cancelled request.
REQUEST_CANCELLED: Final = -32800
# The Python SDK 1.x answers code 0, which is also its unhandled exception, with this text.
REQUEST_CANCELLED_TEXT: Final = "Request cancelled"

FIRST_HTTP_ERROR: Final = 400
# Results beyond are read member by member, so that no list of blocks is made before it is known
# how many there are: the shortest have 3 bytes, and take 40.
MAX_AT_ONCE: Final = 64 * 1024

# Looking a member up in its Enum costs 0.2 us on Python 3.11, five times a global.
_SUCCESS: Final = Outcome.SUCCESS
_TOOL_ERROR: Final = Outcome.TOOL_ERROR
_RESULT_TYPES: Final = {
    "input_required": Outcome.INPUT_REQUIRED,
    "task": Outcome.TASK_CREATED,
}


class _Task(msgspec.Struct, gc=False, frozen=True):
    id: str | None = msgspec.field(name="taskId", default=None)


class _Result(msgspec.Struct, gc=False, frozen=True):
    is_error: bool | None = msgspec.field(name="isError", default=None)
    kind: str | None = msgspec.field(name="resultType", default=None)
    task: _Task | None = None
    content: list[Block] | None = None
    structured: msgspec.Raw = msgspec.field(name="structuredContent", default=msgspec.Raw(b""))


class _LooseResult(msgspec.Struct, gc=False, frozen=True):
    """A result whose members have whatever types."""

    is_error: msgspec.Raw = msgspec.field(name="isError", default=msgspec.Raw(b""))
    kind: msgspec.Raw = msgspec.field(name="resultType", default=msgspec.Raw(b"null"))
    task: msgspec.Raw = msgspec.Raw(b"null")
    content: msgspec.Raw = msgspec.Raw(b"null")
    structured: msgspec.Raw = msgspec.field(name="structuredContent", default=msgspec.Raw(b""))


_decode_result = msgspec.json.Decoder(_Result).decode
_decode_loose = msgspec.json.Decoder(_LooseResult).decode
_decode_kind = msgspec.json.Decoder(str | None).decode
_decode_task = msgspec.json.Decoder(_Task | None).decode


def judge(
    response: Message, status: int, *, asked_for_task: bool, about_task: bool = False
) -> Verdict:
    """Judge a response that came with this HTTP status.

    An error stands on any status (2026-07-28 answers -32601 with 404), a result only below 400.
    `asked_for_task` tells that the call carried ``params.task``: without it, ``result.task`` is
    nobody's business. `about_task` tells that the request was one of ``tasks/…``, whose answers may
    have the result type of a task without creating one.
    """
    result, error = response.result, response.error
    size = len(result)
    if error is not None and is_absent(result):
        return _judge_error(error)
    if status >= FIRST_HTTP_ERROR:
        return Outcome.HTTP_ERROR, size or None, None, None
    if error is not None or size == 0:  # JSON-RPC 2.0 section 5: the one or the other
        return Outcome.INVALID_RESPONSE, size or None, None, None
    try:
        try:
            decoded = _decode_result(result) if size <= MAX_AT_ONCE else _read_loosely(result)
        except ValueError:  # members of odd types
            decoded = _read_loosely(result)
    except ValueError:  # no object, or a result type that is no string
        return Outcome.INVALID_RESPONSE, size, None, None
    except RecursionError:
        return Outcome.UNINSPECTED, size, None, None
    outcome = _judge_result(decoded, asked_for_task=asked_for_task)
    if about_task and outcome is Outcome.TASK_CREATED:
        outcome = _SUCCESS
    return outcome, size, None, measure(decoded.content, decoded.structured)


def _judge_error(error: Error) -> Verdict:
    code = None if error.code is None or int(error.code) != error.code else int(error.code)
    if code == URL_ELICITATION_REQUIRED:
        return Outcome.INPUT_REQUIRED, None, code, None
    if code == REQUEST_CANCELLED or (code == 0 and error.message == REQUEST_CANCELLED_TEXT):
        return Outcome.CANCELLED, None, code, None
    return Outcome.PROTOCOL_ERROR, None, code, None


def _judge_result(result: _Result, *, asked_for_task: bool) -> Outcome:
    if result.kind is not None and result.kind != "complete":
        # MCP 2026-07-28 basic/index, ResultType: others "MUST be considered invalid".
        return _RESULT_TYPES.get(result.kind, Outcome.INVALID_RESPONSE)
    if result.is_error:
        return _TOOL_ERROR
    if asked_for_task and result.task is not None and result.task.id:
        return Outcome.TASK_CREATED
    return _SUCCESS


def _read_loosely(raw: msgspec.Raw) -> _Result:
    """Read a result member by member, of whatever types and sizes; ValueError if it is none."""
    loose = _decode_loose(raw)
    kind = _decode_kind(loose.kind)
    task = read_or_none(_decode_task, loose.task)
    blocks = read_blocks(loose.content)
    return _Result(bytes(loose.is_error) == b"true", kind, task, blocks, loose.structured)
