"""The dependencies of one distribution's image: ``python deploy/docker/needs.py services/auth-service --into DIR``.

Writes two lists for pip. ``requirements.txt``: third-party packages, including those of our own libraries.
``folders.txt``: the distribution and our own libraries, as folders. Our libraries are never requested by name, which
belongs to others at the package index.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def canonical(requirement: str) -> str:
    """The name in a requirement, normalized like the package index does."""
    match = _NAME.match(requirement.strip())
    if match is None:
        raise ValueError(f"{requirement!r} is no requirement")
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def dependencies(folder: Path) -> list[str]:
    """The requirements in a folder's ``pyproject.toml``, without extras, which are for development."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return list(project.get("dependencies", []))


def own_folders(root: Path) -> dict[str, Path]:
    """Every distribution of the repository by name."""
    found = [*root.glob("libs/*/pyproject.toml"), *root.glob("services/*/pyproject.toml")]
    return {canonical(tomllib.loads(path.read_text())["project"]["name"]): path.parent for path in found}


def needs(distribution: Path, own: dict[str, Path]) -> tuple[list[str], list[Path]]:
    """Third-party requirements, and our own folders, both sorted."""
    requirements: set[str] = set()
    folders: set[Path] = set()
    waiting = [distribution]
    while waiting:
        folder = waiting.pop()
        if folder in folders:
            continue
        folders.add(folder)
        for requirement in dependencies(folder):
            library = own.get(canonical(requirement))
            if library is None:
                requirements.add(requirement)
            else:
                waiting.append(library)
    return sorted(requirements), sorted(folders)


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("distribution", help="folder below the root, such as services/auth-service")
    parser.add_argument("--beside", default="", help="folder whose code is added without its dependencies")
    parser.add_argument("--into", type=Path, required=True)
    options = parser.parse_args()
    folder = ROOT / options.distribution
    if not (folder / "pyproject.toml").is_file():
        parser.error(f"{options.distribution} is no distribution: it has no pyproject.toml")
    requirements, folders = needs(folder, own_folders(ROOT))
    if options.beside:
        folders.append(ROOT / options.beside)
    options.into.mkdir(parents=True, exist_ok=True)
    (options.into / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements))
    (options.into / "folders.txt").write_text("".join(f"{line}\n" for line in folders))
    return 0


if __name__ == "__main__":
    sys.exit(main())
