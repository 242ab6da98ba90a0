"""What the cats can do: four tools, their schemas and their answers.

Pure and deterministic, so that every number in the table can be explained. Knows arguments and
results; does not know JSON-RPC, HTTP, time or revisions: how long a nap lasts is told, not slept.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Arguments: TypeAlias = Mapping[str, Any]
Schema: TypeAlias = Mapping[str, Any]

SHARPEST_CLAW: Final = 1000
SHARPENING: Final = 10
SOFA_RESISTS_BELOW: Final = 50
"""Claws below this level fail on the sofa: the one rule that decides `scratch_sofa`."""
LONGEST_NAP: Final = 60.0
"""Seconds. A demonstration has no use for a call that outlives its reader's patience."""
DEFAULT_NAP: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a tool says at the end, before any revision dresses it up."""

    text: str
    structured: Mapping[str, Any] | None = None
    failed: bool = False

    def build_result(self) -> dict[str, Any]:
        """Write the members of a CallToolResult that all revisions share."""
        members: dict[str, Any] = {"content": [{"type": "text", "text": self.text}]}
        if self.structured is not None:
            members["structuredContent"] = self.structured
        members["isError"] = self.failed
        return members


def _no_time(_arguments: Arguments) -> float:
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool: how it is advertised, how long it takes (seconds) and what it answers."""

    name: str
    description: str
    input_schema: Schema
    annotations: Mapping[str, Any]
    answer: Callable[[Arguments], Answer]
    output_schema: Schema | None = None
    duration: Callable[[Arguments], float] = _no_time

    def describe(self) -> dict[str, Any]:
        """Write the tool as ``tools/list`` shows it."""
        definition: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input_schema,
            "annotations": self.annotations,
        }
        if self.output_schema is not None:
            definition["outputSchema"] = self.output_schema
        return definition


def find_complaint(schema: Schema, arguments: Arguments) -> str | None:
    """Say what is wrong with the arguments, or None.

    Reads the part of JSON Schema that the four tools use: ``required``, no additional properties,
    numbers and integers between ``minimum`` and ``maximum``.
    """
    properties = schema["properties"]
    for name in schema.get("required", ()):
        if name not in arguments:
            return f"{name} is missing."
    for name, value in arguments.items():
        if name not in properties:
            return f"{name} is not an argument of this tool."
        complaint = _find_number_complaint(properties[name], value)
        if complaint:
            return f"{name} {complaint}."
    return None


def _find_number_complaint(schema: Schema, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"must be of type {schema['type']}"
    # 3.0 is an integer to JSON Schema (2020-12 core, section 4.2.3).
    if schema["type"] == "integer" and value != int(value):
        return "must be a whole number"
    if not schema["minimum"] <= value <= schema["maximum"]:
        return f"must be between {schema['minimum']} and {schema['maximum']}"
    return None


def _structured(**members: object) -> Answer:
    # The text repeats the structure, for clients that know no structuredContent
    # (MCP 2025-11-25, server/tools, Structured Content).
    return Answer(text=json.dumps(members), structured=members)


def _sharpen(arguments: Arguments) -> Answer:
    return _structured(level=min(int(arguments["level"]) + SHARPENING, SHARPEST_CLAW))


def _scratch(arguments: Arguments) -> Answer:
    level = int(arguments["claw_level"])
    if level < SOFA_RESISTS_BELOW:
        complaint = f"The sofa resists claws of level {level}: it takes {SOFA_RESISTS_BELOW}."
        return Answer(text=complaint, failed=True)
    return _structured(threads_pulled=level // 10)


def _nap_duration(arguments: Arguments) -> float:
    return float(arguments.get("seconds", DEFAULT_NAP))


def _nap(arguments: Arguments) -> Answer:
    return _structured(slept_seconds=_nap_duration(arguments))


def _catch(_arguments: Arguments) -> Answer:
    return Answer(text="The red dot is gone. It always is.", failed=True)


def _object_of(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


_CLAW: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": SHARPEST_CLAW}
_SECONDS: Final[Schema] = {"type": "number", "minimum": 0, "maximum": LONGEST_NAP}

_ALL: Final = (
    Tool(
        name="sharpen_claw",
        description=f"Sharpen a claw by {SHARPENING} levels and return its new level.",
        input_schema=_object_of(("level",), level=_CLAW),
        output_schema=_object_of(("level",), level=_CLAW),
        annotations={
            "title": "Sharpen a claw",
            "readOnlyHint": False,
            "destructiveHint": False,
            "idempotentHint": False,
            "openWorldHint": False,
        },
        answer=_sharpen,
    ),
    Tool(
        name="scratch_sofa",
        description=f"Scratch the sofa. It resists claws below level {SOFA_RESISTS_BELOW}.",
        input_schema=_object_of(("claw_level",), claw_level=_CLAW),
        output_schema=_object_of(("threads_pulled",), threads_pulled={"type": "integer"}),
        annotations={
            "title": "Scratch the sofa",
            "readOnlyHint": False,
            "destructiveHint": True,
            "idempotentHint": False,
            "openWorldHint": False,
        },
        answer=_scratch,
    ),
    Tool(
        name="nap",
        description=f"Sleep and report progress. {DEFAULT_NAP:g} second unless told otherwise.",
        input_schema=_object_of(seconds=_SECONDS),
        output_schema=_object_of(("slept_seconds",), slept_seconds=_SECONDS),
        annotations={"title": "Take a nap", "readOnlyHint": True, "openWorldHint": False},
        answer=_nap,
        duration=_nap_duration,
    ),
    Tool(
        name="catch_laser",
        description="Catch the red dot. No cat ever has.",
        input_schema=_object_of(),
        annotations={"title": "Catch the laser", "readOnlyHint": True, "openWorldHint": True},
        answer=_catch,
    ),
)

TOOLS: Final[Mapping[str, Tool]] = {tool.name: tool for tool in _ALL}
"""Every tool by its name, in the order of ``tools/list``."""
