"""The registry is consistent, and every schema and example belongs to a message."""

import os
import re

import pytest

from contracts import gate
from contracts.base import Event
from contracts.golden import GOLDEN
from contracts.schemas import EXAMPLES, SCHEMAS, snapshots
from contracts.settings import FOLDER, setting_snapshots
from contracts.topics import TOPICS, Topic, provisions, topic_of
from contracts.values import PLATFORM, SERVICES

MESSAGES = [(topic, event) for topic in TOPICS.values() for event in topic.events]
IDS = [f"{topic.name}:{event.__name__}" for topic, event in MESSAGES]


@pytest.mark.parametrize("topic", TOPICS.values(), ids=list(TOPICS))
def test_a_topic_is_well_formed(topic: Topic) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z-]+\.v[1-9]", topic.name)
    assert topic.producers
    assert set(topic.producers) <= set(SERVICES)
    assert set(topic.consumers) <= {*SERVICES, PLATFORM}
    assert set(topic.broadcast) <= set(SERVICES)
    assert topic.consumers or topic.broadcast, "nobody reads it"
    assert topic.partitions >= 1
    assert len({event.__name__ for event in topic.events}) == len(topic.events)
    assert all(topic_of(event) is topic for event in topic.events)


def test_every_consumed_topic_has_a_dead_letter_topic() -> None:
    names = {provision.name for provision in provisions()}
    for topic in TOPICS.values():
        for consumer in set(topic.consumers) - {PLATFORM}:
            assert topic.dead_letter(consumer) in names


def test_the_gate_refuses_nothing() -> None:
    assert list(gate.refusals()) == []


def test_everything_has_its_snapshot_and_golden_message() -> None:
    assert [str(path) for path, *_ in gate.missing()] == [], "run `make contracts`"


def test_nothing_was_edited_since_it_was_committed() -> None:
    edited, blind = gate.tampered()
    if blind:
        assert os.environ.get("CI") != "true", blind
        pytest.skip(blind)
    assert edited == []


@pytest.mark.parametrize(("topic", "event"), MESSAGES, ids=IDS)
def test_snapshots_are_numbered_without_gaps(topic: Topic, event: type[Event]) -> None:
    for existing in (snapshots(topic, event), setting_snapshots(topic)):
        assert [path.stem for path in existing] == [f"{number:04}" for number in range(1, len(existing) + 1)]


@pytest.mark.parametrize(("topic", "event"), MESSAGES, ids=IDS)
def test_every_example_parses_today(topic: Topic, event: type[Event]) -> None:
    examples = sorted((EXAMPLES / topic.name / event.__name__).glob("*.json"))
    assert examples, "every message needs an example"
    for path in examples:
        message = event.model_validate_json(path.read_text())
        assert isinstance(message, Event)
        assert message.key
        assert event.model_validate_json(message.model_dump_json()) == message


def test_there_are_no_orphans() -> None:
    expected = {f"{topic.name}/{event.__name__}" for topic, event in MESSAGES}
    settings = {f"{topic}/{FOLDER}" for topic in TOPICS}
    for root, known in ((SCHEMAS, expected | settings), (EXAMPLES, expected), (GOLDEN, expected)):
        assert {str(path.parent.relative_to(root)) for path in root.rglob("*.json")} == known
