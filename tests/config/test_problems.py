"""Every complaint: its place, its words, all at once, and no secret in any of them."""

import os
import re
from pathlib import Path

import pytest

from mcp_proxy_exporter.config import ConfigError, load
from mcp_proxy_exporter.config.models import NO_SERVER
from mcp_proxy_exporter.config.secret import MAX_SECRET_BYTES

PREFIX = "MCP_PROXY_EXPORTER__"
CANARY = "canary-6f1c"
OF_A_SERVER = (
    "name, listen, upstream, host_header, allowed_hosts, allowed_origins, forwarded, "
    "trusted_proxies, via, headers, tls, listen_tls"
)
"""Its settings, as a message lists them."""
GOOD = '[[servers]]\nupstream = "http://h"\n'


def complain(
    tmp_path: Path, text: str | bytes | None = None, flags: dict[str, str] | None = None
) -> list[str]:
    """Load a configuration that is wrong; give its problems, the file's name as ``FILE``."""
    file = None
    if text is not None:
        file = tmp_path / "proxy.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(file, flags)
    return str(caught.value).replace(str(file), "FILE").splitlines()


IN_A_SERVER = [
    # One line below [[servers]] and upstream, at line 3.
    ('name = "a b"', "name: must be 1 to 64 of letters, digits, '_', '.' and '-', got 'a b'"),
    (
        f'name = "{"n" * 99}"',
        f"name: must be 1 to 64 of letters, digits, '_', '.' and '-', got '{'n' * 63}...",
    ),
    ("name = 3", "name: should be a valid string, got 3"),
    (
        'listen = "h"',
        "listen: needs a port, like 127.0.0.1:8080 (port 0 lets the system choose), got 'h'",
    ),
    (
        'listen = "a\\u001b[1m:1"',
        "listen: has a character that no host name has, got 'a\\x1b[1m:1'",
    ),
    (
        'host_header = "Upsteam"',
        "host_header: did you mean `upstream`? (if it is a host, add its port), got 'Upsteam'",
    ),
    ('host_header = "a b"', "host_header: has a character that no host name has, got 'a b'"),
    (
        'allowed_hosts = [\n"a", "b",\n"c/d"]',
        "allowed_hosts[2]: has a character that no host name has, got 'c/d'",
    ),
    ('allowed_hosts = "a"', "allowed_hosts: must be an array"),
    ("headers = 3", 'headers: must be a table, like { env = "TOKEN", prefix = "Bearer " }'),
    (
        f'headers.A = "{CANARY}"',
        'headers.A: must be a table, like { env = "TOKEN", prefix = "Bearer " }',
    ),
    ("headers.A = {}", "headers.A: needs exactly one of value, env and file"),
    (
        f'headers.A = {{ value = "{CANARY}", env = "HOME" }}',
        "headers.A: needs exactly one of value, env and file",
    ),
    (
        f'headers.A = {{ valeu = "{CANARY}", env = "HOME" }}',
        "headers.A.valeu: unknown setting; did you mean `value`?",
    ),
    (
        f'headers.A = {{ value = "{CANARY}\\r\\nX: y" }}',
        "headers.A.value: leads to a value with a control character",
    ),
    (
        f'headers.A = {{ prefix = "{CANARY}\\u0000", env = "HOME" }}',
        "headers.A.env: leads to a value with a control character",
    ),
    ('headers.A = { env = "" }', "headers.A.env: names an environment variable that is not set"),
    (
        f'headers.A = {{ env = "{CANARY}" }}',
        "headers.A.env: names an environment variable that is not set",
    ),
    ('headers.A = { env = "EMPTY" }', "headers.A.env: leads to an empty value"),
    (
        f'headers.A = {{ file = "/nowhere/{CANARY}" }}',
        "headers.A.file: names a file that cannot be read: no such file or directory",
    ),
    (f'headers.A = {{ value = ["{CANARY}"] }}', "headers.A.value: should be a valid string"),
    (
        'headers = { "A B" = { env = "HOME" } }',
        "headers.A B: is no header name (RFC 9110 section 5.6.2)",
    ),
    ('headers.host = { env = "HOME" }', "headers.host: is set by host_header"),
    (
        'headers.Transfer-Encoding = { env = "HOME" }',
        "headers.Transfer-Encoding: belongs to one connection and its framing, and cannot be set",
    ),
    (
        'headers = { A = { env = "HOME" }, a = { env = "HOME" } }',
        "headers: has one header twice: names differ in more than upper and lower case",
    ),
    ('tls.server_name = "x"', "tls: has no use: the upstream is not https"),
    ("tls = 1", "tls: must be a table"),
    (
        'hosts = "a"',
        (f"hosts: unknown setting; known here: {OF_A_SERVER}"),
    ),
    ("connect = 1", "connect: unknown setting; did you mean `connect` of [timeouts]?"),
    (
        f'"{CANARY[:3]}\\u0007{"x" * 99}" = 1',
        (f"'can\\x07{'x' * 60}...': unknown setting; known here: {OF_A_SERVER}"),
    ),
]

IN_TABLES = [
    # At line 4, below a blank line and a header.
    ("[timeouts]\nconnect = 0", "timeouts.connect: should be greater than 0, got 0"),
    ("[timeouts]\ndrain = -1", "timeouts.drain: should be greater than or equal to 0, got -1"),
    ("[timeouts]\ntotal = nan", "timeouts.total: should be a finite number, got nan"),
    ("[timeouts]\ntotal = true", "timeouts.total: must be a number, got True"),
    ("[timeouts]\nconect = 1", "timeouts.conect: unknown setting; did you mean `connect`?"),
    ("[timeouts]\nzzzzz = 1", ("timeouts.zzzzz: unknown setting; known here: connect, "
     "response_head, total, client_head, client_body, client_write, client_idle, upstream_idle, "
     "shutdown_delay, drain")),
    ("[limits]\nhead_bytes = 99", ("limits.head_bytes: should be greater than or equal to 1024, "
     "got 99")),
    ("[limits]\nhead_fields = 1.5", ("limits.head_fields: should be a valid integer, got a number "
     "with a fractional part, got 1.5")),
    ("[inspection]\nmax_buffered_bytes = 9", ("inspection.max_buffered_bytes: "
     "is less than max_message_bytes")),
    ('[inspection]\nenabled = "maybe"', "inspection.enabled: must be true or false, got 'maybe'"),
    ("[metrics]\nmax_tools = 0", "metrics.max_tools: should be greater than 0, got 0"),
    ("[metrics]\nmax_clients = 0", "metrics.max_clients: should be greater than 0, got 0"),
    ("[metrics]\nmax_prompts = 0", "metrics.max_prompts: should be greater than 0, got 0"),
    ("[metrics]\ndisable = 'mcp_*'", "metrics.disable: must be an array"),
    ("[metrics]\nlabels = {a = ''}", ("metrics.labels.a: must be one line of text, and not empty, "
     "got ''")),
    ("[metrics]\nlabels = {a = 'b\tc'}", ("metrics.labels.a: must be one line of text, and not "
     "empty, got 'b\\tc'")),
    ("[metrics.labels]\n\n'a-b' = 'c'", ("metrics.labels.a-b: must be letters, digits and '_', and "
     "not begin with a digit, got 'a-b'")),
    ("[metrics.labels]\n__a = 'c'", ("metrics.labels.__a: must not begin with '__', which belongs "
     "to Prometheus, got '__a'")),
    ("[metrics.labels]\nle = 'c'", ("metrics.labels.le: is a label that the exporter sets itself, "
     "got 'le'")),
    ("[metrics]\nbuckets = {a = [1, 1]}", ("metrics.buckets.a: "
     "must be positive numbers, each larger than the one before")),
    ("[metrics]\nduration_buckets = [1, 1]", ("metrics.duration_buckets: "
     "must be positive numbers, each larger than the one before")),
    ("[metrics]\nduration_buckets = [0, 1]", ("metrics.duration_buckets: "
     "must be positive numbers, each larger than the one before")),
    ("[metrics]\nduration_buckets = []", ("metrics.duration_buckets: "
     "must be positive numbers, each larger than the one before")),
    ("[metrics]\nduration_buckets = [1,\n'2']", ("metrics.duration_buckets[1]: must be a number, "
     "got '2'")),
    ("[metrics]\nsemconv = 'yes'", "metrics.semconv: must be true or false, got 'yes'"),
    ("[metrics]\nsemconv = 1", "metrics.semconv: must be true or false, got 1"),
    ("[metrics]\nmax_listed_tools = 2001", ("metrics.max_listed_tools: can be 2000: no more tools "
     "of a list are read, got 2001")),
    ("[inspection]\nmax_kept_bytes = 9", "inspection.max_kept_bytes: is less than max_rule_bytes"),
    ("[inspection]\nmax_message_bytes = 8\nmax_buffered_bytes = 7",
     "inspection.max_buffered_bytes: is less than max_message_bytes"),
    ('[log]\nlevel = "loud"', ("log.level: should be 'debug', 'info', 'warning' or 'error', "
     "got 'loud'")),
    ("[log]\nlevel = 3", "log.level: should be 'debug', 'info', 'warning' or 'error', got 3"),
    ('[admin]\nlisten = "unix:/s"', ("admin.listen: must be host:port: Prometheus cannot scrape a "
     "unix socket, got 'unix:/s'")),
    ('[admin]\nlisten = ":8080"', "admin.listen: is where servers[0] listens already"),
]  # fmt: skip

DOCUMENTS = [
    ("", f"FILE: servers: {NO_SERVER}"),
    ("servers = []", f"FILE:1: servers: {NO_SERVER}"),
    ("servers = 3", "FILE:1: servers: must be tables headed [[servers]]"),
    ("servers = [3]", "FILE:1: servers[0]: must be a table"),
    ('[servers]\nname = "x"', "FILE:1: servers: must be tables headed [[servers]]"),
    ("[[servers]]", "FILE:1: servers[0].upstream: is required"),
    (GOOD + "[sever]", "FILE:3: sever: unknown setting; did you mean `servers`?"),
    ('upstream = "x"\n' + GOOD, ("FILE:1: upstream: unknown setting; did you mean `upstream` of "
     "[[servers]]?")),
    (GOOD + "\n[timeout]\nx = 1", "FILE:4: timeout: unknown setting; did you mean `timeouts`?"),
    (GOOD + "log = 1", ("FILE:3: servers[0].log: unknown setting; known here: "
     f"{OF_A_SERVER}")),
    ("log = 1\n" + GOOD, "FILE:1: log: must be a table"),
    ("x = 1\n\ny", "FILE:3: is not valid TOML: expected '=' after a key in a key/value pair"),
    ("x = 1\ny = '''", "FILE:2: is not valid TOML: expected \"'''\""),
    (b"\xff", "FILE: is not text in UTF-8"),
    ("x = " + "[" * 100_000, "FILE: is not valid TOML: nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), IN_A_SERVER)
def test_complaint_about_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.setenv("EMPTY", "\n")
    at = 2 + len(line.split("\n")) if message.startswith("allowed_hosts[") else 3
    assert complain(tmp_path, GOOD + line) == [f"FILE:{at}: servers[0].{message}"]


@pytest.mark.parametrize(("lines", "message"), IN_TABLES)
def test_complaint_about_a_table(tmp_path: Path, lines: str, message: str) -> None:
    at = 3 + lines.count("\n")
    assert complain(tmp_path, f"{GOOD}{lines}") == [f"FILE:{at}: {message}"]


@pytest.mark.parametrize(("text", "message"), DOCUMENTS)
def test_complaint_about_a_document(tmp_path: Path, text: str | bytes, message: str) -> None:
    [problem] = complain(tmp_path, text)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    ("upstream", "message"),
    [
        (f"http://u:{CANARY}@h", "must not hold credentials; set them under headers instead"),
        (f"http://h/{CANARY}", ("must end after host and port: paths and queries pass unchanged, "
         "so clients append the server's path to the address this proxy listens on")),
        (f"{CANARY}://h", "must start with http://, https:// or unix:/"),
        (f"http://h:{CANARY}", "the port must be a number from 0 to 65535"),
    ],
)  # fmt: skip
def test_complaint_about_an_upstream_never_repeats_it(
    tmp_path: Path, upstream: str, message: str
) -> None:
    flags = {"--upstream": upstream}
    assert complain(tmp_path, flags=flags) == [f"--upstream: {message}"]
    text = f'[[servers]]\nupstream = "{upstream}"'
    assert complain(tmp_path, text) == [f"FILE:2: servers[0].upstream: {message}"]


def test_complaint_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "HEADERS__AUTHORIZATION__PREFIX": CANARY,
        "HEADERS__X": f'"{CANARY}"',
        "LIMIT__HEAD_BYTES": CANARY,
        "METRICS__DURATION_BUCKETS": "1,2",
        "SERVERS": f'[{{"upstream": "http://h", "token": "{CANARY}"}}]',
        "TIMEOUTS__CONECT": CANARY,
        "TIMEOUTS__DRAIN": "x",
    }
    for name, text in variables.items():
        monkeypatch.setenv(PREFIX + name, text)
    assert complain(tmp_path) == [
        (
            f"{PREFIX}HEADERS__AUTHORIZATION__PREFIX: servers[0].headers.authorization: "
            "needs exactly one of value, env and file"
        ),
        f'{PREFIX}HEADERS__X: must be a table, like {{ env = "TOKEN", prefix = "Bearer " }}',
        f"{PREFIX}LIMIT__HEAD_BYTES: unknown setting; did you mean `limits`?",
        f"{PREFIX}METRICS__DURATION_BUCKETS: must be JSON, because an array or a table is set here",
        (f"{PREFIX}SERVERS: servers[0].token: unknown setting; known here: {OF_A_SERVER}"),
        f"{PREFIX}TIMEOUTS__CONECT: unknown setting; did you mean `connect`?",
        f"{PREFIX}TIMEOUTS__DRAIN: must be a number, got 'x'",
    ]


def test_complaint_about_a_file_keeps_those_about_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + "NONSENSE", CANARY)
    first, second = complain(tmp_path, "x")
    assert first.startswith("FILE:1: is not valid TOML")
    assert second.startswith(f"{PREFIX}NONSENSE: unknown setting; known here: servers, admin")


def test_missing_file_is_a_complaint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "nowhere.toml")
    assert str(caught.value) == f"{tmp_path / 'nowhere.toml'}: no such file or directory"


def test_nothing_configured_says_what_to_do(tmp_path: Path) -> None:
    assert complain(tmp_path) == [f"configuration: servers: {NO_SERVER}"]
    assert complain(tmp_path, flags={"--listen": ":1"}) == [
        "--listen: servers[0].upstream: is required"
    ]


def test_wrong_variable_alone_is_enough_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + "LISTNE", "x")
    assert complain(tmp_path, GOOD) == [
        f"{PREFIX}LISTNE: unknown setting; did you mean `listen` of [[servers]]?"
    ]


@pytest.mark.parametrize("text", [f"servers = 3\nadmin.listen = '{CANARY}'", "servers = [3]"])
def test_nonsense_of_any_shape_is_a_complaint(tmp_path: Path, text: str) -> None:
    assert complain(tmp_path, text, {"--upstream": "http://h"})


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
[[servers]]
name = "cats"
upstream = "http://h"
[[servers]]
name = "cats"
listen = "0.0.0.0:8080"
upstream = "http://h"
[[servers]]
upstream = "http://h/mcp"
listen = "nonsense"
[admin]
listen = "127.0.0.1:8080"
prot = 1
[log]
level = "loud"
"""
    problems = complain(tmp_path, text, {"--log-level": "quiet"})
    assert [problem.partition(": ")[0] for problem in problems] == [
        "FILE:6",
        "FILE:7",
        "FILE:10",
        "FILE:11",
        "FILE:13",
        "FILE:14",
        "--log-level",
    ]
    assert problems[0].endswith("is the name of servers[0] as well")
    assert problems[1].endswith("is where servers[0] listens already")
    assert problems[4].endswith("is where servers[0] listens already")


def test_ca_file_must_hold_certificates(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text(CANARY)
    text = '[[servers]]\nupstream = "https://h"\n[servers.tls]\n'
    [problem] = complain(tmp_path, f"{text}ca_file = '{empty}'")
    assert problem.startswith("FILE:4: servers[0].tls.ca_file: holds no certificate in PEM form")
    [problem] = complain(tmp_path, f"{text}ca_file = '{tmp_path / 'none'}'")
    assert "cannot be read: no such file or directory" in problem


def test_server_name_is_a_name_without_a_port(tmp_path: Path) -> None:
    text = '[[servers]]\nupstream = "https://h"\ntls.server_name = "h:1"'
    [problem] = complain(tmp_path, text)
    assert problem == "FILE:3: servers[0].tls.server_name: is a host name without a port, got 'h:1'"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (CANARY.encode() + b"\xff", "names a file that is not text in UTF-8"),
        (b"x" * (MAX_SECRET_BYTES + 1), f"names a file of more than {MAX_SECRET_BYTES} bytes"),
        (b"\r\n", "leads to an empty value"),
        (CANARY.encode() + b"\n" + CANARY.encode(), "leads to a value with a control character"),
    ],
)
def test_secret_in_a_file_must_be_one_line_of_text(
    tmp_path: Path, data: bytes, message: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(data)
    text = f"{GOOD}headers.A = {{ file = '{secret}' }}"
    assert complain(tmp_path, text) == [f"FILE:3: servers[0].headers.A.file: {message}"]


def test_secret_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PREFIX + "UPSTREAM", "http://h")
    monkeypatch.setenv(PREFIX + "HEADERS", r'{"A": {"value": "\ud800"}}')
    assert complain(tmp_path) == [
        f"{PREFIX}HEADERS: servers[0].headers.A.value: leads to a value that is not text"
    ]


def test_no_complaint_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    every = [line for line, _ in IN_A_SERVER if not line.startswith('"can')]
    for line in [*every, f'upstrem = "http://{CANARY}@h"', f'token = "{CANARY}"']:
        assert CANARY not in "\n".join(complain(tmp_path, GOOD + line))
    assert not any(re.search(CANARY, name) for name in os.environ)


def test_complaints_in_the_document_are_the_real_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    shown = document.partition("check --config proxy.toml\n")[2].partition("```")[0]
    monkeypatch.setenv(PREFIX + "LOG__LEVEL", "loud")
    text = '[[servers]]\nname = "cats"\nupstream = "http://h/mcp"\n\n[timeouts]\nconect = 1'
    said = "\n".join(complain(tmp_path, text))
    assert said.replace("FILE", "proxy.toml") == shown.strip()
