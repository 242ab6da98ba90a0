"""No setting from the environment of whoever runs the tests."""

import os

import pytest

from mcp_proxy_exporter.config.layers import PREFIX


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
