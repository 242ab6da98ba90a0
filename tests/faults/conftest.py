"""Each cell runs on both event loops: their transports differ in how they break.

In `make test` it runs on one of them, in `make test-all` on the other as well.
"""

from zlib import crc32

import pytest

from tests.proxy.conftest import pytest_asyncio_loop_factories
from tests.support.fault_places import Certificates
from tests.support.fault_table import Cell

__all__ = ["pytest_asyncio_loop_factories"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Call half of the matrix slow: of each cell one loop, by its name, so that all are mixed."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            cell = item.callspec.params.get("cell")
            if isinstance(cell, Cell):
                loop = "asyncio" if crc32(str(cell).encode()) % 2 else "uvloop"
                if loop in item.name:
                    item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))
