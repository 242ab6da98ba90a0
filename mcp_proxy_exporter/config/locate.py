"""On which line of a TOML document each key stands: what `tomllib` does not tell.

Knows the grammar of TOML 1.0 as far as keys and the ends of values go; does not know what values
mean. It expects a document that `tomllib` has accepted, so it never complains itself.
"""

import re
import tomllib
from bisect import bisect_right

from mcp_proxy_exporter.config.section import KeyPath

# Blank space, newlines and comments: what may stand between any two things.
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
# Up to two quotation marks may stand right before the closing three.
_STRING = re.compile(
    r'''"""(?:[^\\]|\\.)*?""""{0,2}|\'\'\'.*?\'\'\''{0,2}|"(?:[^"\\]|\\.)*"|'[^']*\'''',
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def locate(text: str) -> dict[KeyPath, int]:
    """Give the line, from 1, on which each key, table and array element is first written."""
    scanner = _Scanner(text)
    scanner.scan_document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._newlines = [found.start() for found in re.finditer("\n", text)]
        self._array_lengths: dict[KeyPath, int] = {}

    def scan_document(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._take("[["):
                table = self._scan_header(is_array=True)
            elif self._take("["):
                table = self._scan_header(is_array=False)
            else:
                self._scan_pair(table)
            self._skip(_BLANK)

    def _scan_header(self, *, is_array: bool) -> KeyPath:
        line = self._line()
        path: KeyPath = ()
        *parents, last = self._scan_key()
        for key in parents:
            path = self._note((*path, key), line)
            if path in self._array_lengths:
                # A header speaks of the array's last element: [servers.tls] after [[servers]].
                path = (*path, self._array_lengths[path] - 1)
        path = self._note((*path, last), line)
        if is_array:
            index = self._array_lengths.get(path, 0)
            self._array_lengths[path] = index + 1
            path = self._note((*path, index), line)
        self._take("]]" if is_array else "]")
        return path

    def _scan_pair(self, path: KeyPath) -> None:
        line = self._line()
        for key in self._scan_key():
            path = self._note((*path, key), line)
        self._take("=")
        self._skip(_SPACE)
        self._scan_value(path)

    def _scan_key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            part = self._skip(_KEY_PART)
            # A quoted part may have escapes, and tomllib knows how to read them.
            parts.append(next(iter(tomllib.loads(f"{part} = 0"))))
            self._skip(_SPACE)
            if not self._take("."):
                return parts

    def _scan_value(self, path: KeyPath) -> None:
        if self._take("["):
            self._scan_array(path)
        elif self._take("{"):
            self._scan_inline_table(path)
        elif not self._skip(_STRING):
            self._skip(_SCALAR)

    def _scan_array(self, path: KeyPath) -> None:
        index = 0
        self._skip(_BLANK)
        while not self._take("]"):
            self._scan_value(self._note((*path, index), self._line()))
            index += 1
            self._skip(_BLANK)
            self._take(",")
            self._skip(_BLANK)

    def _scan_inline_table(self, path: KeyPath) -> None:
        self._skip(_BLANK)
        while not self._take("}"):
            self._scan_pair(path)
            self._skip(_BLANK)
            self._take(",")
            self._skip(_BLANK)

    def _note(self, path: KeyPath, line: int) -> KeyPath:
        self.lines.setdefault(path, line)
        return path

    def _line(self) -> int:
        return bisect_right(self._newlines, self._at - 1) + 1

    def _take(self, token: str) -> bool:
        found = self._text.startswith(token, self._at)
        self._at += len(token) if found else 0
        return found

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        text = found.group() if found else ""
        self._at += len(text)
        return text
