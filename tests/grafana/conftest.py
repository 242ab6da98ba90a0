"""The traffic that the boards' queries are tried on, made once."""

from collections.abc import Iterator

import pytest

from tests.grafana.world import World, run_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with run_world(tmp_path_factory.mktemp("world")) as lived:
        yield lived
