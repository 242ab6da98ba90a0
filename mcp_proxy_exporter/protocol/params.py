"""The members of ``params`` that inspection reads, of whatever method.

Knows their names and types in all MCP revisions, and how to read those that a peer broke the types
of; does not know what they mean for a call.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from mcp_proxy_exporter.protocol.ids import Id, read_id

T = TypeVar("T")


class ClientInfo(msgspec.Struct, gc=False, frozen=True):
    """Who a client says that it is."""

    name: str | None = None


class Meta(msgspec.Struct, gc=False, frozen=True):
    """``params._meta``."""

    protocol_version: str | None = msgspec.field(
        name="io.modelcontextprotocol/protocolVersion", default=None
    )
    client_info: ClientInfo | None = msgspec.field(
        name="io.modelcontextprotocol/clientInfo", default=None
    )
    traceparent: str | None = None
    """W3C Trace Context (2026-07-28 basic/index, _meta)."""


class TaskParams(msgspec.Struct, gc=False, frozen=True):
    """``params.task`` (2025-11-25): that it is there is all that matters."""


class Params(msgspec.Struct, gc=False, frozen=True):
    """``params`` of any method, without what nobody reads."""

    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"")
    uri: str | None = None
    cursor: str | None = None
    level: str | None = None
    task_id: str | None = msgspec.field(name="taskId", default=None)
    task: TaskParams | None = None
    meta: Meta | None = msgspec.field(name="_meta", default=None)
    request_id: Id = msgspec.field(name="requestId", default=msgspec.UNSET)
    """Of ``notifications/cancelled``."""
    request_state: str | None = msgspec.field(name="requestState", default=None)
    """Of a call that is repeated with the input that its server asked for (2026-07-28)."""
    protocol_version: str | None = msgspec.field(name="protocolVersion", default=None)
    """Of ``initialize``, as ``client_info``."""
    client_info: ClientInfo | None = msgspec.field(name="clientInfo", default=None)
    status: str | None = None
    """Of ``notifications/tasks`` and ``notifications/tasks/status``, as the next one."""
    result: msgspec.Raw = msgspec.Raw(b"")


class _LooseParams(msgspec.Struct, gc=False, frozen=True):
    """``params`` of whatever types."""

    name: msgspec.Raw = msgspec.Raw(b"")
    arguments: msgspec.Raw = msgspec.Raw(b"")
    uri: msgspec.Raw = msgspec.Raw(b"")
    cursor: msgspec.Raw = msgspec.Raw(b"")
    level: msgspec.Raw = msgspec.Raw(b"")
    task_id: msgspec.Raw = msgspec.field(name="taskId", default=msgspec.Raw(b""))
    task: msgspec.Raw = msgspec.Raw(b"")
    meta: msgspec.Raw = msgspec.field(name="_meta", default=msgspec.Raw(b""))
    request_id: msgspec.Raw = msgspec.field(name="requestId", default=msgspec.Raw(b""))
    request_state: msgspec.Raw = msgspec.field(name="requestState", default=msgspec.Raw(b""))
    protocol_version: msgspec.Raw = msgspec.field(name="protocolVersion", default=msgspec.Raw(b""))
    client_info: msgspec.Raw = msgspec.field(name="clientInfo", default=msgspec.Raw(b""))
    status: msgspec.Raw = msgspec.Raw(b"")
    result: msgspec.Raw = msgspec.Raw(b"")


class _LooseMeta(msgspec.Struct, gc=False, frozen=True):
    """``params._meta`` of whatever types."""

    protocol_version: msgspec.Raw = msgspec.field(
        name="io.modelcontextprotocol/protocolVersion", default=msgspec.Raw(b"")
    )
    client_info: msgspec.Raw = msgspec.field(
        name="io.modelcontextprotocol/clientInfo", default=msgspec.Raw(b"")
    )
    traceparent: msgspec.Raw = msgspec.Raw(b"")


_decode_loose_params = msgspec.json.Decoder(_LooseParams).decode
_decode_loose_meta = msgspec.json.Decoder(_LooseMeta).decode
_decode_client_info = msgspec.json.Decoder(ClientInfo).decode
_decode_task = msgspec.json.Decoder(TaskParams).decode
_decode_text = msgspec.json.Decoder(str).decode


def read_params(raw: msgspec.Raw) -> Params | None:
    """Read ``params`` of whatever types; None where it is no object."""
    try:
        loose = _decode_loose_params(raw)
    except msgspec.DecodeError:  # absent, or an array
        return None
    return Params(
        name=read_text(loose.name),
        arguments=loose.arguments,
        uri=read_text(loose.uri),
        cursor=read_text(loose.cursor),
        level=read_text(loose.level),
        task_id=read_text(loose.task_id),
        task=read_or_none(_decode_task, loose.task),
        meta=_meta(loose.meta),
        request_id=read_or_none(read_id, loose.request_id) if loose.request_id else msgspec.UNSET,
        request_state=read_text(loose.request_state),
        protocol_version=read_text(loose.protocol_version),
        client_info=read_or_none(_decode_client_info, loose.client_info),
        status=read_text(loose.status),
        result=loose.result,
    )


def _meta(raw: msgspec.Raw) -> Meta | None:
    loose = read_or_none(_decode_loose_meta, raw)
    if loose is None:
        return None
    info = read_or_none(_decode_client_info, loose.client_info)
    return Meta(read_text(loose.protocol_version), info, read_text(loose.traceparent))


def read_text(raw: msgspec.Raw) -> str | None:
    """Read a string; None where there is none."""
    return read_or_none(_decode_text, raw)


def is_absent(raw: msgspec.Raw) -> bool:
    """Tell whether a member is missing or null, which peers use alike."""
    return len(raw) in {0, 4} and bytes(raw) in {b"", b"null"}


def read_or_none(read: Callable[[msgspec.Raw], T], raw: msgspec.Raw) -> T | None:
    """Read a member; None where it is absent or not as specified."""
    try:
        return read(raw)
    except msgspec.DecodeError:
        return None


def read_anyhow(read: Callable[[msgspec.Raw], T], raw: msgspec.Raw) -> T | None:
    """Read a member that nobody has looked into; None also if it is no UTF-8 or nested too deeply.

    Within a request such a text is mended and read again instead (`jsonrpc`).
    """
    try:
        return read(raw)
    except (ValueError, RecursionError):
        return None
