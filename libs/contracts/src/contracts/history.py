"""Append-only files in git's history: an edit in place is found whenever it was committed."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

_GIT = ("git", "-c", "core.quotePath=false")


@dataclass(frozen=True, slots=True)
class History:
    """The first committed form of each file of a folder."""

    folder: Path
    missing: str | None = None
    """Why the history cannot be compared, in words; None if it can."""
    first: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Path below the folder → (commit that added it, id of its content then). Files that are gone are here too."""

    def edited(self) -> list[str]:
        """One sentence for each file that is gone or differs from its first commit."""
        present = [path for path in sorted(self.first) if (self.folder / path).is_file()]
        names = "".join(f"{self.folder / path}\n" for path in present).encode()
        now = dict(zip(present, _git(self.folder, "hash-object", "--stdin-paths", stdin=names).split(), strict=True))
        return [
            f"{path}: {'edited in place' if path in now else 'deleted'} since {commit[:12]} added it; put it back with "
            f"`git checkout {commit[:12]} -- {path}` in {self.folder.name}/"
            for path, (commit, content) in sorted(self.first.items())
            if now.get(path) != content
        ]


def read_history(folder: Path) -> History:
    """The history of `folder`; `missing` is set in a checkout without commits and outside git."""
    if not folder.is_dir():
        return History(folder, "there is no such folder")
    try:
        _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
        shallow = _git(folder, "rev-parse", "--is-shallow-repository").strip() == "true"
    except FileNotFoundError:
        return History(folder, "git is not installed")
    except subprocess.CalledProcessError:
        return History(folder, "this is no clone with commits")
    if shallow:
        return History(folder, "this clone is shallow, and its oldest commit adds every file as it is")
    # -m includes files that only a merge added. With --reverse the first of several additions wins.
    log = _git(
        folder, "log", "-m", "--reverse", "--no-renames", "--diff-filter=A", "--raw", "--no-abbrev", "--format=%x00%H",
        "--relative", "--", ".",
    )  # fmt: skip
    first: dict[str, tuple[str, str]] = {}
    for entry in log.split("\0")[1:]:
        commit, *lines = entry.split("\n")
        for line in filter(None, lines):
            facts, path = line.split("\t")
            first.setdefault(path, (commit, facts.split()[3]))
    return History(folder, None if first else "no commit has this folder yet", first)


def _git(folder: Path, *arguments: str, stdin: bytes | None = None) -> str:
    done = subprocess.run([*_GIT, *arguments], cwd=folder, input=stdin, capture_output=True, check=True)  # noqa: S603
    return done.stdout.decode()
