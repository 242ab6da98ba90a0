"""Texts of JSON-RPC messages, and what each must come to.

Knows what peers of both eras write; does not know exchanges.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

from mcp_proxy_exporter.protocol import Outcome, TaskOutcome
from tests.support.naive_facts import ENDS_OF_TASKS, NEGOTIATED, Call, Client, Id
from tests.support.naive_model import World

Json: TypeAlias = dict[str, Any]
MODERN = "2026-07-28"
ASKED = "2025-11-25"
PATIENCE = 3600.0
"""Seconds for which the product remembers that a client was asked."""
TASK_SECONDS = (None, 20.0, 300.0)
QUESTIONS = ("sampling/createMessage", "elicitation/create", "roots/list")
UNKNOWN_QUESTION = "cats/feed"
"""What no revision knows: the product gives it no name."""
STATUSES = (*ENDS_OF_TASKS, "working", "input_required")

Then: TypeAlias = Callable[[World, Call], None]
Answer: TypeAlias = tuple[Json, Outcome, Then | None]
"""Members of a response, the outcome, and what else it means."""


@dataclass(eq=False, kw_only=True, slots=True)
class Wish:
    """A request of a client, and what its answers depend on."""

    method: str
    modern: bool
    params: Json = field(default_factory=dict)
    name: str | None = None
    """Of the client, where the request says it."""
    answers: "Leg | None" = None
    """The call that it repeats."""

    @property
    def client(self) -> Client | None:
        """Say who sends it; None where it does not."""
        if self.method == "initialize":
            return self.name, ASKED
        return (self.name, MODERN) if self.modern else None

    def text(self, call_id: Id) -> Json:
        """Write it."""
        params = dict(self.params)
        info = None if self.name is None else {"name": self.name, "version": "1"}
        if self.modern:
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": info,
            }
        elif self.method == "initialize":
            params |= {"protocolVersion": ASKED, "clientInfo": info, "capabilities": {}}
        return {"jsonrpc": "2.0", "id": call_id, "method": self.method, "params": params}


@dataclass(eq=False, slots=True)
class Leg:
    """A call that waits for input from its client (2026-07-28)."""

    name: str
    state: str
    questions: tuple[str, ...]
    since: float = 0.0


@dataclass(eq=False, slots=True)
class Memory:
    """What peers have said before and may refer to."""

    rng: Random
    count: int = 0
    tasks: list[tuple[str, bool]] = field(default_factory=list)
    """Ids, and whether of the modern form."""
    legs: list[Leg] = field(default_factory=list)

    def fresh(self, word: str) -> str:
        """Give a name that was not there before."""
        self.count += 1
        return f"{word}-{self.count}"

    def sweep(self, now: float) -> None:
        """Forget clients that took too long to come back."""
        self.legs = [leg for leg in self.legs if leg.since > now - PATIENCE]

    def wish(self, *, modern: bool) -> Wish:
        """Make up a request."""
        rng = self.rng
        tasks = [task_id for task_id, of_modern in self.tasks if of_modern == modern]
        if tasks and rng.random() < 0.5:
            methods = ["tasks/get"] if modern else ["tasks/get", "tasks/result", "tasks/cancel"]
            params: Json = {"taskId": rng.choice(tasks[-3:])}
            return Wish(method=rng.choice(methods), modern=modern, params=params)
        if modern and self.legs and rng.random() < 0.5:
            leg = self.legs.pop(rng.randrange(len(self.legs)))
            responses = {question: {"action": "accept"} for question in leg.questions}
            params = {"name": leg.name, "inputResponses": responses, "requestState": leg.state}
            return Wish(method="tools/call", modern=modern, params=params, answers=leg)
        name = rng.choice([None, "modern"]) if modern else None
        if rng.random() < 0.1:
            return Wish(method=rng.choice(["ping", "resources/list"]), modern=modern, name=name)
        params = {"name": self.fresh("tool"), "arguments": {}}
        if not modern and rng.random() < 0.4:
            params["task"] = {"ttl": 1000}
        return Wish(method="tools/call", modern=modern, params=params, name=name)

    def answer(self, wish: Wish) -> Answer:
        """Make up a response."""
        if wish.method == "initialize":
            return self._answer_initialize()
        if wish.method.startswith("tasks/"):
            return self._answer_about_task(wish)
        special: list[Callable[[Wish], Answer]] = [self._plain, self._plain]
        if wish.method == "tools/call":
            special += [self._ask_for_input, self._create_task]
        return self.rng.choice(special)(wish)

    def _answer_initialize(self) -> Answer:
        if self.rng.random() < 0.2:
            return _error(-32602), Outcome.PROTOCOL_ERROR, None
        result = {"protocolVersion": NEGOTIATED, "capabilities": {}}
        return {"result": result}, Outcome.SUCCESS, None

    def _plain(self, wish: Wish) -> Answer:  # noqa: ARG002
        answers: list[tuple[Json, Outcome]] = [
            ({"result": {}}, Outcome.SUCCESS),
            ({"result": {"content": [], "isError": False}}, Outcome.SUCCESS),
            ({"result": {"isError": True}}, Outcome.TOOL_ERROR),
            ({"result": {"resultType": "?"}}, Outcome.INVALID_RESPONSE),
            (_error(-32603), Outcome.PROTOCOL_ERROR),
            (_error(-32800), Outcome.CANCELLED),
            ({"error": {"code": 0, "message": "Request cancelled"}}, Outcome.CANCELLED),
        ]
        return *self.rng.choice(answers), None

    def _ask_for_input(self, wish: Wish) -> Answer:
        if not wish.modern:
            data = {"elicitations": [{"mode": "url", "url": "https://a/", "elicitationId": "e"}]}
            error = {"code": -32042, "message": "open this", "data": data}
            return {"error": error}, Outcome.INPUT_REQUIRED, _asks(("elicitation/create",))
        questions = tuple(self.rng.sample((*QUESTIONS, UNKNOWN_QUESTION), self.rng.randint(1, 2)))
        leg = Leg(wish.params["name"], self.fresh("state"), questions)
        result = {
            "resultType": "input_required",
            "inputRequests": {q: {"method": q, "params": {}} for q in questions},
            "requestState": leg.state,
        }

        def then(world: World, call: Call) -> None:
            _asks(questions)(world, call)
            leg.since = world.now
            self.legs.append(leg)

        return {"result": result}, Outcome.INPUT_REQUIRED, then

    def _create_task(self, wish: Wish) -> Answer:
        task_id = self.fresh("task")
        ttl = self.rng.choice(TASK_SECONDS)
        milliseconds = None if ttl is None else int(ttl * 1000)
        result: Json
        if wish.modern:
            result = {"resultType": "task", "taskId": task_id, "ttlMs": milliseconds}
        elif "task" in wish.params:
            result = {"task": {"taskId": task_id, "status": "working", "ttl": milliseconds}}
        else:  # not asked for, so nobody's business
            return {"result": {"task": {"taskId": task_id}}}, Outcome.SUCCESS, None

        def then(world: World, call: Call) -> None:
            world.begin_task(call, task_id, ttl)
            self.tasks.append((task_id, wish.modern))

        return {"result": result}, Outcome.TASK_CREATED, then

    def _answer_about_task(self, wish: Wish) -> Answer:
        task_id = wish.params["taskId"]
        if self.rng.random() < 0.2 and wish.method != "tasks/cancel":
            text = self.rng.choice(["no", "Unknown TASK", "task not found"])
            gone = wish.method == "tasks/get" or text != "no"
            end = TaskOutcome.EXPIRED if gone else TaskOutcome.FAILED
            return _error(-32602, text), Outcome.PROTOCOL_ERROR, _sees(task_id, end)
        if wish.method == "tasks/cancel":
            result = {"taskId": task_id, "status": "cancelled"}
            return {"result": result}, Outcome.SUCCESS, _sees(task_id, TaskOutcome.CANCELLED)
        if wish.method == "tasks/result":
            answers: list[tuple[Json, Outcome, TaskOutcome]] = [
                ({"result": {"content": []}}, Outcome.SUCCESS, TaskOutcome.SUCCESS),
                ({"result": {"isError": True}}, Outcome.TOOL_ERROR, TaskOutcome.TOOL_ERROR),
            ]
            members, outcome, end = self.rng.choice(answers)
            return self.rng.choice([refuse(wish), (members, outcome, _sees(task_id, end))])
        status, outcome_of_task = self.status(task_id, modern=wish.modern)
        if self.rng.random() < 0.2:  # where it would be created; here it is only spoken of
            status["resultType"] = "task"
        return {"result": status}, Outcome.SUCCESS, _sees(task_id, outcome_of_task)

    def status(self, task_id: str, *, modern: bool) -> tuple[Json, TaskOutcome | None]:
        """Make up a task's state, with its payload in the modern form."""
        status = self.rng.choice(STATUSES)
        end = ENDS_OF_TASKS.get(status)
        state: Json = {"taskId": task_id, "status": status}
        if modern and end is TaskOutcome.SUCCESS:
            is_error = self.rng.random() < 0.5
            state["result"] = {"content": [], "isError": is_error}
            end = TaskOutcome.TOOL_ERROR if is_error else end
        elif modern and end is TaskOutcome.FAILED:
            state["error"] = {"code": -32603, "message": "broken"}
        return state, end


def name_of(question: str) -> str:
    """Give the name by which a question is counted."""
    return "" if question == UNKNOWN_QUESTION else question


def refuse(wish: Wish) -> Answer:
    """Answer by an error."""
    failed = wish.method == "tasks/result"  # what the call itself would have been answered
    then = _sees(wish.params["taskId"], TaskOutcome.FAILED) if failed else None
    return _error(-32603), Outcome.PROTOCOL_ERROR, then


def encode(message: object) -> bytes:
    """Give the JSON text of a message or a batch."""
    return json.dumps(message).encode()


def notification(method: str, **params: object) -> Json:
    """Write a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def response(call_id: Id | None, members: Json) -> Json:
    """Write a response."""
    return {"jsonrpc": "2.0", "id": call_id, **members}


def _error(code: int, text: str = "no") -> Json:
    return {"error": {"code": code, "message": text}}


def _asks(questions: tuple[str, ...]) -> Then:
    def then(world: World, call: Call) -> None:  # noqa: ARG001
        for question in questions:
            world.said["asked", name_of(question), "input_required"] += 1

    return then


def _sees(task_id: str, outcome: TaskOutcome | None) -> Then:
    def then(world: World, call: Call) -> None:  # noqa: ARG001
        world.see_task(task_id, outcome)

    return then
