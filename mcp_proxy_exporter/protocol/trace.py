"""The trace that a request belongs to: W3C Trace Context (section 3.2), any version.

Knows ``traceparent``, which MCP carries in ``params._meta`` (SEP-414) and HTTP in its head; does
not know spans.
"""

import re
from typing import Final

# Section 3.2.4: only a version above 00 may say more than these 55 characters.
_TRACEPARENT: Final = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]([0-9a-f])(?:-.*)?"
)
_SAMPLED: Final = 1


def read_trace_id(traceparent: str) -> str | None:
    """Return a trace's id, 32 lower-case hexadecimal digits.

    None if the field is invalid, or says that nobody records the trace: then there is nothing to be
    found by its id.
    """
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found is not None and int(found[2], 16) & _SAMPLED else None
