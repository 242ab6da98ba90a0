"""What the ledger runs over: for each server, which clients go there and what they call.

Knows what the tools of each server answer; does not know who counts the calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.support.clients import LEGACY, MODERN, Opener, fastmcp_client, sdk_client
from tests.support.ledger import Planned, deny, fail, misshape, succeed

# A name that needs quoting in a label, in JSON and (2026-07-28) in the header `Mcp-Name`.
AWKWARD_NAME = 'no "such" tööl\n\\'


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The clients and the calls of one server."""

    clients: Mapping[str, Opener]
    """By a name that says what the client does."""
    plan: Sequence[Planned]
    rounds: int
    """How often the plan is repeated, 16 calls at a time, by each client."""
    revisions: frozenset[str]
    """The protocol revisions that the clients negotiate."""
    idle_tool: str
    """A listed tool that no call of the plan names."""


BOTH_ERAS: Mapping[str, Opener] = {
    "mcp legacy": sdk_client("legacy"),
    "mcp modern": sdk_client(MODERN),
    "mcp auto": sdk_client("auto"),
    "fastmcp auto": fastmcp_client("auto"),
    "fastmcp legacy": fastmcp_client("legacy"),
}

# npm server-everything: one era, answers on event streams with event ids.
EVERYTHING = Course(
    clients={
        "mcp legacy": sdk_client("legacy"),
        # Its probe with `server/discover` is refused before it falls back to `initialize`.
        "mcp auto": sdk_client("auto"),
        "fastmcp auto": fastmcp_client("auto"),
    },
    plan=(
        succeed("echo", {"message": "hello"}),
        succeed("echo", {"message": "línea\u2028\n\0\U0001f408"}),
        succeed("get-sum", {"a": 1, "b": 2.5}),
        succeed("get-structured-content", {"location": "Chicago"}),
        succeed("get-tiny-image", {}),
        succeed("get-annotated-message", {"messageType": "error", "includeImage": True}),
        succeed("get-resource-links", {"count": 3}),
        succeed("trigger-long-running-operation", {"duration": 0.03, "steps": 3}, steps=3),
        fail("get-sum", {"a": "one"}),
        fail("get-structured-content", {"location": "Nowhere"}),
        fail("simulate-research-query", {"topic": "cats"}),
        fail("no-such-tool", {}),
        fail(AWKWARD_NAME, {"message": "hello"}),
        misshape("echo", -32603),
        misshape("no-such-tool", -32603),
    ),
    rounds=4,
    revisions=frozenset({LEGACY}),
    idle_tool="get-env",
)

# PyPI mcp: both eras on one endpoint.
SDK = Course(
    clients=BOTH_ERAS,
    plan=(
        succeed("add", {"a": 1, "b": 2}),
        succeed("add", {"a": -1, "b": 1}),
        succeed("count", {"steps": 3}, steps=3),
        succeed("count", {"steps": 0}),
        fail("add", {"a": "one"}),
        fail("add"),
        fail("refuse", {"reason": "not today"}),
        fail("no_such_tool", {}),
        fail(AWKWARD_NAME, {"a": 1}),
        deny("deny", {"code": -32602}, -32602),
        deny("deny", {"code": -32002}, -32002),
        deny("deny", {"code": -31999}, -31999),
        misshape("add", -32602),
        misshape("no_such_tool", -32602),
    ),
    rounds=3,
    revisions=frozenset({LEGACY, MODERN}),
    idle_tool="never_called",
)

# PyPI fastmcp: both eras; turns every code but one into `isError`.
FASTMCP = Course(
    clients=BOTH_ERAS,
    plan=(
        succeed("add", {"a": 1, "b": 2}),
        succeed("count", {"steps": 3}, steps=3),
        fail("add", {"a": "one"}),
        fail("refuse", {"reason": "not today"}),
        fail("no_such_tool", {}),
        fail("deny", {"code": -31999}),
        deny("deny", {"code": -32021}, -32021),
        misshape("add", -32602),
    ),
    rounds=4,
    revisions=frozenset({LEGACY, MODERN}),
    idle_tool="never_called",
)
