import pytest

from mcp_proxy_exporter.observe.clock import Clock


class Hands:
    """Clocks that are set by hand."""

    def __init__(self) -> None:
        self.wall = 1000.0
        self.monotonic = 10.0

    def make(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.monotonic)


def test_monotonic_seconds_become_unix_time() -> None:
    clock = Hands().make()
    assert 12.5 + clock.offset == 1002.5
    assert clock.now() == 1000.0


def test_jitter_leaves_old_timestamps_as_they_were() -> None:
    hands = Hands()
    clock = hands.make()
    hands.wall += 0.05
    clock.refresh()
    assert clock.offset == 990.0


@pytest.mark.parametrize("step", [3600.0, -3600.0, 0.15])
def test_a_clock_that_was_set_is_followed(step: float) -> None:
    hands = Hands()
    clock = hands.make()
    hands.wall += step
    assert clock.offset == 990.0
    clock.refresh()
    assert clock.offset == 990.0 + step
