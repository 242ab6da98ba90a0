"""What became of the calls, questions and tasks of one server, as a recorder tells it.

Knows the contract of the figures (docs/calls.md, docs/metrics.md) and reads happenings one by one,
in the plainest way that holds for well-behaved programs; does not know families or scrapes.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.support.http_reckoning import HttpReckoning, read_loss
from tests.support.inventory_reckoning import InventoryReckoning
from tests.support.recorded_calls import OTHER, UNKNOWN, Call, Caps, Scope, Task
from tests.support.recorded_http import Exchange
from tests.support.recorded_rpc import (
    Answered,
    Asked,
    Ended,
    Happening,
    Message,
    Told,
    size_of,
    split_object,
)

META = "io.modelcontextprotocol/"
QUESTIONS = frozenset({"elicitation/create", "roots/list", "sampling/createMessage"})
CANCELLED = -32800
URL_ELICITATION_REQUIRED = -32042

FindSoft = Callable[[Call], str | None]
Key = tuple[Scope, Any]
"""A scope and an id."""


class Reckoning:
    """All of one server."""

    def __init__(self, caps: Caps, soft: FindSoft, refused_at: float | None) -> None:
        """Take what tells a soft error's reason, and when connections ended for good."""
        self.caps = caps
        self.http = HttpReckoning(caps, refused_at)
        self.tools = InventoryReckoning(caps)
        self.calls: list[Call] = []
        self.messages: list[Message] = []
        self.tasks: dict[str, Task] = {}
        self.inputs: Counter[tuple[str, ...]] = Counter()
        self.answers: list[tuple[str, float]] = []
        """Methods of questions that were answered, and after how long."""
        self.late: Counter[str] = Counter()
        self.overflow: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()
        self.fallbacks = 0
        self.client_requests: Counter[tuple[str, str]] = Counter()
        self.servers: dict[str, tuple[str, str]] = {}
        """What the server calls itself, by revision."""
        self.instructions: int | None = None
        self.clients: dict[str, None] = {}
        self.prompts: dict[str, None] = {}
        self._soft = soft
        self._open: dict[Key, Call] = {}
        self._over: dict[Key, str] = {}
        """Methods of calls that ended without an answer."""
        self._asked: dict[Key, tuple[str, float, list[float]]] = {}
        self._states: dict[str, tuple[list[str], float]] = {}
        self._who: dict[Scope, tuple[str | None, str | None]] = {}
        self._made: set[tuple[Scope, str, str, str]] = set()
        self._refusals: Counter[str | None] = Counter()

    def read(self, happenings: Iterable[Happening]) -> None:
        """Read what happened, in its order."""
        for happening in happenings:
            match happening:
                case Message():
                    self._read_message(happening)
                case Asked(at, exchange):
                    self.http.note_request(exchange, at)
                case Answered(at, exchange):
                    self.http.note_head(exchange, at)
                case Told(at, exchange, data, event):
                    if self.http.note_other(exchange, data, event):
                        self._end_own(exchange, "uninspected", at)
                case Ended(at, exchange):
                    self._note_end(exchange, at)

    def _note_end(self, exchange: Exchange, at: float) -> None:
        self.http.note_end(exchange, at)
        if not self.http.is_accepted_only(exchange):
            self._end_own(exchange, read_loss(exchange), at)
        scope = self.http.find_endpoint(exchange)
        if scope is not None:
            # Whose answer could not be read, nobody knows before.
            blind = id(exchange) in self.http.blind
            for call in self._find_open(scope):
                self._end(call, "uninspected" if blind else read_loss(exchange), at)

    def _end_own(self, exchange: Exchange, outcome: str, at: float) -> None:
        for call in self._find_own(exchange):
            self._end(call, outcome, at)

    def _find_own(self, exchange: Exchange) -> list[Call]:
        return [call for call in self._open.values() if call.exchange is exchange]

    def _find_open(self, scope: Scope) -> list[Call]:
        return [call for key, call in self._open.items() if key[0] == scope]

    def _read_message(self, message: Message) -> None:
        exchange, said = message.exchange, message.said
        if message.to_server and exchange.fields.get("content-encoding"):
            return
        self.messages.append(message)
        scope = self.http.find_scope(exchange)
        if not message.to_server:
            for call in self._find_own(exchange):
                call.first = call.first or message.at
        match message.to_server, message.kind:
            case True, "request":
                self._open_call(message, scope)
            case True, "response":
                self._answer((scope, said["id"]), message.at)
            case False, "request":
                self._ask(message, scope)
            case False, "response":
                self._respond(message, (scope, said.get("id")))
            case _:
                self._hear(message, scope)

    def _hear(self, message: Message, scope: Scope) -> None:
        method = message.said["method"]
        if message.to_server and method == "notifications/cancelled":
            call = self._open.get((scope, message.said["params"]["requestId"]))
            if call is not None:
                self._end(call, "cancelled", message.at)
        elif method == "notifications/tools/list_changed":
            self.tools.trusted = False

    def _open_call(self, message: Message, scope: Scope) -> None:
        said = message.said
        method, params = said["method"], said.get("params") or {}
        name, revision = self._who.get(scope, (None, None))
        revision = revision or message.exchange.fields.get("mcp-protocol-version")
        if method == "initialize":
            name, revision = params["clientInfo"]["name"], params["protocolVersion"]
            self._who[scope] = name, revision
            if self._refusals[name]:
                self._refusals[name] -= 1
                self.fallbacks += 1
        meta = params.get("_meta") or {}
        if f"{META}protocolVersion" in meta:
            name = meta[f"{META}clientInfo"]["name"]
            revision = meta[f"{META}protocolVersion"]
        texts = split_object(message.text)
        call = Call(
            method=method,
            params=params,
            arguments=split_object(texts.get("params", "{}")).get("arguments", ""),
            exchange=message.exchange,
            scope=scope,
            began=message.at,
            client=name,
            revision=revision,
            opened_as=self.tools.label(params.get("name")) if method == "tools/call" else "",
        )
        self.calls.append(call)
        self._open[scope, said["id"]] = call
        self._over.pop((scope, said["id"]), None)
        self.client_requests[self._name_client(name), revision or UNKNOWN] += 1
        header = message.exchange.fields.get("mcp-method")
        named = message.exchange.fields.get("mcp-name")
        if header not in {None, method} or (named and named not in params.values()):
            self.http.uninspected["header_mismatch"] += 1
        methods, asked = self._states.pop(params.get("requestState", ""), ([], 0.0))
        self.answers += [(method, message.at - asked) for method in methods]

    def _name_client(self, name: str | None) -> str:
        if name is None:
            return UNKNOWN
        if name not in self.clients and len(self.clients) >= self.caps.clients:
            self.overflow["client"] += 1
            return OTHER
        self.clients[name] = None
        return name

    def _ask(self, message: Message, scope: Scope) -> None:
        method = message.said["method"]
        assert method in QUESTIONS
        self.inputs[method, "server_request"] += 1
        own = self._find_own(message.exchange)
        # What comes on the stream that answers a GET should concern no call that runs
        # (MCP 2025-11-25 basic/transports, Listening for Messages from the Server).
        if scope[0] == "endpoint":
            own = self._find_open(scope)
        span = [message.at]
        if len(own) == 1:
            own[0].questions.append(span)
        self._asked[scope, message.said["id"]] = method, message.at, span

    def _answer(self, key: tuple[Scope, Any], at: float) -> None:
        method, asked, span = self._asked.pop(key)
        span.append(at)
        self.answers.append((method, at - asked))

    def _respond(self, message: Message, key: tuple[Scope, Any]) -> None:
        call = self._open.get(key)
        if call is None:
            method = self._over.pop(key, None)
            if method is not None:
                self.late[method] += 1
            return
        call.first = call.first or message.at
        said = call.said = message.said
        outcome = _judge(call, said)
        call.code = said["error"]["code"] if "error" in said else None
        call.result = split_object(message.text).get("result")
        if outcome == "success" and call.method == "tools/call":
            call.soft = self._soft(call)
        self._end(call, "tool_error" if call.soft else outcome, message.at, answered=True)
        self._learn(call, outcome, message.at)

    def _end(self, call: Call, outcome: str, at: float, *, answered: bool = False) -> None:
        [key] = [key for key, value in self._open.items() if value is call]
        del self._open[key]
        if not answered:
            self._over[key] = call.method
        call.ended, call.outcome = at, outcome
        if call.method == "tools/call":
            self._end_tool(call)
        elif call.method == "prompts/get":
            self._end_prompt(call)

    def _end_tool(self, call: Call) -> None:
        self.tools.end_call(call)
        if call.said is not None and call.scope[0] != "exchange":
            ending = call.result or str(call.said["error"]["code"]) + call.said["error"]["message"]
            made = (call.scope, str(call.tool), call.arguments, ending)
            self.repeated[call.counted_as] += made in self._made
            self._made.add(made)

    def _end_prompt(self, call: Call) -> None:
        name = call.params["name"]
        if name not in self.prompts:
            if call.outcome != "success" or len(self.prompts) >= self.caps.prompts:
                self.overflow["prompt"] += 1
                call.prompt = "_OTHER"
                return
            self.prompts[name] = None
        call.prompt = name

    # What answers say besides

    def _learn(self, call: Call, outcome: str, at: float) -> None:
        if outcome == "protocol_error" and call.method == "server/discover":
            self._refusals[call.client] += 1
        if call.result is None or call.said is None:
            return
        result = call.said["result"]
        if outcome == "input_required":
            methods = [question["method"] for question in result["inputRequests"].values()]
            self.inputs.update((method, "input_required") for method in methods)
            self._states[result["requestState"]] = methods, at
        elif outcome == "task_created":
            self.tasks[result["taskId"]] = Task(call.counted_as, call.began)
        elif call.method in {"tasks/get", "tasks/cancel"}:
            self._read_task(call.params["taskId"], result, at)
        elif call.method == "initialize":
            self._describe(call, result["serverInfo"], result["protocolVersion"])
            self._who[call.scope] = call.client, result["protocolVersion"]
        elif call.method == "server/discover":
            self._describe(call, result["_meta"][f"{META}serverInfo"], call.revision)
        elif call.method == "tools/list" and outcome == "success":
            self.tools.take_list(call.result, at)

    def _read_task(self, task_id: str, result: Mapping[str, Any], at: float) -> None:
        task = self.tasks[task_id]
        if result.get("status") in {"completed", "failed", "cancelled"} and task.ended is None:
            task.ended, task.outcome = at, result["status"]
            if task.outcome == "completed":
                failed = result["result"].get("isError")
                task.outcome = "tool_error" if failed else "success"

    def _describe(self, call: Call, info: Mapping[str, str], revision: str | None) -> None:
        self.servers[revision or UNKNOWN] = info["name"], info["version"]
        assert call.result is not None
        instructions = split_object(call.result).get("instructions")
        self.instructions = 0 if instructions is None else size_of(instructions)


def _judge(call: Call, said: Mapping[str, Any]) -> str:
    """Say how a response ends its call, soft errors apart."""
    if "error" in said:
        special = {CANCELLED: "cancelled", URL_ELICITATION_REQUIRED: "input_required"}
        return special.get(said["error"]["code"], "protocol_error")
    result = said["result"]
    if result.get("resultType") == "input_required":
        return "input_required"
    if result.get("resultType") == "task":
        # An answer about a task makes none.
        return "success" if call.method.startswith("tasks/") else "task_created"
    assert result.get("resultType", "complete") == "complete"
    return "tool_error" if result.get("isError") else "success"
