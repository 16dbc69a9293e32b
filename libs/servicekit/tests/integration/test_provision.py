"""Provisioning against a real broker: complete, repeatable, growing only."""

from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from contracts.topics import Provision, provisions
from servicekit.kafka.provision import ProvisionError, main, partitions_to_add, provision
from servicekit.local import LocalKafka
from servicekit.testing import eventually

pytestmark = pytest.mark.broker_faults


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with LocalKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka.bootstrap_servers


async def described(servers: str, name: str) -> tuple[int, dict[str, Any]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        [topic] = await admin.describe_topics([name])
        [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        [(_, _, _, _, entries)] = response.resources
        return len(topic["partitions"]), {key: value for key, value, *_ in entries}
    finally:
        await admin.close()


async def alter(servers: str, name: str, configs: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs)])
    finally:
        await admin.close()


async def test_the_whole_registry_once_and_again(servers: str) -> None:
    first = await provision(servers)
    assert sorted(first.created) == sorted(topic.name for topic in provisions())
    assert str(await provision(servers)) == "all topics are as the registry says"
    partitions, configs = await described(servers, "people.record.v1")
    assert (partitions, configs["cleanup.policy"]) == (12, "compact")
    day = 24 * 3_600_000
    assert configs["max.compaction.lag.ms"] == str(day)
    assert configs["segment.ms"] == str(day // 4)
    assert configs["delete.retention.ms"] == str(14 * day)
    partitions, configs = await described(servers, "auth.connection.v1.people-sync.dlq")
    assert (partitions, configs["cleanup.policy"]) == (1, "delete")
    assert configs["retention.ms"] == str(30 * 24 * 3_600_000)


async def test_a_topic_grows_and_keeps_what_operators_set(servers: str) -> None:
    await provision(servers, [Provision("trial.grow.v1", 3, 24)])
    await alter(servers, "trial.grow.v1", {"retention.ms": "1000", "segment.ms": "600000"})
    outcome = await provision(servers, [Provision("trial.grow.v1", 6, 24)])
    assert (outcome.created, outcome.grown, outcome.configured) == ([], ["trial.grow.v1"], ["trial.grow.v1"])

    async def as_wanted() -> bool:
        partitions, configs = await described(servers, "trial.grow.v1")
        return (partitions, configs["retention.ms"], configs["segment.ms"]) == (6, "86400000", "600000")

    # The broker that answers may not have heard of the change yet.
    await eventually(as_wanted)


async def test_shrinking_is_refused_before_anything_changes(servers: str) -> None:
    await provision(servers, [Provision("trial.shrink.v1", 4, 24)])
    with pytest.raises(ProvisionError, match=r"trial\.shrink\.v1 has 4 partitions and the registry says 2"):
        await provision(servers, [Provision("trial.other.v1", 1, 24), Provision("trial.shrink.v1", 2, 48)])
    assert (await described(servers, "trial.shrink.v1"))[1]["retention.ms"] == "86400000"
    assert partitions_to_add([Provision("trial.other.v1", 1, 24)], {}) == {}


async def test_a_compacted_topic_keeps_its_partitions(servers: str) -> None:
    await provision(servers, [Provision("trial.compacted.v1", 3, None)])
    with pytest.raises(ProvisionError, match=r"republish") as refused:
        await provision(servers, [Provision("trial.another.v1", 1, 24), Provision("trial.compacted.v1", 6, None)])
    assert "trial.compacted.v1 is compacted, has 3 partitions" in str(refused.value)
    assert (await described(servers, "trial.compacted.v1"))[0] == 3


def test_a_broker_that_is_away_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bootstrap-servers", "127.0.0.1:1"]) == 1
    told = capsys.readouterr().err
    assert "127.0.0.1:1" in told
    assert "Traceback" not in told
