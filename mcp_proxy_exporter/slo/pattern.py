"""Text for PromQL: globs as regular expressions, and any text as a string.

Knows Python's globs (`fnmatch`), RE2's syntax and PromQL's strings; does not know what is matched.
"""

_WILDCARDS = {"*": ".*", "?": "."}
_NOTHING = r"[^\x00-\x{10FFFF}]"
"""A class without members, which RE2 has no shorter way to write."""


def quote(text: str) -> str:
    """Write printable text as a string of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    # Prometheus takes this one for a fault in the encoding of the query; labels may hold it.
    escaped = escaped.replace("\ufffd", "\\ufffd")
    return f'"{escaped}"'


def match_label(label: str, glob: str) -> str:
    """Write the matcher that selects what `glob` matches; nothing where that is everything."""
    if glob == "*":
        return ""
    if not set("*?[") & set(glob):
        return f"{label}={quote(glob)}"
    return f"{label}=~{quote(translate(glob))}"


def translate(glob: str) -> str:
    """Write a glob as a regular expression of RE2, which PromQL anchors at both ends."""
    parts: list[str] = []
    at = 0
    while at < len(glob):
        char = glob[at]
        end = _find_class_end(glob, at) if char == "[" else -1
        if end > 0:
            parts.append(_translate_class(glob[at + 1 : end]))
            at = end
        else:
            parts.append(_WILDCARDS.get(char) or _escape(char))
        at += 1
    return "".join(parts)


def _find_class_end(glob: str, start: int) -> int:
    """Find the bracket that closes a class, or -1: then the opening one stands for itself."""
    first = start + 2 if glob[start + 1 : start + 2] == "!" else start + 1
    # A bracket that comes first is a member.
    return glob.find("]", first + 1)


def _translate_class(content: str) -> str:
    negated = content.startswith("!")
    ranges = _read_ranges(content.removeprefix("!"))
    if not ranges:
        # Only ranges that end before they begin: Python takes them for empty.
        return "." if negated else _NOTHING
    members = "".join(
        _escape(low) if low == high else f"{_escape(low)}-{_escape(high)}" for low, high in ranges
    )
    return f"[{'^' if negated else ''}{members}]"


def _read_ranges(members: str) -> list[tuple[str, str]]:
    """Read the members of a class as ranges, those of one character too."""
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(members):
        # A hyphen at either end is a member.
        is_range = members[at + 1 : at + 2] == "-" and at + 2 < len(members)
        low, high = members[at], members[at + 2] if is_range else members[at]
        if low <= high:
            ranges.append((low, high))
        at += 3 if is_range else 1
    return ranges


def _escape(char: str) -> str:
    # RE2 takes a backslash before any ASCII punctuation, and before no other character.
    return f"\\{char}" if char.isascii() and not char.isalnum() and char not in "_ " else char
