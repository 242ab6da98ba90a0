"""An MCP server on PyPI ``mcp`` with one tool for each way a call can end.

Run as a program with a port (0: any). It serves both eras on ``/mcp`` and tells on standard
output, one line each, what only the server's side can see: ``started KEY`` and ``cancelled KEY``
of the tool `hang`. Knows nothing of proxies or metrics.
"""

import argparse
import sys

import anyio
from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

HANG_SECONDS = 60.0


def report(line: str) -> None:
    """Tell the test that started this program."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def build_server() -> MCPServer:
    """Build the server with its tools."""
    server = MCPServer("sdk-peer", version="1.0", log_level="ERROR")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True))
    def add(a: int, b: int) -> int:
        """Add two integers."""
        return a + b

    @server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True))
    def refuse(reason: str) -> str:
        """Fail as tools should: with ``isError``."""
        raise ToolError(f"refused: {reason}")

    @server.tool()
    def deny(code: int) -> str:
        """Fail as requests do: with a JSON-RPC error of this code."""
        raise MCPError(code=code, message="denied")

    @server.tool()
    async def count(steps: int, context: Context) -> str:
        """Report progress before each step."""
        for step in range(steps):
            await context.report_progress(step, steps)
            await anyio.sleep(0.002)
        return f"counted to {steps}"

    @server.tool()
    async def hang(key: str) -> str:
        """Wait far longer than any test does; tell when it starts and when it is cancelled."""
        report(f"started {key}")
        try:
            await anyio.sleep(HANG_SECONDS)
        except anyio.get_cancelled_exc_class():
            report(f"cancelled {key}")
            raise
        return "nobody waited"

    @server.tool()
    def never_called() -> str:
        """Exist only in the inventory."""
        return "called"

    return server


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    build_server().run("streamable-http", host="127.0.0.1", port=parser.parse_args().port)


if __name__ == "__main__":
    main()
