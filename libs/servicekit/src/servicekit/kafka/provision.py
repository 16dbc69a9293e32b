"""Creates the topics of the registry at the broker: ``python -m servicekit.kafka.provision``.

Safe to repeat. It creates missing topics, adds partitions, and corrects retention and compaction. It leaves settings
that the registry does not mention, never deletes a topic, and never changes the partitions of a compacted topic.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from contracts.topics import Provision, provisions

_SET_ON_THE_TOPIC = 1  # "config_source" of a value set on the topic itself
HOUR_MS = 3_600_000


class ProvisionError(RuntimeError):
    """The registry asks for a change that a broker cannot make; the message names the topic and the remedy."""


@dataclass(slots=True)
class Outcome:
    """Names of topics by the change made."""

    created: list[str] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)
    configured: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not (self.created or self.grown or self.configured):
            return "all topics are as the registry says"
        return f"{len(self.created)} topics created, {len(self.grown)} grown, {len(self.configured)} configured"


def topic_configs(wanted: Provision) -> dict[str, str]:
    """Broker settings of a topic: retention for a time, or compaction."""
    if wanted.retention_hours is None:
        return {
            "cleanup.policy": "compact",
            "max.compaction.lag.ms": str(wanted.compaction.max_lag_hours * HOUR_MS),
            "segment.ms": str(wanted.compaction.segment_hours * HOUR_MS),
            "delete.retention.ms": str(wanted.compaction.tombstone_hours * HOUR_MS),
        }
    return {"cleanup.policy": "delete", "retention.ms": str(wanted.retention_hours * HOUR_MS)}


def partitions_to_add(wanted: Iterable[Provision], present: Mapping[str, int]) -> dict[str, int]:
    """Topics of ``present`` (name to partitions) that must grow, with the number they must reach.

    Raises ProvisionError if a topic has more partitions than the registry says, because Kafka cannot remove partitions;
    and for a compacted topic that would grow, because tombstones would go to other partitions than the values they
    remove.
    """
    grow: dict[str, int] = {}
    for topic in wanted:
        now = present.get(topic.name, topic.partitions)
        if now > topic.partitions:
            raise ProvisionError(
                f"Topic {topic.name} has {now} partitions and the registry says {topic.partitions}: partitions "
                f"cannot be taken away, so put {now} into the registry or publish a new version of the topic."
            )
        if now < topic.partitions and topic.retention_hours is None:
            raise ProvisionError(
                f"Topic {topic.name} is compacted, has {now} partitions, and the registry says {topic.partitions}: "
                f"keys would move, and what was deleted would be found again. Put {now} into the registry; for more, "
                "add the next major version of the topic beside this one, fill it with `python -m <its producer> "
                "republish`, and let consumers move."
            )
        if now < topic.partitions:
            grow[topic.name] = topic.partitions
    return grow


async def provision(bootstrap_servers: str, topics: Iterable[Provision] | None = None) -> Outcome:
    """Bring the broker's topics to what ``topics`` (default: the whole registry) says.

    Raises ProvisionError, before any change, for a topic whose partitions cannot be changed; aiokafka's KafkaError if
    the broker is away or refuses; TimeoutError if it accepts the topics but does not show them.
    """
    wanted = list(provisions() if topics is None else topics)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=30_000)
    try:
        await admin.start()
        present = await _present(admin, wanted)
        grow = partitions_to_add(wanted, present)
        outcome = Outcome()
        outcome.created = await _create(admin, [topic for topic in wanted if topic.name not in present])
        if grow:
            await admin.create_partitions({name: NewPartitions(count) for name, count in grow.items()})
            outcome.grown = sorted(grow)
        outcome.configured = await _configure(admin, [topic for topic in wanted if topic.name in present])
        await _until_visible(admin, wanted)
    finally:
        await admin.close()
    return outcome


async def _present(admin: AIOKafkaAdminClient, wanted: list[Provision]) -> dict[str, int]:
    existing = set(await admin.list_topics())
    names = [topic.name for topic in wanted if topic.name in existing]
    described: list[dict[str, Any]] = await admin.describe_topics(names) if names else []
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def _until_visible(admin: AIOKafkaAdminClient, wanted: list[Provision]) -> None:
    """Wait, because the controller answers before the brokers know the topics on which the next process relies."""
    async with asyncio.timeout(30):
        while True:
            present = await _present(admin, wanted)
            if all(present.get(topic.name, 0) >= topic.partitions for topic in wanted):
                return
            await asyncio.sleep(0.05)


async def _create(admin: AIOKafkaAdminClient, missing: list[Provision]) -> list[str]:
    if not missing:
        return []
    # -1 is the cluster's default number of replicas. aiokafka accepts it only with an assignment of replicas; an empty
    # one has no effect.
    response = await admin.create_topics(
        [NewTopic(topic.name, topic.partitions, -1, {}, topic_configs(topic)) for topic in missing]
    )
    created = []
    for name, code, message, *_ in response.topic_errors:
        error = for_code(code)
        if error is TopicAlreadyExistsError:
            continue  # another process provisions at the same time
        if code:
            raise error(f"Topic {name} could not be created: {message}")
        created.append(name)
    return created


async def _configure(admin: AIOKafkaAdminClient, topics: list[Provision]) -> list[str]:
    if not topics:
        return []
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    own: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _, name, entries in response.resources:
            if code:
                raise for_code(code)(f"Settings of topic {name} could not be read: {message}")
            own[name] = {key: value for key, value, _, source, *_ in entries if source == _SET_ON_THE_TOPIC}
    # The request replaces all settings of a topic, so it includes those made by operators.
    changed = {
        topic.name: {**own[topic.name], **topic_configs(topic)}
        for topic in topics
        if not topic_configs(topic).items() <= own[topic.name].items()
    }
    if changed:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, new) for name, new in changed.items()]
        for response in await admin.alter_configs(resources):
            for code, message, _, name in response.resources:
                if code:
                    raise for_code(code)(f"Settings of topic {name} could not be changed: {message}")
    return sorted(changed)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m servicekit.kafka.provision", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--bootstrap-servers",
        default=os.environ.get("KAFKA_BOOTSTRAP_SERVERS"),
        help="host:port, several with commas (default: KAFKA_BOOTSTRAP_SERVERS)",
    )
    options = parser.parse_args(arguments)
    if not options.bootstrap_servers:
        parser.error("say where Kafka is: --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS")
    try:
        outcome = asyncio.run(provision(options.bootstrap_servers))
    except KafkaConnectionError:
        sys.stderr.write(f"Kafka does not answer at {options.bootstrap_servers}: start it, then repeat this.\n")
        return 1
    except TimeoutError:
        sys.stderr.write(
            "Kafka took the topics but does not show them after 30 s: look into its log, then repeat this.\n"
        )
        return 1
    except (ProvisionError, KafkaError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{outcome}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
