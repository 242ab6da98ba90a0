"""An MCP server on PyPI ``fastmcp`` with one tool for each way a call can end.

Run as a program with a port. The same tools as `sdk_server`, but for the ones that only
disconnect tests need. Knows nothing of proxies or metrics.
"""

import argparse

import anyio
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from mcp import MCPError


def build_server() -> FastMCP:
    """Build the server with its tools."""
    server = FastMCP("fastmcp-peer", version="1.0")

    @server.tool(annotations={"readOnlyHint": True, "idempotentHint": True})
    def add(a: int, b: int) -> int:
        """Add two integers."""
        return a + b

    @server.tool
    def refuse(reason: str) -> str:
        """Fail as tools should: with ``isError``."""
        raise ToolError(f"refused: {reason}")

    @server.tool
    def deny(code: int) -> str:
        """Fail as requests do: with a JSON-RPC error of this code."""
        raise MCPError(code=code, message="denied")

    @server.tool
    async def count(steps: int, context: Context) -> str:
        """Report progress before each step."""
        for step in range(steps):
            await context.report_progress(step, steps)
            await anyio.sleep(0.002)
        return f"counted to {steps}"

    @server.tool
    def never_called() -> str:
        """Exist only in the inventory."""
        return "called"

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
