"""The cats' tools: the rules the demonstration is explained by."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from mcp_proxy_exporter.demo.tools import TOOLS, find_complaint


def test_there_are_the_four_tools_in_this_order() -> None:
    assert list(TOOLS) == ["sharpen_claw", "scratch_sofa", "nap", "catch_laser"]


@pytest.mark.parametrize(("level", "new_level"), [(1, 11), (42, 52), (995, 1000), (1000, 1000)])
def test_sharpening_adds_ten_levels_up_to_a_thousand(level: int, new_level: int) -> None:
    answer = TOOLS["sharpen_claw"].answer({"level": level})

    assert answer.structured == {"level": new_level}
    assert not answer.failed


@pytest.mark.parametrize(("level", "failed"), [(1, True), (49, True), (50, False), (1000, False)])
def test_the_sofa_resists_claws_below_fifty(level: int, *, failed: bool) -> None:
    assert TOOLS["scratch_sofa"].answer({"claw_level": level}).failed is failed


def test_the_laser_is_never_caught() -> None:
    assert TOOLS["catch_laser"].answer({}).failed


@pytest.mark.parametrize(("arguments", "seconds"), [({}, 1.0), ({"seconds": 2}, 2.0)])
def test_a_nap_takes_as_long_as_asked(arguments: Mapping[str, Any], seconds: float) -> None:
    nap = TOOLS["nap"]

    assert nap.duration(arguments) == seconds
    assert nap.answer(arguments).structured == {"slept_seconds": seconds}


def test_the_text_of_a_result_repeats_its_structure() -> None:
    result = TOOLS["sharpen_claw"].answer({"level": 1}).build_result()

    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    assert result["isError"] is False


@pytest.mark.parametrize("tool", TOOLS.values(), ids=lambda tool: tool.name)
def test_every_tool_says_whether_it_changes_anything(tool: Any) -> None:
    annotations = tool.describe()["annotations"]

    assert annotations["readOnlyHint"] in (True, False)
    assert annotations["openWorldHint"] in (True, False)


@pytest.mark.parametrize(
    ("tool", "arguments", "complaint"),
    [
        ("sharpen_claw", {"level": 1}, None),
        ("sharpen_claw", {"level": 7.0}, None),
        ("nap", {}, None),
        ("nap", {"seconds": 0.5}, None),
        ("sharpen_claw", {}, "level is missing."),
        ("sharpen_claw", {"level": 1, "claw": 2}, "claw is not an argument of this tool."),
        ("sharpen_claw", {"level": "1"}, "level must be of type integer."),
        ("sharpen_claw", {"level": True}, "level must be of type integer."),
        ("sharpen_claw", {"level": None}, "level must be of type integer."),
        ("sharpen_claw", {"level": 1.5}, "level must be a whole number."),
        ("sharpen_claw", {"level": 0}, "level must be between 1 and 1000."),
        ("scratch_sofa", {"claw_level": 1001}, "claw_level must be between 1 and 1000."),
        ("nap", {"seconds": -0.1}, "seconds must be between 0 and 60.0."),
        ("catch_laser", {"quickly": 1}, "quickly is not an argument of this tool."),
    ],
)
def test_arguments_are_held_against_the_schema(
    tool: str, arguments: Mapping[str, Any], complaint: str | None
) -> None:
    assert find_complaint(TOOLS[tool].input_schema, arguments) == complaint
