"""The compatibility check finds breaking differences and ignores all others."""

import subprocess
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, ConfigDict, Field, PlainSerializer, StrictInt, StringConstraints, model_validator

from contracts import gate, golden
from contracts.base import Event, Model, Timestamp
from contracts.golden import golden_breaks
from contracts.history import read_history
from contracts.plain import faults
from contracts.schemas import breaks, rollout_order, schema_of, unknown_keywords
from contracts.settings import setting_breaks, setting_order, settings_of
from contracts.topics import TOPICS, Compaction, Topic, topic_of


class Part(Event):
    colour: str


class Before(Event):
    """Some words."""

    name: str
    size: int = 1
    part: Part | None = None
    parts: tuple[Part, ...] = ()


def changed(**fields: tuple[Any, Any]) -> type[Event]:
    annotations: dict[str, Any] = {
        "name": str,
        "size": int,
        "part": Part | None,
        "parts": tuple[Part, ...],
        **{key: value for key, (value, _) in fields.items()},
    }
    body: dict[str, Any] = {"size": 1, "part": None, "parts": (), **{key: value for key, (_, value) in fields.items()}}
    body = {key: value for key, value in body.items() if value is not ...}
    return type("After", (Event,), {"__annotations__": annotations, "__module__": __name__, **body})


class NarrowPart(Event):
    colour: int


@pytest.mark.parametrize(
    ("after", "old_reader"),
    [
        (changed(added=(int, ...)), False),
        (changed(size=(str, "1")), True),
        (changed(size=(int, ...)), False),
        (changed(parts=(tuple[NarrowPart, ...], ())), True),
        (changed(size=(int, Field(default=1, le=5))), True),
        (changed(size=(int, Field(default=1, multiple_of=5))), True),
        (changed(size=(int, 2)), True),
        (changed(parts=(tuple[Part, ...], Field(default_factory=tuple))), True),
    ],
    ids=[
        "required added",
        "type changed",
        "optional became required",
        "type changed inside",
        "bound added",
        "multiple_of added",
        "default changed",
        "default hidden",
    ],
)
def test_a_break_is_seen(after: type[Event], old_reader: bool) -> None:
    assert any(problem.old_reader == old_reader for problem in breaks(schema_of(Before), schema_of(after)))


def test_a_removed_required_field_breaks_old_readers() -> None:
    class After(Event):
        size: int = 1
        part: Part | None = None
        parts: tuple[Part, ...] = ()

    [problem] = breaks(schema_of(Before), schema_of(After))
    assert problem.old_reader
    assert "consumers first" in str(problem)


def test_optional_fields_come_and_go_and_words_do_not_count() -> None:
    after = changed(note=(str | None, None))
    after.__doc__ = "Other words."
    assert breaks(schema_of(Before), schema_of(after)) == []
    assert breaks(schema_of(after), schema_of(Before)) == []
    assert "note" in rollout_order(schema_of(Before), schema_of(after))


def test_what_lies_inside_is_named_in_the_order_of_a_rollout() -> None:
    class Wider(Part):
        shade: str | None = None

    after = changed(part=(Wider | None, None), parts=(tuple[Wider, ...], ()))
    assert "new optional part.shade, parts.shade: the producer" in rollout_order(schema_of(Before), schema_of(after))


class Closed(Event):
    model_config = ConfigDict(extra="forbid")


class StrictBelow(Model):
    model_config = ConfigDict(strict=True)
    name: str = ""


class Checked(Event):
    @model_validator(mode="after")
    def judge(self) -> "Checked":
        return self


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (Closed, "extra='forbid'"),
        (changed(part=(StrictBelow | None, None)), "strict=True"),
        (changed(size=(StrictInt, 1)), "`strict` of int"),
        (Checked, "a validator of its own"),
        (changed(name=(Annotated[str, AfterValidator(str.upper)], ...)), "a validator of its own"),
        (changed(name=(Annotated[str, StringConstraints(strip_whitespace=True)], ...)), "`strip_whitespace` of str"),
        (changed(name=(Annotated[str, PlainSerializer(str.upper)], ...)), "`serialization` of str"),
        (changed(when=(datetime | None, None)), "use Timestamp"),
        (changed(size=(Decimal, Decimal(1))), "`decimal` is nothing"),
        (changed(sizes=(dict[str, int], Field(default_factory=lambda: {"a": 1}))), "made by a function"),
    ],
    ids=[
        "closed",
        "strict model",
        "strict field",
        "model validator",
        "validator",
        "strips",
        "serializer",
        "naive",
        "new",
        "made default",
    ],
)
def test_what_no_schema_tells_is_refused(after: type[Event], said: str) -> None:
    assert any(said in fault for fault in faults(after)), faults(after)


def test_what_a_message_may_have_is_no_fault() -> None:
    after = changed(when=(Timestamp | None, None), size=(int, Field(default=1, ge=1, multiple_of=5)))
    assert faults(after) == faults(Before) == []


def test_an_unknown_keyword_is_refused() -> None:
    after = changed(name=(Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})], ...))
    assert unknown_keywords(schema_of(Before)) == []
    assert unknown_keywords(schema_of(after)) == ["$.name: the keyword `contentEncoding`"]


def test_a_model_that_holds_itself_is_refused() -> None:
    tree = {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {"below": {"items": {"$ref": "#/$defs/T"}}}}}}
    assert unknown_keywords(tree) == ["$.below: a model that holds itself"]


def test_settings_of_a_topic_that_readers_rely_on_do_not_change() -> None:
    compacted, window = TOPICS["people.record.v1"], TOPICS["people.sync-run.v1"]
    refused: list[tuple[Topic, dict[str, Any]]] = [
        (compacted, {"key": "organization"}),
        (compacted, {"partitions": 24}),
        (compacted, {"retention_hours": 24}),
        (window, {"retention_hours": None}),
        (window, {"partitions": 6}),
    ]
    for topic, change in refused:
        assert setting_breaks(settings_of(topic), settings_of(replace(topic, **change))), change
    allowed: list[tuple[Topic, dict[str, Any]]] = [
        (window, {"partitions": 24}),
        (window, {"retention_hours": 24}),
        (compacted, {"compaction": Compaction(tombstone_hours=48)}),
    ]
    for topic, change in allowed:
        after = settings_of(replace(topic, **change))
        assert setting_breaks(settings_of(topic), after) == []
        assert " → " in setting_order(settings_of(topic), after)


def test_a_type_does_not_go(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = TOPICS["people.conflict.v1"]
    assert list(gate.refusals()) == []
    monkeypatch.setitem(TOPICS, topic.name, replace(topic, events=topic.events[1:]))
    assert [problem.split(":")[0] for problem in gate.refusals()] == [f"{topic.name} {topic.events[0].__name__}"]


def test_bytes_and_keys_stay_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [event] = TOPICS["webhooks.delivery.v1"].events
    topic = topic_of(event)
    assert list(golden_breaks(topic, event)) == []

    class Other(event):  # type: ignore[misc, valid-type]
        @property
        def key(self) -> str:
            return "another"

    Other.__name__ = event.__name__
    assert any("the key was" in problem for problem in golden_breaks(topic, Other))
    for path in (golden.GOLDEN / topic.name / event.__name__).iterdir():
        (tmp_path / topic.name / event.__name__).mkdir(parents=True, exist_ok=True)
        (tmp_path / topic.name / event.__name__ / path.name).write_text(path.read_text().replace('":', '": '))
    monkeypatch.setattr(golden, "GOLDEN", tmp_path)
    assert any("other bytes" in problem for problem in golden_breaks(topic, event))


def test_a_new_type_says_who_is_rolled_out_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("contracts.schemas.SCHEMAS", tmp_path)
    monkeypatch.setattr(golden, "GOLDEN", tmp_path)
    said = next(order for path, _, order in gate.missing() if path.parent.name == "ConflictDetected")
    assert said.startswith("new type, roll out conflict-service first")
    assert said.endswith("then people-sync")


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_git_tells_what_was_edited_in_place(tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    folder.mkdir()
    for name in ("edited", "deleted", "kept"):
        (folder / name).write_text(name)
    assert "no clone with commits" in (read_history(folder).missing or "")
    git(tmp_path, "init")
    assert "no clone with commits" in (read_history(folder).missing or "")
    git(tmp_path, "commit", "--allow-empty", "-m", "first")
    assert "no commit has this folder" in (read_history(folder).missing or "")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "second")
    assert read_history(folder).edited() == []
    (folder / "edited").write_text("otherwise")
    (folder / "deleted").unlink()
    (folder / "new").write_text("new")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "third")
    said = read_history(folder).edited()
    assert [line.split(" since ")[0] for line in said] == ["deleted: deleted", "edited: edited in place"]
    git(tmp_path, "clone", "--depth", "1", f"file://{tmp_path}", "shallow")
    assert "shallow" in (read_history(tmp_path / "shallow" / "schemas").missing or "")
    git(tmp_path, "checkout", "HEAD~", "--", ".")
    assert read_history(folder).edited() == []
