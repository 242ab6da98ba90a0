"""The tools and the prompt of the server under test that answer with questions.

2026-07-28 has no requests from servers: a server that needs something answers `input_required`,
and the client sends the call again with what was asked for. Knows the rounds of each; does not
know how its state is sealed on the way.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from mcp import types

from tests.conformance.server.tools import Answer, Context, ServedTool, say, serve

Reply = TypeVar("Reply", types.ElicitResult, types.CreateMessageResult, types.ListRootsResult)


def ask_for(message: str, field: str, kind: str = "string") -> types.ElicitRequest:
    """Ask the user for one thing."""
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(params=params)


def ask_model(text: str) -> types.CreateMessageRequest:
    """Ask the client's model."""
    message = types.SamplingMessage(role="user", content=types.TextContent(text=text))
    params = types.CreateMessageRequestParams(messages=[message], max_tokens=100)
    return types.CreateMessageRequest(params=params)


def require(
    questions: Mapping[str, types.InputRequest], state: str | None = None
) -> types.InputRequiredResult:
    """Answer with questions."""
    return types.InputRequiredResult(input_requests=dict(questions), request_state=state)


def find(params: types.InputResponseRequestParams, key: str, kind: type[Reply]) -> Reply | None:
    """Return the client's reply to a question, if it is there and of the right kind."""
    reply = (params.input_responses or {}).get(key)
    return reply if isinstance(reply, kind) else None


async def greet(_context: Context, call: types.CallToolRequestParams) -> Answer:
    """Ask for the user's name."""
    reply = find(call, "user_name", types.ElicitResult)
    if reply is None:
        return require({"user_name": ask_for("What is your name?", "name")})
    return say(f"Hello, {(reply.content or {}).get('name')}!")


async def quiz(_context: Context, call: types.CallToolRequestParams) -> Answer:
    """Ask the client's model."""
    reply = find(call, "capital_question", types.CreateMessageResult)
    if reply is None:
        return require({"capital_question": ask_model("What is the capital of France?")})
    return say(f"The model said: {reply.content}")


async def look_around(_context: Context, call: types.CallToolRequestParams) -> Answer:
    """Ask for the client's roots."""
    reply = find(call, "client_roots", types.ListRootsResult)
    if reply is None:
        return require({"client_roots": types.ListRootsRequest()})
    return say(f"Roots: {', '.join(str(root.uri) for root in reply.roots)}")


async def confirm(_context: Context, call: types.CallToolRequestParams) -> Answer:
    """Ask for a confirmation and have the client keep a state meanwhile."""
    if call.request_state is None or find(call, "confirm", types.ElicitResult) is None:
        return require({"confirm": ask_for("Please confirm", "ok", "boolean")}, "unconfirmed")
    return say("state-ok")


async def ask_everyone(_context: Context, call: types.CallToolRequestParams) -> Answer:
    """Ask the user, the model and the client at once."""
    questions: dict[str, types.InputRequest] = {
        "user_name": ask_for("What is your name?", "name"),
        "greeting": ask_model("Generate a greeting"),
        "client_roots": types.ListRootsRequest(),
    }
    if not questions.keys() <= (call.input_responses or {}).keys():
        return require(questions, "asked")
    return say("everyone replied")


async def ask_in_turn(_context: Context, call: types.CallToolRequestParams) -> Answer:
    """Ask one thing, then another; the state carries the first reply."""
    known: dict[str, Any] = json.loads(call.request_state or "{}")
    if (reply := find(call, "step1", types.ElicitResult)) is not None:
        known |= reply.content or {}
    if (reply := find(call, "step2", types.ElicitResult)) is not None:
        known |= reply.content or {}
    if "name" not in known:
        question = {"step1": ask_for("Step 1: What is your name?", "name")}
    elif "color" not in known:
        question = {"step2": ask_for("Step 2: What is your favorite color?", "color")}
    else:
        return say(f"{known['name']} likes {known['color']}")
    return require(question, json.dumps(known))


async def ask_whom_it_can(context: Context, _call: types.CallToolRequestParams) -> Answer:
    """Ask only what the client said it can answer."""
    capabilities = context.session.client_capabilities
    questions: dict[str, types.InputRequest] = {}
    if capabilities is not None and capabilities.sampling is not None:
        questions["greeting"] = ask_model("Say hello")
    if capabilities is not None and capabilities.elicitation is not None:
        questions["user_name"] = ask_for("What is your name?", "name")
    return require(questions, "asked")


async def write_with_context(
    params: types.GetPromptRequestParams,
) -> types.GetPromptResult | types.InputRequiredResult:
    """Ask what a prompt shall be about."""
    reply = find(params, "user_context", types.ElicitResult)
    if reply is None:
        return require({"user_context": ask_for("What is the prompt about?", "context")})
    text = types.TextContent(text=f"Use this: {(reply.content or {}).get('context')}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])


QUESTIONING_TOOLS: tuple[ServedTool, ...] = (
    serve("test_input_required_result_elicitation", greet),
    serve("test_streaming_elicitation", greet),
    serve("test_input_required_result_sampling", quiz),
    serve("test_input_required_result_list_roots", look_around),
    serve("test_input_required_result_request_state", confirm),
    serve("test_input_required_result_tampered_state", confirm),
    serve("test_input_required_result_multiple_inputs", ask_everyone),
    serve("test_input_required_result_multi_round", ask_in_turn),
    serve("test_input_required_result_capabilities", ask_whom_it_can),
)
