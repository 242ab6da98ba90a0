"""The mix of calls: repeatable, and of every kind."""

from collections import Counter
from itertools import islice

from mcp_proxy_exporter.demo.script import LONGEST_PAUSE, MEAN_PAUSE, write
from mcp_proxy_exporter.demo.tools import TOOLS, find_complaint


def test_the_same_seed_gives_the_same_calls() -> None:
    assert list(islice(write(1), 200)) == list(islice(write(1), 200))


def test_another_seed_gives_other_calls() -> None:
    assert list(islice(write(1), 200)) != list(islice(write(2), 200))


def test_every_tool_is_called_and_one_that_does_not_exist() -> None:
    calls = Counter(act.tool for act in islice(write(1), 2000))

    assert calls.keys() == {*TOOLS, "climb_curtain"}
    assert calls["sharpen_claw"] > calls["scratch_sofa"] > calls["nap"] > calls["catch_laser"]
    assert 0 < calls["climb_curtain"] < 100


def test_arguments_are_always_good() -> None:
    for act in islice(write(3), 2000):
        if act.tool in TOOLS:
            assert find_complaint(TOOLS[act.tool].input_schema, act.arguments) is None


def test_some_scratching_fails_and_some_succeeds() -> None:
    acts = [act for act in islice(write(4), 2000) if act.tool == "scratch_sofa"]
    failed = sum(TOOLS["scratch_sofa"].answer(act.arguments).failed for act in acts)

    assert 0.2 < failed / len(acts) < 0.4


def test_only_naps_are_given_up_and_before_their_end() -> None:
    given_up = [act for act in islice(write(5), 5000) if act.patience is not None]

    assert given_up
    assert {act.tool for act in given_up} == {"nap"}
    assert all((act.patience or 0) < act.arguments["seconds"] for act in given_up)


def test_the_pace_is_lively_and_never_stalls() -> None:
    pauses = [act.pause for act in islice(write(6), 5000)]

    assert 0.9 * MEAN_PAUSE < sum(pauses) / len(pauses) < 1.1 * MEAN_PAUSE
    assert max(pauses) <= LONGEST_PAUSE
