"""What a stream's writer does not show of its transport."""

import asyncio
from typing import cast


def hold_back(writer: asyncio.StreamWriter) -> None:
    """Read nothing more, so that the peer's writes fill the system's buffers."""
    cast("asyncio.Transport", writer.transport).pause_reading()


def let_go(writer: asyncio.StreamWriter) -> None:
    """Read again."""
    cast("asyncio.Transport", writer.transport).resume_reading()
