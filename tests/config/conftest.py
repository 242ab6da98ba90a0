"""No setting from the environment of whoever runs the tests."""

import os

import pytest


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MCP_PROXY_EXPORTER_"):
            monkeypatch.delenv(name)
