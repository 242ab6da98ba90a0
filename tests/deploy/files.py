"""The files that deploy the product, read for the tests that compare them."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.programs import find_tool

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
KUBERNETES = ROOT / "deploy" / "kubernetes"
KUSTOMIZATIONS = ("monitoring", "sidecar", "standalone")


def read_yaml(file: Path) -> Any:
    """Read a YAML file with one document."""
    return yaml.safe_load(file.read_text())


def read_services() -> dict[str, dict[str, Any]]:
    """Read the services of the compose file, by name."""
    services = read_yaml(COMPOSE)["services"]
    assert isinstance(services, dict)
    return services


def read_dockerfile() -> list[tuple[str, str]]:
    """Read the Dockerfile's instructions: the word in upper case, and the rest on one line."""
    lines = (line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word.upper(), " ".join(rest.split()))
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def read_environment() -> dict[str, str]:
    """Read the variables that the image sets for the product."""
    written = [rest for word, rest in read_final_stage() if word == "ENV"]
    return dict(pair.split("=", 1) for rest in written for pair in shlex.split(rest))


def read_final_stage() -> list[tuple[str, str]]:
    """Read the instructions that make the image, without those of the builder."""
    instructions = read_dockerfile()
    begin = max(number for number, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[begin:]


def read_resource(folder: str, name: str) -> dict[str, Any]:
    """Read one resource for Kubernetes."""
    resource = read_yaml(KUBERNETES / folder / f"{name}.yaml")
    assert isinstance(resource, dict)
    return resource


def find_program(name: str) -> str:
    """Find a program beside this Python, where packages put theirs, or on PATH."""
    return shutil.which(name, path=Path(sys.executable).parent) or find_tool(name)
