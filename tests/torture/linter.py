"""What PyPI ``httplint`` notes of responses.

Usage: PYTHON -P linter.py <RESPONSES >NOTES

Runs in a virtual environment of its own, which has httplint and not this project. Reads a JSON
array of responses, whose bytes stand as Latin-1, and writes an array of notes for each: level,
kind, subject, summary. Judges nothing.
"""

import json
import sys
import time
from typing import Any

from httplint import HttpRequestLinter, HttpResponseLinter  # type: ignore[import-not-found]


def list_notes(response: dict[str, Any]) -> list[list[str]]:
    """Return all notes on a response."""
    now = time.time()
    request = HttpRequestLinter(start_time=now)
    method = response["method"].encode()
    request.process_request_topline(method, b"http://example.org/", b"1.1")
    linter = HttpResponseLinter(start_time=now)
    linter.request = request
    linter.is_head_response = linter.no_content = method == b"HEAD"
    version, status, *reason = response["start"].encode("latin-1").split(b" ", 2)
    linter.process_response_topline(version.removeprefix(b"HTTP/"), status, b"".join(reason))
    linter.process_headers(split_fields(response["fields"]))
    linter.feed_content(response["body"].encode("latin-1"))
    linter.finish_content(True, split_fields(response["trailers"]))  # noqa: FBT003
    notes = [inner for note in linter.notes for inner in (note, *note.subnotes)]
    return [[note.level.name, type(note).__name__, note.subject, note.summary] for note in notes]


def split_fields(lines: list[str]) -> list[tuple[bytes, bytes]]:
    """Return the names and values of field lines."""
    pairs = [line.encode("latin-1").partition(b":") for line in lines]
    return [(name, value.strip(b" \t")) for name, _, value in pairs]


if __name__ == "__main__":
    json.dump([list_notes(response) for response in json.load(sys.stdin)], sys.stdout)
