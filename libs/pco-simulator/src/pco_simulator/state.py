"""The state of a simulator on disk: loaded if present, else seeded."""

import gc
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pco_simulator import seed as seeding
from pco_simulator.catalog import KINDS, new_tables
from pco_simulator.rows import Row
from pco_simulator.storage import Store
from pco_simulator.world import TIME_ZONES, Clock, Login, Organization, Shape, World, kept

FORMAT = 1
"""Format of the kept state; a state of another format is refused, never replaced."""

_CHUNK = 2000
_FILE = "world.sqlite3"


class OtherFormat(Exception):
    """A kept state that this version cannot read."""


def open_world(
    state_dir: Path | None,
    *,
    people: int,
    seed: int,
    clock: Clock,
    churches: int = 2,
    time_zones: str = TIME_ZONES,
) -> World:
    """Load the state kept in `state_dir`; if there is none, seed it. `OtherFormat` if it cannot be loaded.

    The parameters of `Shape` apply only to a new state; `World.shape` holds those of the loaded one. Seeding depends on
    them, never on the clock.
    """
    world = World(clock, Store(None if state_dir is None else state_dir / _FILE))
    found = _shape_in(world.store)
    collecting = gc.isenabled()
    gc.disable()
    try:
        if found is not None:
            world.shape = found
            _load(world)
        else:
            world.shape = Shape(people, seed, churches, time_zones)
            world.store.clear()
            for church in seeding.churches(**asdict(world.shape)):
                install(world, church.organization, church.rows, church.logins)
            world.store.put("world", "shape", {"format": FORMAT, **asdict(world.shape)})
            world.store.commit()
    finally:
        if collecting:
            gc.enable()
    # Hundreds of thousands of long-lived rows would slow down every garbage collection.
    gc.freeze()
    return world


def kept_shape(state_dir: Path) -> Shape | None:
    """Shape of the state kept in a folder, None without one; `OtherFormat` if it cannot be read."""
    if not (state_dir / _FILE).exists():
        return None
    store = Store(state_dir / _FILE)
    try:
        return _shape_in(store)
    finally:
        store.close()


def install(
    world: World,
    organization: Organization,
    rows: Mapping[str, Iterable[tuple[int, Mapping[str, Any]]]],
    logins: Iterable[Login] = (),
) -> None:
    """Add a church with unchanged rows and ids: `{"Person": [(1, {...}), ...], ...}`.

    Stored attributes are those of the newest version plus the foreign keys (`person_id`, `household_id`,
    `primary_contact_id`, `name_suffix_id`, ... as integers).
    """
    church = world.found(organization, new_tables())
    for type_ in KINDS:
        table = church.tables[type_]
        chunk: list[tuple[int, dict[str, Any]]] = []
        chunks = 0
        for id_, attrs in rows.get(type_, ()):
            stored = kept(attrs)
            table.put(Row(id_, stored))
            chunk.append((id_, stored))
            if len(chunk) == _CHUNK:
                world.store.put(f"{organization.id}:{type_}:base", f"{chunks:06}", chunk)
                chunk, chunks = [], chunks + 1
        world.store.put(f"{organization.id}:{type_}:base", f"{chunks:06}", chunk)
        world.seen_ids(type_, table.rows)
    for login in logins:
        number = world.give_login(login)
        world.store.put("logins", f"{number:06}", {**asdict(login), "products": [*login.products]})
    world.store.put("organizations", f"{len(world.organizations):06}", asdict(organization))
    world.store.commit()


def _load(world: World) -> None:
    for _, known in world.store.items("organizations"):
        organization = Organization(**known)
        church = world.found(organization, new_tables())
        for type_ in KINDS:
            table = church.tables[type_]
            bucket = f"{organization.id}:{type_}"
            changed = {int(key): attrs for key, attrs in world.store.items(bucket)}
            for _, chunk in world.store.items(f"{bucket}:base"):
                for id_, attrs in chunk:
                    if id_ not in changed:
                        table.put(Row(id_, attrs))
                    world.seen_ids(type_, (id_,))
            for id_ in sorted(changed):
                if changed[id_] is not None:
                    table.put(Row(id_, changed[id_]))
            world.seen_ids(type_, changed)
    for _, known in world.store.items("logins"):
        world.give_login(Login(**{**known, "products": frozenset(known["products"])}))


def _shape_in(store: Store) -> Shape | None:
    found = store.get("world", "shape")
    if found is None:
        return None
    if found.pop("format") != FORMAT:
        raise OtherFormat
    return Shape(**found)
