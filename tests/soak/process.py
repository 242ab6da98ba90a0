"""What the system says of a running process: its memory and its open files.

Knows Linux's ``/proc``; does not know which program it is.
"""

from pathlib import Path

MIB = 1024 * 1024
_KIB = 1024


def resident_bytes(pid: int) -> int:
    """Give the memory of a process that is in RAM (``VmRSS``)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return int(value.split()[0]) * _KIB
    raise ValueError(f"process {pid} has no memory any more")


def open_files(pid: int) -> int:
    """Count the open descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
