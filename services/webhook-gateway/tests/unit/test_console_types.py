"""The console's files: its types equal the contracts, its size stays within the limit."""

import posixpath
import re
from importlib import import_module
from importlib.resources import files
from pkgutil import iter_modules

import pytest
from pydantic import BaseModel

from contracts import calendar, conflicts, http, identity, people, sync_runs
from webhook_gateway.api.console import PAGES, read_assets, takes_gzip

MODULES = [
    calendar,
    conflicts,
    identity,
    people,
    sync_runs,
    *(import_module(f"{http.__name__}.{module.name}") for module in iter_modules(http.__path__)),
]
MODELS = {
    name: model
    for module in MODULES
    for name, model in vars(module).items()
    if isinstance(model, type) and issubclass(model, BaseModel)
}
TYPES = (files("webhook_gateway") / "console" / "types.d.ts").read_text()
INTERFACES = {
    found["name"]: (found["base"], set(re.findall(r"^  (\w+)\??:", found["body"], re.MULTILINE)))
    for found in re.finditer(
        r"export interface (?P<name>\w+)(?:<T>)?(?: extends (?P<base>\w+))? {\n(?P<body>.*?)^}",
        TYPES,
        re.MULTILINE | re.DOTALL,
    )
}


@pytest.mark.parametrize("name", INTERFACES)
def test_a_type_of_the_console_has_the_properties_of_its_contract(name: str) -> None:
    declared = set(MODELS[name].model_fields)
    if name == "Problem":
        declared -= {"instance"}  # not shown to people
    assert properties_of(name) == declared


def properties_of(name: str | None) -> set[str]:
    """Properties of an interface with those of the ones it extends."""
    if name is None:
        return set()
    base, properties = INTERFACES[name]
    return properties | properties_of(base)


def imported(name: str, text: str, pattern: str) -> set[str]:
    """Imports of a module, by path below the console's folder."""
    return {posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) for target in re.findall(pattern, text)}


def test_the_first_page_stays_small() -> None:
    assets = read_assets()
    first = {name for name in assets if name.endswith((".html", ".css", ".svg"))}
    waiting = {"app.js", "pages/integrations.js"}
    while waiting:
        name = waiting.pop()
        first.add(name)
        waiting |= imported(name, assets[name].content.decode(), r"""from "(\.[^"]+\.js)\"""") - first
    assert sum(len(assets[name].compressed) for name in first) < 50_000


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    for name, asset in read_assets().items():
        text = asset.content.decode()
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), name
        assert not re.search(r"""<script>|<style|\sstyle=["']|\son\w+=["']|innerHTML|\beval\(""", text), name


def test_every_import_of_the_console_exists_and_every_script_is_imported() -> None:
    assets = read_assets()
    used = {"app.js"}
    for name, asset in assets.items():
        imports = imported(name, asset.content.decode(), r"""(?:from |import\()"(\.[^"]+\.js)\"""")
        assert imports <= assets.keys(), f"{name} imports {imports - assets.keys()}"
        used |= imports
    assert {name for name in assets if name.endswith(".js")} - used == set()


def test_every_page_of_the_console_has_an_address_of_its_own() -> None:
    """The server and the console know the same addresses, for bookmarks."""
    script = (files("webhook_gateway") / "console" / "app.js").read_text()
    patterns = [found.replace("\\/", "/") for found in re.findall(r"^  \[/(\^.*\$)/, ", script, re.MULTILINE)]
    assert len(patterns) > 10
    for pattern in patterns:
        assert any(re.match(pattern, page) for page in PAGES), pattern
    for page in set(PAGES) - {"/oauth/callback", "/signed-in"}:
        assert any(re.match(pattern, page) for pattern in patterns), page


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP;q=0.8", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
    ],
)
def test_files_are_compressed_for_clients_that_accept_gzip(accepted: str, takes: bool) -> None:
    assert takes_gzip(accepted) is takes
