"""JSON-RPC ids: the values that say which response answers which request.

Knows that JSON has more kinds of numbers than people expect; does not know who uses which id.
"""

from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

# Doubles hold every integer below, so that a number survives a JavaScript peer.
MAX_EXACT_DOUBLE: Final = 2**53

# Names are held while a call is open. MCP asks for tool names of at most 128 characters
# (2026-07-28 server/tools, Tool Names).
MAX_TEXT: Final = 256
# Ids are counters or UUIDs, and are remembered; longer ones are held as a digest.
MAX_ID: Final = 64
# No method of any revision has more than 40 characters.
MAX_METHOD: Final = 64
# What fits into 64 bits.
_MAX_WORD: Final = 2**63

Id: TypeAlias = int | str | float | bool | msgspec.UnsetType | None
"""A JSON-RPC id; UNSET where the member is absent, which null is not."""
IdKey: TypeAlias = int | str | tuple[type, object] | None
"""An id as a dictionary key. 1, 1.0 and true are three JSON values but one Python key, so all but
integers, strings and null stand in a tuple with their type."""

read_id: Final = msgspec.json.Decoder(int | str | float | bool | None).decode
"""Read the JSON text of an id; raises `msgspec.ValidationError` for an object or an array."""


def id_key(value: Id) -> IdKey:
    """Give the dictionary key of an id."""
    if type(value) is int or value is None:
        return value
    if type(value) is str:
        return value if len(value) <= MAX_ID else (str, sha256(value.encode()).digest())
    return type(value), value


def equal_number(key: IdKey) -> IdKey:
    """Give the key of the number that JavaScript cannot tell from this one: of 1, that of 1.0."""
    if type(key) is int:
        # Above, doubles skip integers, and far above there are none.
        return (float, float(key)) if abs(key) < MAX_EXACT_DOUBLE else None
    if type(key) is tuple and type(key[1]) is float and key[1].is_integer():
        return int(key[1])
    return None


def shorten(key: IdKey) -> int:
    """Give a number of 64 bits for what is only to be known again.

    Python's hash of texts is keyed anew by each process (SipHash): nobody can make two collide. Of
    integers it is not, which are taken as they are.
    """
    if type(key) is int and -_MAX_WORD <= key < _MAX_WORD:
        return key
    return hash((key,))
