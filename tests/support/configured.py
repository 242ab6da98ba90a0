"""Configurations of one server and something else: what is read of them, and what is wrong.

Knows files and complaints; does not know the settings that a test is about.
"""

from pathlib import Path

import pytest

from mcp_proxy_exporter.config import ConfigError, Settings, load

SERVER = '[[servers]]\nname = "cats"\nupstream = "http://h"\n'


def read(folder: Path, text: str) -> Settings:
    """Load a file with one server and this."""
    file = folder / "proxy.toml"
    file.write_text(SERVER + text)
    return load(file)


def complain(folder: Path, text: str) -> list[str]:
    """Give the problems of a wrong file, without its name."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return str(caught.value).replace(f"{folder / 'proxy.toml'}:", "").splitlines()
