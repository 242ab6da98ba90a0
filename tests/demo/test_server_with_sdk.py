"""The cats seen by a client that is not ours: the MCP SDK, in both eras."""

import asyncio

import pytest
from mcp import Client, MCPError

from mcp_proxy_exporter.demo.server import CatServer

ERAS = pytest.mark.parametrize(
    ("mode", "version"),
    [("legacy", "2025-11-25"), ("auto", "2026-07-28")],
    ids=["legacy", "modern"],
)


@ERAS
async def test_the_server_introduces_itself(cats: CatServer, mode: str, version: str) -> None:
    async with Client(cats.url, mode=mode) as client:
        assert client.protocol_version == version
        assert client.server_info is not None
        assert client.server_info.name == "cats"
        assert client.server_capabilities.tools is not None


@ERAS
async def test_tools_are_listed_with_schemas_and_hints(
    cats: CatServer, mode: str, version: str
) -> None:
    async with Client(cats.url, mode=mode) as client:
        listed = await client.list_tools()

    tools = {tool.name: tool for tool in listed.tools}
    assert list(tools) == ["sharpen_claw", "scratch_sofa", "nap", "catch_laser"], version
    assert tools["sharpen_claw"].input_schema["required"] == ["level"]
    assert tools["scratch_sofa"].annotations is not None
    assert tools["scratch_sofa"].annotations.destructive_hint is True
    assert listed.next_cursor is None


@ERAS
@pytest.mark.parametrize(
    ("tool", "arguments", "structured"),
    [
        ("sharpen_claw", {"level": 3}, {"level": 13}),
        ("scratch_sofa", {"claw_level": 80}, {"threads_pulled": 8}),
        ("nap", {"seconds": 0.05}, {"slept_seconds": 0.05}),
    ],
)
async def test_good_calls_succeed(
    cats: CatServer,
    mode: str,
    version: str,
    tool: str,
    arguments: dict[str, float],
    structured: object,
) -> None:
    # The client holds structuredContent against the output schema by itself.
    async with Client(cats.url, mode=mode) as client:
        result = await client.call_tool(tool, arguments)

    assert not result.is_error, version
    assert result.structured_content == structured


@ERAS
@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("scratch_sofa", {"claw_level": 49}, "The sofa resists claws of level 49: it takes 50."),
        ("catch_laser", {}, "The red dot is gone. It always is."),
        ("sharpen_claw", {"level": 0}, "level must be between 1 and 1000."),
        ("sharpen_claw", {}, "level is missing."),
        ("nap", {"seconds": "long"}, "seconds must be of type number."),
    ],
)
async def test_failures_and_bad_arguments_are_errors_of_the_tool(
    cats: CatServer, mode: str, version: str, tool: str, arguments: dict[str, object], text: str
) -> None:
    async with Client(cats.url, mode=mode) as client:
        result = await client.call_tool(tool, arguments)

    assert result.is_error, version
    assert result.content[0].type == "text"
    assert result.content[0].text == text


@ERAS
async def test_an_unknown_tool_is_an_error_of_the_protocol(
    cats: CatServer, mode: str, version: str
) -> None:
    async with Client(cats.url, mode=mode) as client:
        with pytest.raises(MCPError, match="Unknown tool: climb_curtain") as refused:
            await client.call_tool("climb_curtain", {})

    assert refused.value.error.code == -32602, version


@ERAS
async def test_a_nap_reports_progress(cats: CatServer, mode: str, version: str) -> None:
    seen: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert message == "zzz"
        seen.append((progress, total))

    async with Client(cats.url, mode=mode) as client:
        await client.call_tool("nap", {"seconds": 0.05}, progress_callback=note)

    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)], version


@ERAS
async def test_naps_overlap(cats: CatServer, mode: str, version: str) -> None:
    async with Client(cats.url, mode=mode) as client, asyncio.timeout(4):
        await client.list_tools()
        naps = [client.call_tool("nap", {"seconds": 0.3}) for _ in range(16)]
        results = await asyncio.gather(*naps)

    assert not any(result.is_error for result in results), version


async def test_a_pinned_modern_client_needs_no_discovery(cats: CatServer) -> None:
    async with Client(cats.url, mode="2026-07-28") as client:
        result = await client.call_tool("sharpen_claw", {"level": 1})

    assert result.structured_content == {"level": 11}
