"""The log: one line for each thing, nothing of the traffic in it, and not too much of it."""

import asyncio
import errno
import logging
import ssl
import sys
from collections.abc import Iterator

import pytest

from mcp_proxy_exporter import logs
from mcp_proxy_exporter.logs import FaultLog, LoopLog, NameLog, describe

CANARY = "canary-6f1c"
HERE = "tests/test_logs.py"


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fail_with_data() -> None:
    raise KeyError(CANARY)


def caught(depth: int = 0) -> BaseException:
    """Give an exception that has risen so deep."""
    try:
        descend(depth)
    except (KeyError, RecursionError) as error:
        return error
    raise AssertionError


def descend(depth: int) -> None:
    if depth:
        descend(depth - 1)
    fail_with_data()


def test_error_is_described_by_kind_and_places_without_its_text() -> None:
    text = describe(caught())
    assert text.startswith(f"KeyError at {HERE}:")
    assert " fail_with_data < " in text
    assert text.endswith(" caught")
    assert CANARY not in text
    assert describe(ValueError(CANARY)) == "ValueError"


def test_places_are_few_however_deep_an_error_rose() -> None:
    for depth in (50, sys.getrecursionlimit()):
        text = describe(caught(depth))
        assert text.count(" < ") == 7
        assert " < ... < " in text
        assert text.endswith(" caught")


def test_fault_is_counted_each_time_and_logged_once_per_stage_and_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted: list[str] = []
    clock = Clock()
    faults = FaultLog(counted.append, clock)

    def fail(stage: str) -> None:
        try:
            fail_with_data()
        except KeyError:
            faults(stage)

    for _ in range(3):
        fail("request")
    fail("response")
    clock.now = 59
    fail("request")
    assert [record.args[0] for record in caplog.records if record.args] == ["request", "response"]  # type: ignore[index]
    clock.now = 60
    fail("request")
    assert len(caplog.records) == 3
    assert counted == ["request"] * 3 + ["response"] + ["request"] * 2
    for record in caplog.records:
        assert record.levelno == logging.ERROR
        assert f"KeyError at {HERE}:" in record.getMessage()
        assert record.exc_info is None
    assert CANARY not in caplog.text


def test_fault_without_an_exception_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    FaultLog(lambda _stage: None)("sink")
    assert "at stage sink" in caplog.text


def test_unknown_names_are_logged_once_a_minute_and_few_of_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    names = NameLog(clock)
    for _ in range(3):
        names("cats", "meow")
    names("dogs", "meow")
    assert [record.getMessage() for record in caplog.records] == [
        f"server {server}: a tool was called that is in no tools/list: 'meow'"
        for server in ("cats", "dogs")
    ]
    for number in range(100):
        names("cats", f"meow {number}")
    assert len(caplog.records) == 10
    clock.now = 60
    names("cats", "meow")
    assert len(caplog.records) == 11
    assert {record.levelno for record in caplog.records} == {logging.INFO}


@pytest.mark.parametrize(
    "name",
    [
        "a\r\n2026-01-01 ERROR forged",
        "\x1b[2J\x07",
        "\u202eevil",
        "\ud800",
        "\u2028line",
        "x" * 1_000_000,
        "%s %d",
    ],
)
def test_name_stays_one_short_line_of_ascii(caplog: pytest.LogCaptureFixture, name: str) -> None:
    NameLog()("cats", name)
    [record] = caplog.records
    line = record.getMessage()
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 1000


@pytest.mark.parametrize(
    "error", [ssl.SSLError(1, CANARY), ConnectionResetError(CANARY), TimeoutError(CANARY)]
)
async def test_doings_of_peers_are_no_errors(
    caplog: pytest.LogCaptureFixture, error: OSError
) -> None:
    loop = asyncio.get_running_loop()
    caplog.clear()
    LoopLog()(loop, {"message": CANARY, "exception": error, "transport": CANARY})
    [record] = caplog.records
    assert record.levelno == logging.DEBUG
    assert CANARY not in caplog.text


async def test_error_in_a_callback_is_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopLog())
    caplog.clear()
    for _ in range(3):
        loop.call_soon(fail_with_data)
    await asyncio.sleep(0.01)
    [record] = caplog.records
    assert "unexpected error: KeyError at " in record.getMessage()
    full = {"message": CANARY, "exception": OSError(errno.EMFILE, CANARY, CANARY)}
    LoopLog()(loop, full)
    assert caplog.records[1].getMessage() == "unexpected error: too many open files, OSError"
    LoopLog()(loop, {"message": "something is odd"})
    assert caplog.records[2].getMessage() == "unexpected error: something is odd"
    assert CANARY not in caplog.text


@pytest.fixture
def _root_level() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.mark.usefixtures("_root_level")
def test_level_can_be_changed() -> None:
    logs.change_level("warning")
    assert logging.getLogger().level == logging.WARNING
