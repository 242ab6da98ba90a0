"""Content codings, and bombs in them."""

import gzip
import random
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from mcp_proxy_exporter.protocol import encoding
from mcp_proxy_exporter.protocol.encoding import (
    MAX_CODINGS,
    BrokenCodingError,
    ContentDecoder,
    ExpansionError,
    UnknownCodingError,
    codings_of,
)

TEXT = b'{"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"text","text":"meow"}]}}' * 20
LIMIT = 1_000_000
BOMB_SIZE = 200 * 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


ENCODERS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"gzip", gzip.compress),
    (b"x-gzip", gzip.compress),
    (b"deflate", zlib.compress),
    (b"deflate", raw_deflate),
    (b"br", brotli.compress),
    (b"zstd", zstd.compress),
]


@pytest.mark.parametrize(("coding", "encode"), ENCODERS)
def test_a_coding_is_taken_off(coding: bytes, encode: Callable[[bytes], bytes]) -> None:
    assert ContentDecoder([coding]).decode(encode(TEXT), LIMIT) == TEXT


@pytest.mark.parametrize(("coding", "encode"), ENCODERS)
def test_a_body_may_come_byte_by_byte(coding: bytes, encode: Callable[[bytes], bytes]) -> None:
    decoder = ContentDecoder([coding])
    encoded = encode(TEXT)
    pieces = [decoder.decode(encoded[i : i + 1], LIMIT) for i in range(len(encoded))]
    assert b"".join(pieces) == TEXT


def test_codings_may_be_stacked() -> None:
    encoded = zstd.compress(gzip.compress(brotli.compress(TEXT)))
    decoder = ContentDecoder([b"br", b"gzip", b"zstd"])
    assert decoder.decode(encoded[:5], LIMIT) == b""
    assert decoder.decode(encoded[5:], LIMIT) == TEXT


def test_a_flushed_event_is_readable_before_the_body_ends() -> None:
    gzipper = zlib.compressobj(wbits=31)
    event = gzipper.compress(TEXT) + gzipper.flush(zlib.Z_SYNC_FLUSH)
    assert ContentDecoder([b"gzip"]).decode(event, LIMIT) == TEXT
    brotler = brotli.Compressor()
    event = brotler.process(TEXT) + brotler.flush()
    assert ContentDecoder([b"br"]).decode(event, LIMIT) == TEXT
    zstder = zstd.ZstdCompressor()
    event = zstder.compress(TEXT, zstder.FLUSH_BLOCK)
    assert ContentDecoder([b"zstd"]).decode(event, LIMIT) == TEXT


@pytest.mark.parametrize(("coding", "encode"), [(b"gzip", gzip.compress), (b"zstd", zstd.compress)])
@pytest.mark.parametrize("step", [1, 10, 10_000])
def test_a_body_of_several_members_is_one_text(
    coding: bytes, encode: Callable[[bytes], bytes], step: int
) -> None:
    encoded = encode(b"one") + encode(b"") + encode(b"two")
    decoder = ContentDecoder([coding])
    pieces = [encoded[i : i + step] for i in range(0, len(encoded), step)]
    assert b"".join(decoder.decode(piece, LIMIT) for piece in pieces) == b"onetwo"


def test_gzip_may_be_padded_with_zeros() -> None:
    assert ContentDecoder([b"gzip"]).decode(gzip.compress(b"a") + b"\0" * 20, LIMIT) == b"a"


def test_the_padding_may_come_in_pieces_of_its_own() -> None:
    padded = gzip.compress(b"a") + bytes(20) + gzip.compress(b"b") + bytes(20)
    for step in (1, 7, len(padded) // 2):
        decoder = ContentDecoder([b"gzip"])
        pieces = [padded[i : i + step] for i in range(0, len(padded), step)]
        assert b"".join(decoder.decode(piece, LIMIT) for piece in pieces) == b"ab"


def test_zeros_before_the_first_member_are_no_padding() -> None:
    with pytest.raises(BrokenCodingError):
        ContentDecoder([b"gzip"]).decode(bytes(20) + gzip.compress(b"a"), LIMIT)


@pytest.mark.parametrize(("coding", "encode"), ENCODERS)
@pytest.mark.parametrize("size", [65_535, 65_536, 98_304, 200_000, 999_999])
def test_a_long_text_comes_out_whole_with_its_last_byte(
    coding: bytes, encode: Callable[[bytes], bytes], size: int
) -> None:
    # So repetitive that a decoder has taken all input long before it has put out everything.
    text = (b"0123456789" * (size // 10 + 1))[:size]
    assert ContentDecoder([coding]).decode(encode(text), LIMIT) == text


@pytest.mark.parametrize("encode", [zlib.compress, raw_deflate])
def test_what_follows_a_deflate_stream_is_not_held(encode: Callable[[bytes], bytes]) -> None:
    decoder = ContentDecoder([b"deflate"])
    assert decoder.decode(encode(b"a") + b"rest", LIMIT) == b"a"
    assert decoder.decode(b"more" * 1_000, LIMIT) == b""
    [inner] = decoder._decoders
    assert isinstance(inner, encoding._Deflate)
    assert inner._stream is not None
    assert inner._stream.unused_data == b"rest"


@pytest.mark.parametrize("size", [32_751, 32_752, 32_753, 98_272, 98_273, 200_000])
def test_a_long_flushed_event_is_readable_before_the_body_ends(size: int) -> None:
    text = (b"0123456789" * (size // 10 + 1))[:size]
    brotler = brotli.Compressor()
    encoded = brotler.process(text) + brotler.flush()
    assert ContentDecoder([b"br"]).decode(encoded, LIMIT) == text


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"])
def test_garbage_is_no_coding(coding: bytes) -> None:
    with pytest.raises(BrokenCodingError):
        ContentDecoder([coding]).decode(b"\x07garbage, garbage, garbage", LIMIT)


@pytest.mark.parametrize(("coding", "encode"), ENCODERS)
def test_the_limit_itself_is_no_bomb(coding: bytes, encode: Callable[[bytes], bytes]) -> None:
    assert ContentDecoder([coding]).decode(encode(TEXT), len(TEXT)) == TEXT
    with pytest.raises(ExpansionError):
        ContentDecoder([coding]).decode(encode(TEXT), len(TEXT) - 1)


@pytest.mark.parametrize("coding", [b"gzip", b"zstd"])
def test_members_count_together(coding: bytes) -> None:
    encode = dict(ENCODERS)[coding]
    with pytest.raises(ExpansionError):
        ContentDecoder([coding]).decode(encode(TEXT) * 100, len(TEXT) * 100 - 1)


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        (b"gzip", lambda data: gzip.compress(data, 1)),
        (b"deflate", lambda data: zlib.compress(data, 1)),
        (b"br", lambda data: brotli.compress(data, quality=1)),
        (b"zstd", zstd.compress),
    ],
)
def test_a_bomb_never_expands_beyond_the_limit(
    coding: bytes, encode: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    produced = []
    decoder = ContentDecoder([coding])
    [inner] = decoder._decoders

    class Watched:
        def decode(self, data: bytes, limit: int) -> bytes:
            output = inner.decode(data, limit)
            produced.append(len(output))
            return output

    monkeypatch.setattr(decoder, "_decoders", [Watched()])
    bomb = encode(bytes(BOMB_SIZE))
    with pytest.raises(ExpansionError):
        decoder.decode(bomb, LIMIT)
    assert max(produced) <= LIMIT + 4 * encoding.BROTLI_STEP


def test_a_bomb_in_a_bomb_is_stopped_at_its_outer_coding() -> None:
    bomb = gzip.compress(gzip.compress(bytes(BOMB_SIZE), 1), 1)
    with pytest.raises(ExpansionError):
        ContentDecoder([b"gzip", b"gzip"]).decode(bomb, 10_000)


def test_zstd_with_a_huge_window_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    frame = compressor.compress(b"a" * 1_000, compressor.FLUSH_BLOCK)
    with pytest.raises(BrokenCodingError):
        ContentDecoder([b"zstd"]).decode(frame, LIMIT)


@pytest.mark.parametrize("codings", [[b"compress"], [b"gzip", b"exi"], [b"*"]])
def test_an_unknown_coding_is_told(codings: list[bytes]) -> None:
    with pytest.raises(UnknownCodingError):
        ContentDecoder(codings)


def test_a_tower_of_codings_is_refused() -> None:
    ContentDecoder([b"gzip"] * MAX_CODINGS)
    with pytest.raises(UnknownCodingError):
        ContentDecoder([b"gzip"] * (MAX_CODINGS + 1))


def test_without_its_library_br_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "brotli", None)
    with pytest.raises(UnknownCodingError):
        ContentDecoder([b"br"])


@pytest.mark.parametrize(
    ("field", "codings"),
    [
        (b"gzip", [b"gzip"]),
        (b"GZIP", [b"gzip"]),
        (b" br , gzip ", [b"br", b"gzip"]),
        (b"identity", []),
        (b"", []),
        (b",", []),
        (b"identity, gzip", [b"gzip"]),
    ],
)
def test_a_field_names_codings_in_order(field: bytes, codings: list[bytes]) -> None:
    assert codings_of(field) == codings


@given(st.sampled_from([b"gzip", b"deflate", b"br", b"zstd"]), st.lists(st.binary(max_size=50)))
def test_any_bytes_are_decoded_or_broken(coding: bytes, pieces: list[bytes]) -> None:
    decoder = ContentDecoder([coding])
    try:
        for piece in pieces:
            assert len(decoder.decode(piece, 100)) <= 100
    except (BrokenCodingError, ExpansionError):
        pass


# What it costs


@pytest.mark.parametrize(("coding", "encode"), [(b"gzip", gzip.compress), (b"zstd", zstd.compress)])
def test_only_so_many_members_begin_within_a_few_bytes(
    coding: bytes, encode: Callable[[bytes], bytes]
) -> None:
    empty = encode(b"")
    allowed = encoding.FREE_MEMBERS + 1 + encoding.FREE_MEMBERS * len(empty) // 100
    assert ContentDecoder([coding]).decode(empty * allowed, LIMIT) == b""
    with pytest.raises(BrokenCodingError):
        ContentDecoder([coding]).decode(empty * 2 * allowed, LIMIT)


@pytest.mark.parametrize(("coding", "encode"), [(b"gzip", gzip.compress), (b"zstd", zstd.compress)])
@pytest.mark.parametrize("step", [1_000, 16_384])
def test_each_event_may_be_a_member_of_its_own(
    coding: bytes, encode: Callable[[bytes], bytes], step: int
) -> None:
    events = [
        b'data: {"jsonrpc":"2.0","method":"notifications/progress","params":'
        b'{"progressToken":"%d","progress":%d}}\n\n' % (number * 7919, number)
        for number in range(1_000)
    ]
    encoded = b"".join(map(encode, events))
    decoder = ContentDecoder([coding])
    pieces = [encoded[i : i + step] for i in range(0, len(encoded), step)]
    assert b"".join(decoder.decode(piece, LIMIT) for piece in pieces) == b"".join(events)


def test_what_shrinks_twice_is_too_much() -> None:
    # 430 bytes of empty deflate blocks take half a second to read otherwise.
    inner = gzip.compress(bytes(encoding.MAX_BETWEEN * 1_100), 9)
    assert len(inner) > encoding.MAX_BETWEEN
    outer = gzip.compress(inner, 9)
    assert encoding.MAX_SHRINKING * len(outer) < encoding.MAX_BETWEEN
    with pytest.raises(ExpansionError):
        ContentDecoder([b"gzip", b"gzip"]).decode(outer, BOMB_SIZE)


def test_two_codings_pass_what_nothing_makes_smaller() -> None:
    rng = random.Random(1)  # noqa: S311  (repeatable, not secret)
    text = rng.randbytes(500_000)
    encoded = brotli.compress(gzip.compress(text), quality=1)
    decoder = ContentDecoder([b"gzip", b"br"])
    pieces = [encoded[i : i + 16_384] for i in range(0, len(encoded), 16_384)]
    assert b"".join(decoder.decode(piece, LIMIT) for piece in pieces) == text


def flushed(coding: str, text: bytes, log: int) -> bytes:
    """Compress with a window of so many bits, and leave the stream open."""
    if coding == "br":
        brotler = brotli.Compressor(lgwin=log, quality=3)
        return bytes(brotler.process(text) + brotler.flush())
    if coding == "zstd":
        options: dict[int, int] = {zstd.CompressionParameter.window_log: log}
        zstder = zstd.ZstdCompressor(options=options)
        return zstder.compress(text, zstder.FLUSH_BLOCK)
    bits = {"gzip": 16 + log, "zlib": log, "deflate": -log}[coding]
    zipper = zlib.compressobj(wbits=bits)
    return zipper.compress(text) + zipper.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize("log", [10, 16, 17, 18, 19, 20, 21, 22, 23, 24])
@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_a_decoder_holds_no_more_than_its_window_and_what_it_put_out(coding: str, log: int) -> None:
    if coding == "zstd" and log > encoding.ZSTD_WINDOW_LOG:
        with pytest.raises(BrokenCodingError):
            ContentDecoder([b"zstd"]).decode(flushed(coding, TEXT, log), LIMIT)
        return
    size = (1 << log) + 300_000
    fixed = {"br": 256 * 1024, "zstd": 320 * 1024}[coding]
    decoder = ContentDecoder([coding.encode()])
    data = flushed(coding, bytes(size), log)
    decoder.decode(data[:1], size)
    assert decoder.held < fixed + 10_000
    decoder.decode(data[1:], size)
    assert decoder.held == fixed + (1 << log)
    small = ContentDecoder([coding.encode()])
    small.decode(flushed(coding, TEXT, log), LIMIT)
    assert small.held < 256 * 1024 + 3 * len(TEXT)


@pytest.mark.parametrize("coding", ["gzip", "zlib", "deflate"])
def test_a_window_of_deflate_is_small(coding: str) -> None:
    decoder = ContentDecoder([b"gzip" if coding == "gzip" else b"deflate"])
    assert decoder.held == 10 * 1024
    decoder.decode(flushed(coding, TEXT, 15), LIMIT)
    assert decoder.held == 10 * 1024 + len(TEXT)
    decoder = ContentDecoder([b"gzip" if coding == "gzip" else b"deflate"])
    decoder.decode(flushed(coding, bytes(LIMIT), 15), LIMIT)
    assert decoder.held == 42 * 1024


def test_a_frame_of_one_segment_holds_what_it_put_out() -> None:
    decoder = ContentDecoder([b"zstd"])
    encoded = zstd.compress(bytes(1_000))
    decoder.decode(encoded, LIMIT)
    assert decoder.held == 32 * 1024 + 2 * (1_000 + len(encoded))


def test_a_frame_begins_anew_with_its_memory() -> None:
    for coding, encode, least in ((b"gzip", gzip.compress, 10), (b"zstd", zstd.compress, 32)):
        decoder = ContentDecoder([coding])
        decoder.decode(encode(bytes(LIMIT)), LIMIT)
        assert decoder.held > (least + 30) * 1024
        decoder.decode(encode(b"a"), LIMIT)
        assert decoder.held < (least + 1) * 1024


def test_a_stack_holds_what_its_decoders_hold() -> None:
    decoder = ContentDecoder([b"gzip", b"deflate", b"gzip"])
    assert decoder.held == 3 * 10 * 1024
