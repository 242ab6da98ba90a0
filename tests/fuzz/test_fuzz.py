"""A slice of the hunt (`make fuzz` does a million runs), and proof that it finds what is there."""

import time
from collections.abc import Sequence

import pytest

from mcp_proxy_exporter.protocol.encoding import ContentDecoder
from mcp_proxy_exporter.protocol.jsonrpc import decode
from mcp_proxy_exporter.protocol.sse import EventStreamDecoder, ServerSentEvent
from tests.fuzz import content_codings, event_streams, hunt, json_messages
from tests.fuzz.__main__ import list_lives, main, report
from tests.fuzz.cuts import cut
from tests.fuzz.hunt import (
    LIFE,
    Finding,
    HangError,
    HungryError,
    SlowError,
    Tally,
    Target,
    shrink,
)
from tests.fuzz.targets import TARGETS

FEW = 750
MANY = 2_000
MARK = b"mark"
MIB = 1 << 20


class Forgetful(EventStreamDecoder, eq=False, gc=False):
    """Forgets from one piece to the next that a CR has passed."""

    def feed(self, data: bytes) -> Sequence[ServerSentEvent]:
        self._skip_lf = False
        return super().feed(data)


def search(target: Target, runs: int) -> Finding | None:
    tally = Tally()
    for first in range(0, runs, LIFE):
        hunt.hunt(target, range(first, first + LIFE), tally)
        if tally.findings:
            return tally.findings[0]
    assert tally.runs == runs
    return None


def target_of(check: hunt.Check) -> Target:
    return Target("planted", 1, lambda: [b"some text", b"a " + MARK], [MARK], lambda: check)


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_promise(name: str) -> None:
    finding = search(TARGETS[name], FEW if name == "exchanges" else MANY)
    assert finding is None, finding.describe()


def test_a_million_runs_give_every_target_a_tenth() -> None:
    runs = dict.fromkeys(TARGETS, 0)
    for name, numbers in list_lives(TARGETS, 1_000_000, seed=0):
        runs[name] += len(numbers)
    assert sum(runs.values()) == 1_000_000
    assert min(runs.values()) >= 100_000


@pytest.mark.parametrize("name", TARGETS)
def test_a_run_is_the_same_input_whenever_it_is_made(name: str) -> None:
    target = TARGETS[name]
    inputs = [target.input(number) for number in range(30)]
    assert [target.input(number) for number in reversed(range(30))] == inputs[::-1]
    assert len(set(inputs)) > 15
    assert all(b"".join(cut(data)) == data and b"" not in cut(data) for data in inputs)


def test_a_decoder_that_forgets_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(event_streams, "EventStreamDecoder", Forgetful)
        finding = search(event_streams.TARGET, MANY)
        assert finding is not None
        assert finding.alone
        assert len(finding.data) < 30
        assert b"\r\n" in finding.data
        assert not report({"sse": Tally(findings=[finding])}, 0.0)
        printed = capsys.readouterr().out
        assert f"--target sse --seed {finding.first} --runs" in printed
        assert repr(finding.data) in printed
        again = ["--target", "sse", "--input", repr(finding.data)]
        assert main(again) == 1
    assert main(again) == 0


def test_a_reader_that_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode_or_raise(payload: bytes) -> object:
        payload.decode()  # which raises for what is no UTF-8
        return decode(payload)

    monkeypatch.setattr(json_messages, "decode", decode_or_raise)
    finding = search(json_messages.TARGET, MANY)
    assert finding is not None
    assert len(finding.data) == 1
    assert "UnicodeDecodeError" in finding.trace


def test_a_bomb_that_expands_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunt, "_TRY_SECONDS", 0.0)
    # As if the bound of the output were ten times what was asked for.
    take_off = ContentDecoder.decode
    monkeypatch.setattr(
        ContentDecoder, "decode", lambda self, data, limit: take_off(self, data, limit * 10)
    )
    finding = search(content_codings.TARGET, FEW)
    assert finding is not None
    assert "len(decoded) <= room" in finding.trace


def test_a_slow_input_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunt, "MAX_SECONDS", 0.005)

    def check(data: bytes) -> None:
        until = time.thread_time() + (0.02 if MARK in data else 0.0)
        while time.thread_time() < until:
            pass

    finding = search(target_of(check), FEW)
    assert finding is not None
    assert finding.data == MARK
    assert SlowError.__name__ in finding.trace


def test_an_input_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunt, "HANG_SECONDS", 0.05)

    def check(data: bytes) -> None:
        while MARK in data:
            pass

    finding = search(target_of(check), FEW)
    assert finding is not None
    assert finding.data == MARK
    assert HangError.__name__ in finding.trace


def test_an_input_that_takes_much_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunt, "MAX_GROWTH", 1)
    taken = [b""]

    def check(data: bytes) -> None:
        if MARK in data:
            taken.append(b"\1" * (len(taken) * 8 * MIB))

    finding = search(target_of(check), FEW)
    assert finding is not None
    assert HungryError.__name__ in finding.trace
    assert MARK in finding.data


def test_what_only_breaks_after_other_runs_is_told_with_them() -> None:
    def begin() -> hunt.Check:
        seen: set[bytes] = set()

        def check(data: bytes) -> None:
            seen.add(data[:1])
            assert len(seen) < 3

        return check

    finding = search(Target("planted", 1, lambda: [b"ax", b"bx", b"cx"], [b"x"], begin), FEW)
    assert finding is not None
    assert not finding.alone
    assert "--input" not in finding.describe()


def test_an_input_is_made_smaller() -> None:
    assert shrink(b"some A and some B, too", lambda data: b"A" in data and b"B" in data) == b"AB"


def test_the_hunt_in_two_processes_counts_all_its_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", "responses", "--runs", "600", "--seed", "7"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:3]] == [
        ["responses", "600"],
        ["all", "600"],
    ]


@pytest.mark.parametrize(
    "argv", [["--input", "b''"], ["--target", "sse", "--input", "5"], ["--target", "nobody"]]
)
def test_a_wrong_command_line_is_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(argv)
