"""An MCP server on PyPI ``fastmcp`` whose tool runs as a task of the extension of 2026-07-28.

Run as a program with a port, with PyPI ``fastmcp-tasks`` importable; its queue is in memory. Knows
nothing of proxies or metrics.
"""

import argparse
from typing import Literal

import anyio
from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp_tasks import TasksExtension  # type: ignore[import-not-found]  # this server's own
from mcp import MCPError

Ending = Literal["success", "tool_error", "failed"]


def build_server() -> FastMCP:
    """Build the server with its tools."""
    server = FastMCP("task-peer", version="1.0")
    server.add_extension(TasksExtension(url="memory://"))

    @server.tool(task=True)
    async def study(seconds: float, ending: Ending) -> str:
        """Work for some time, and end as asked."""
        await anyio.sleep(seconds)
        if ending == "tool_error":
            raise ToolError("as asked")
        if ending == "failed":
            raise MCPError(code=-31999, message="as asked")
        return "as asked"

    return server


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    build_server().run(
        "http",
        host="127.0.0.1",
        port=parser.parse_args().port,
        # It would draw a framed traceback of every tool's error: slower than the calls themselves.
        log_level="CRITICAL",
        show_banner=False,
    )


if __name__ == "__main__":
    main()
