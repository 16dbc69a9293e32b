"""Snapshots of topics' settings at the broker, and the changes of settings that break readers."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from contracts.schemas import SCHEMAS
from contracts.topics import Topic

FOLDER: Final = "_topic"


def setting_snapshots(topic: Topic) -> list[Path]:
    """The snapshots of a topic's settings, oldest first: `schemas/<topic>/_topic/0001.json`, ..."""
    return sorted((SCHEMAS / topic.name / FOLDER).glob("*.json"))


def settings_of(topic: Topic) -> dict[str, Any]:
    """Key, partitions, and retention or compaction."""
    kept = asdict(topic.compaction) if topic.compacted else {"retention_hours": topic.retention_hours}
    return {"key": topic.key, "partitions": topic.partitions, "compacted": topic.compacted, **kept}


def setting_breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Changes that need a new major version of the topic, in sentences."""
    return list(_setting_breaks(old, new))


def _setting_breaks(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    if old["key"] != new["key"]:
        yield f"the key changed from {old['key']} to {new['key']}: one aggregate would be two keys"
    if old["compacted"] != new["compacted"]:
        yield "compaction came or went: what consumers may rely on finding is not the same"
    if new["partitions"] < old["partitions"]:
        yield f"{old['partitions']} partitions became {new['partitions']}: Kafka takes none away"
    if new["partitions"] > old["partitions"] and old["compacted"]:
        yield (
            f"{old['partitions']} partitions of a compacted topic became {new['partitions']}: keys move, and "
            "tombstones never meet what they should remove"
        )


def setting_order(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The rollout order of a compatible change of settings, printed when its snapshot is added."""
    said = [
        f"{name} {old.get(name)} → {new.get(name)}" for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]  # fmt: skip
    if old["partitions"] != new["partitions"]:
        said.append("keys move: later facts of an aggregate may overtake earlier ones, which versions make harmless")
    return "; ".join([*said, "provision, any order of services is safe"])
