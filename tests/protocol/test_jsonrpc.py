"""JSON-RPC messages out of whatever bytes come."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from mcp_proxy_exporter.protocol.ids import id_key
from mcp_proxy_exporter.protocol.jsonrpc import (
    INVALID_JSON,
    MAX_BATCH,
    MAX_BATCH_COMMAS,
    MAX_MENDED,
    MAX_SURROGATES,
    TOO_LARGE,
    Batch,
    Message,
    decode,
)

CALL = b"""{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
    "name": "sharpen_claw", "uri": "cat://1", "cursor": "c", "level": "info", "taskId": "t",
    "task": {"ttl": 1}, "arguments": {"level": 3},
    "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "progressToken": 1}}}"""


def message(text: bytes | str | dict[str, Any]) -> Message:
    if isinstance(text, dict):
        text = json.dumps({"jsonrpc": "2.0", **text})
    decoded = decode(text.encode() if isinstance(text, str) else text)
    assert isinstance(decoded, Message)
    return decoded


def test_a_request_shows_the_members_that_are_needed() -> None:
    call = message(CALL)
    assert (call.id, call.method, len(call.result), call.error) == (7, "tools/call", 0, None)
    params = call.params
    assert params is not None
    assert (params.name, params.uri, params.cursor) == ("sharpen_claw", "cat://1", "c")
    assert (params.level, params.task_id) == ("info", "t")
    assert params.task is not None
    assert params.meta is not None
    assert params.meta.protocol_version == "2026-07-28"


def test_a_response_keeps_the_text_of_its_result() -> None:
    response = message(b'{"jsonrpc":"2.0","id":1,"result":{"content": [ ] } }')
    assert bytes(response.result) == b'{"content": [ ] }'
    assert response.method is None


def test_an_error_shows_its_code_and_message() -> None:
    error = message({"id": 1, "error": {"code": -32601, "message": "no", "data": [1]}}).error
    assert error is not None
    assert (error.code, error.message) == (-32601, "no")


def test_a_mutable_buffer_is_read_like_bytes() -> None:
    assert message(bytes(bytearray(CALL))) == message(CALL)
    assert isinstance(decode(bytearray(CALL)), Message)
    assert isinstance(decode(bytearray(b"[" + CALL + b"]")), Batch)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("0", 0),
        ("-0", 0),
        ('"0"', "0"),
        ("0.0", (float, 0.0)),
        ("1e0", (float, 1.0)),
        ("null", None),
        ("true", (bool, True)),
        ("false", (bool, False)),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ('"\\u00e9"', "é"),
        ('"é"', "é"),
        ('"\\ud83d\\ude00"', "😀"),
        ('""', ""),
    ],
)
def test_ids_are_typed(text: str, key: object) -> None:
    decoded = message(f'{{"jsonrpc":"2.0","id":{text},"method":"x"}}')
    assert id_key(decoded.id) == key
    assert type(id_key(decoded.id)) is type(key)


def test_the_last_of_duplicate_members_counts() -> None:
    assert message(b'{"jsonrpc":"2.0","id":1,"id":2,"method":"a","method":"b"}').id == 2


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b'{"id":1,"method":"x"}',
        b'{"jsonrpc":"1.0","id":1,"method":"x"}',
        b'{"jsonrpc":2.0,"id":1,"method":"x"}',
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","result":5,"jsonrpc":null}',
        b'{"jsonrpc":"2.0","params":[]}',
        b'{"client_name":"a cat","redirect_uris":["http://localhost/"]}',
        b'"text"',
        b"5",
        b"null",
        b"true",
        b" 17 ",
    ],
)
def test_json_that_is_no_json_rpc_is_foreign(text: bytes) -> None:
    assert decode(text) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"[",
        b"}",
        b"\x00",
        b'{"jsonrpc":"2.0","id":1,"method":"x"',
        b'{"jsonrpc":"2.0","id":1,"method":"x"} x',
        b'{"jsonrpc":"2.0","id":1,"method":"x"}{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":01,"method":"x"}',
        b'{"jsonrpc":"2.0","id":NaN,"method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"result":{"a":Infinity}}',
        b'{"jsonrpc":"2.0","id":1,"method":"x",}',
        b"{'jsonrpc':'2.0'}",
        b'{"jsonrpc":"2.0","id":1,"method":"\\q"}',
        b'{"jsonrpc":"2.0","id":1,"method":"a\nb"}',
        b"\x1f\x8b\x08",
        b"\xff\xfe",
        '{"jsonrpc":"2.0","id":1,"method":"x"}'.encode("utf-16"),
        '{"jsonrpc":"2.0","id":1,"method":"x"}'.encode("utf-32-le"),
        b'{"jsonrpc":"2.0","id":{},"method":"x"}',
        b'{"jsonrpc":"2.0","id":[1],"method":"x"}',
        b'{"jsonrpc":"2.0","id":' + b"9" * 5_000 + b',"method":"x"}',
        b'{"jsonrpc":"2.0","id":1e999,"method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":5}',
        b'{"jsonrpc":"2.0","id":1,"method":["x"]}',
        b'[{"jsonrpc":"2.0","id":1,"method":"x"}',
    ],
)
def test_garbage_is_malformed(text: bytes) -> None:
    assert decode(text) == INVALID_JSON


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"jsonrpc":"2.0","id":' + b"[" * 200_000,
        b'\xef\xbb\xbf{"a":' + b"[" * 200_000,
    ],
)
def test_nesting_beyond_all_bounds_is_too_large(text: bytes) -> None:
    assert decode(text) == TOO_LARGE


def test_ordinary_nesting_is_read() -> None:
    deep = b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 200 + b"]" * 200 + b"}"
    assert message(deep).id == 1


def test_a_number_of_5000_digits_hurts_nobody_outside_an_id() -> None:
    digits = b"9" * 5_000
    call = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":%b,"level":%b}}' % (digits, digits)
    assert message(call).method == "x"


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ("[1, 2]", None),
        ("null", None),
        ('"text"', None),
        ('{"name": 5}', None),
        ('{"name": null}', None),
        ('{"name": ["a"]}', None),
        ('{"name": {"a": 1}}', None),
        ('{"name": "a", "level": 5, "_meta": [], "task": 1}', "a"),
        ('{"name": "a", "_meta": {"io.modelcontextprotocol/protocolVersion": 5}}', "a"),
        ('{"name": "a", "cursor": 1, "_meta": {"x": 1}, "task": {}}', "a"),
    ],
)
def test_params_of_odd_types_cost_only_what_is_odd(params: str, name: str | None) -> None:
    call = message(f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}')
    assert (call.id, call.method) == (1, "tools/call")
    assert (None if call.params is None else call.params.name) == name


def test_odd_params_keep_what_is_in_order() -> None:
    text = CALL.replace(b'"level": "info"', b'"level": 17')
    params, expected = message(text).params, message(CALL).params
    assert params is not None
    assert expected is not None
    assert params.level is None
    assert (params.name, params.uri, params.cursor, params.task_id) == (
        expected.name,
        expected.uri,
        expected.cursor,
        expected.task_id,
    )
    assert params.meta == expected.meta
    assert params.task == expected.task


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ('{"code": "x"}', None),
        ('{"code": null}', None),
        ('"text"', None),
        ("[]", None),
        ("{}", None),
        ('{"code": -32601, "message": 5}', None),
        ('{"code": ' + "9" * 5_000 + "}", None),
    ],
)
def test_an_odd_error_is_still_an_error(error: str, code: int | None) -> None:
    response = message(f'{{"jsonrpc":"2.0","id":1,"error":{error}}}')
    assert response.error is not None
    assert response.error.code == code


def test_null_members_are_absent() -> None:
    text = '{"jsonrpc":"2.0","id":1,"method":null,"params":[],"error":null,"result":{}}'
    response = message(text)
    assert response.method is None
    assert response.error is None
    assert bytes(response.result) == b"{}"
    assert message('{"jsonrpc":"2.0","method":"x","params":[]}').id is UNSET


def test_a_byte_order_mark_is_let_pass() -> None:
    assert message(b"\xef\xbb\xbf" + CALL).id == 7
    assert isinstance(decode(b"\xef\xbb\xbf[" + CALL + b"]"), Batch)


@pytest.mark.parametrize(
    ("escaped", "name"),
    [
        (r"\ud800", "\ufffd"),
        (r"\uDFFF", "\ufffd"),
        (r"a\uD83D", "a\ufffd"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ud83d\ude00\ude00", "😀\ufffd"),
        # A backslash and the text "ud83d": changed too, which only such a message suffers.
        (r"\\ud83d\ud800", r"\ufffd" + "\ufffd"),
    ],
)
def test_half_a_surrogate_pair_is_replaced(escaped: str, name: str) -> None:
    text = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{escaped}"}}}}'
    params = message(text).params
    assert params is not None
    assert params.name == name


def test_half_a_surrogate_pair_in_a_result_leaves_the_response_readable() -> None:
    text = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"text":"cut \\ud83d"}]}}'
    response = message(text)
    assert response.id == 1
    assert len(response.result) == len(b'{"content":[{"text":"cut \\ud83d"}]}')


def test_a_text_of_nothing_but_halves_is_not_mended() -> None:
    for half, others in ((b"\\ud800", b"\\u0800"), (b"\\uD800", b"\\u0800")):
        text = b'{"jsonrpc":"2.0","method":"%b"}'
        assert isinstance(decode(text % (half * MAX_SURROGATES)), Message)
        assert isinstance(decode(text % (half + others * MAX_SURROGATES)), Message)
        assert decode(text % (half * (MAX_SURROGATES + 1))) == INVALID_JSON


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    params = message(
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"caf\xe9"}}'
    ).params
    assert params is not None
    assert params.name == "caf\ufffd"


def test_long_texts_that_are_no_utf8_are_not_mended() -> None:
    def fill(byte: bytes, size: int) -> bytes:
        text = b'{"jsonrpc":"2.0","id":1,"method":"%b"}'
        return text % (byte * (size + 2 - len(text)))

    assert isinstance(decode(fill(b"\xff", MAX_MENDED)), Message)
    assert decode(fill(b"\xff", MAX_MENDED + 1)) == TOO_LARGE
    assert isinstance(decode(fill(b"a", 2 * MAX_MENDED) + b" "), Message)
    halves = fill(b"a", 2 * MAX_MENDED).replace(b"aaaaaa", b"\\ud800", 10)
    assert isinstance(decode(halves), Message)


def test_bytes_that_are_no_utf8_in_a_long_result_leave_the_response_readable() -> None:
    response = message(b'{"jsonrpc":"2.0","id":1,"result":"%b"}' % (b"\xff" * 2 * MAX_MENDED))
    assert response.id == 1


def test_a_batch_gives_each_element_with_its_text() -> None:
    texts = [
        b'{"jsonrpc":"2.0","id":1,"method":"a"}',
        b'{"jsonrpc": "2.0", "method": "b"}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
    ]
    batch = decode(b" [" + b" , ".join(texts) + b"] ")
    assert isinstance(batch, Batch)
    assert [bytes(text) for _, text in batch.elements] == texts
    assert [element for element, _ in batch.elements] == [decode(text) for text in texts]


def test_each_element_of_a_batch_is_judged_alone() -> None:
    batch = decode(
        b'[1,null,[],{},{"jsonrpc":"2.0","id":[],"method":"x"},'
        b'{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":1,"method":"x","params":[]}]'
    )
    assert isinstance(batch, Batch)
    elements = [element for element, _ in batch.elements]
    assert elements[:5] == [None, None, None, None, INVALID_JSON]
    assert all(isinstance(element, Message) for element in elements[5:])


def test_an_empty_array_is_an_empty_batch() -> None:
    assert decode(b"[]") == Batch(())


def test_a_batch_with_half_a_surrogate_pair_is_read() -> None:
    batch = decode(b'[{"jsonrpc":"2.0","id":1,"method":"\\ud800"}]')
    assert isinstance(batch, Batch)
    assert isinstance(batch.elements[0][0], Message)


def test_a_batch_of_too_many_is_too_large() -> None:
    element = b'{"jsonrpc":"2.0","method":"x"}'
    assert isinstance(decode(b"[" + b",".join([element] * MAX_BATCH) + b"]"), Batch)
    assert decode(b"[" + b",".join([element] * (MAX_BATCH + 1)) + b"]") == TOO_LARGE


def test_a_batch_that_would_cost_memory_is_not_even_split() -> None:
    assert decode(b"[1" + b",1" * (MAX_BATCH_COMMAS + 1) + b"]") == TOO_LARGE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
members = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | json_values,
        "id": json_values,
        "method": st.sampled_from(["tools/call", "tools/list", "x"]) | json_values,
        "params": json_values
        | st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                ("name", "cursor", "uri", "level", "task", "_meta"), json_values
            ),
        ),
        "result": json_values,
        "error": json_values | st.fixed_dictionaries({}, optional={"code": json_values}),
    },
)


@given(st.binary(max_size=60) | (members | st.lists(members)).map(lambda x: json.dumps(x).encode()))
def test_anything_can_be_decoded(data: bytes) -> None:
    decoded = decode(data)
    if isinstance(decoded, Message):
        assert decoded.jsonrpc == "2.0"
        hash(id_key(decoded.id))
