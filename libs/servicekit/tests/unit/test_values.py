"""The plain decisions: which errors wait, what is redacted, when a group stops."""

import asyncio
import gc
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import pytest
import structlog
from aiokafka import ConsumerRecord
from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, ValidationError
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from contracts.events.auth_connection_v1 import ConnectionAuthorized
from contracts.events.webhooks_outcome_v1 import WebhookApplied
from contracts.events.webhooks_subscription_v1 import SubscriptionsRemoved
from contracts.topics import TOPICS
from servicekit.errors import Conflict, PermanentError, TransientError, Unavailable, is_outage, is_transient
from servicekit.http.wording import sentence
from servicekit.ids import uuid7
from servicekit.kafka.producer import KafkaUnavailable
from servicekit.kafka.rejections import Rejections
from servicekit.kafka.subscriptions import BadMessage, EventHeaders, read, subscribe, subscribe_broadcast
from servicekit.logging import safe_traceback, setup_logging
from servicekit.settings import ServiceSettings
from servicekit.testing import FakeClock, KeyRing, eventually


class Answer(Exception):
    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "transient", "outage"),
    [
        (TransientError(), True, False),
        (KafkaUnavailable(), True, False),
        (Unavailable("x"), True, False),
        (Conflict("x"), False, False),
        (PermanentError(), False, False),
        (ValueError(), False, False),
        (ConnectionRefusedError(), True, True),
        (TimeoutError(), True, True),
        (PoolTimeoutError(), True, True),
        (DBAPIError("", {}, Answer("40P01")), True, False),
        (DBAPIError("", {}, Answer("40001")), True, False),
        (OperationalError("", {}, Answer("57P01")), True, True),
        (DBAPIError("", {}, Answer("55P03")), True, True),
        (DBAPIError("", {}, Answer("57014")), True, True),
        (DBAPIError("", {}, Answer("25006")), True, True),
        (OperationalError("", {}, Answer("08006")), True, True),
        (DBAPIError("", {}, Answer("x"), connection_invalidated=True), True, True),
        (IntegrityError("", {}, Answer("23505")), False, False),
        (DBAPIError("", {}, Answer("22021")), False, False),
    ],
)
def test_which_errors_are_worth_another_try(error: Exception, transient: bool, outage: bool) -> None:
    assert (is_transient(error), is_outage(error)) == (transient, outage)


def refuse(_: str) -> str:
    raise ValueError("must not contain control characters")


class Wished(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=3)] = "a"
    code: Annotated[str, Field(min_length=2, pattern="^[A-Z]+$")] = "AA"
    items: Annotated[tuple[int, ...], Field(min_length=1, max_length=1000)] = (1,)
    day: date | None = None
    kind: Literal["full", "incremental"] = "full"
    limit: Annotated[int, Field(ge=1, le=200)] = 1
    child: bool = False
    note: Annotated[str, AfterValidator(refuse)] = ""
    title: Annotated[Annotated[str, AfterValidator(str)], Field(min_length=2, max_length=3)] = "ab"
    email: EmailStr | None = None
    needed: int


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": ""}, "Must not be empty."),
        ({"name": "abcd"}, "Use at most 3 characters."),
        ({"name": 5}, "Send text."),
        ({"name": "\ud800"}, "Holds a character that does not exist: write it again."),
        ({"title": "abcd"}, "Use at most 3 characters."),
        ({"title": "a"}, "Use at least 2 characters."),
        ({"code": "A"}, "Use at least 2 characters."),
        ({"code": "aa"}, "String should match pattern '^[A-Z]+$'."),
        ({"items": []}, "Must not be empty."),
        ({"items": [1] * 1001}, "Send at most 1,000 items."),
        ({"items": {}}, "Send a list."),
        ({"day": "yesterday"}, "Send a date as YYYY-MM-DD."),
        ({"kind": "half"}, "Must be 'full' or 'incremental'."),
        ({"limit": 0}, "Must be at least 1."),
        ({"limit": 201}, "Must be at most 200."),
        ({"child": "perhaps"}, "Send true or false."),
        ({"note": "\x07"}, "Must not contain control characters."),
        ({"email": "nina@example"}, "Write an email address, such as name@example.org."),
        ({"email": "@example.org"}, "Write an email address, such as name@example.org."),
        ({"neme": "a"}, "Is not known here: check its spelling."),
        ({"needed": "x"}, "Send a whole number."),
        ({"needed": 1.5}, "Send a whole number."),
    ],
)
def test_the_sentence_about_a_refused_value(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Wished.model_validate({"needed": 1} | values)
    assert [sentence(error) for error in refused.value.errors()] == [said]


def test_the_sentences_about_a_missing_value_and_a_wrong_shape() -> None:
    for value, said in (({}, "Is required."), (5, "Send an object.")):
        with pytest.raises(ValidationError) as refused:
            Wished.model_validate(value)
        assert [sentence(error) for error in refused.value.errors()] == [said]


def test_a_group_stops_after_twenty_rejections_in_a_row() -> None:
    rejections = Rejections("g")
    for _ in range(20):
        assert rejections.allow()
        rejections.count(rejected=True)
    assert not rejections.allow()
    assert rejections.stopped


def test_a_group_stops_when_half_of_the_last_hundred_were_rejected() -> None:
    rejections = Rejections("g")
    for number in range(99):
        assert rejections.allow(), number
        rejections.count(rejected=number % 2 == 0)
    assert not rejections.allow()


def test_one_organization_does_not_stop_a_group_but_several_do() -> None:
    rejections = Rejections("g")
    for _ in range(1000):
        assert rejections.allow()
        rejections.count(rejected=True, organization="a")
    for organization in "bcd":
        for _ in range(5):
            assert rejections.allow()
            rejections.count(rejected=True, organization=organization)
    assert not rejections.allow()


def test_rejections_far_apart_never_stop_a_group() -> None:
    rejections = Rejections("g")
    for number in range(10_000):
        assert rejections.allow()
        rejections.count(rejected=number % 3 == 0)


def test_uuid7_sorts_by_time_and_says_its_version() -> None:
    first = uuid7()
    assert first.version == 7
    assert first.variant == "specified in RFC 4122"
    assert len({uuid7() for _ in range(1000)}) == 1000
    assert (first.int >> 80) <= (uuid7().int >> 80)


@contextmanager
def json_logs() -> Iterator[None]:
    """The process's real logging, put back afterwards."""
    keys = KeyRing()
    root, before, configured = logging.getLogger(), list(logging.getLogger().handlers), structlog.get_config()
    levels = {name: logging.getLogger(name).level for name in ("", "httpx", "aiokafka")}
    settings = keys.settings(_settings_class(), database_url="postgresql+asyncpg://x", kafka="x", log_format="json")
    setup_logging(settings)
    yield
    root.handlers = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.configure(**configured)


def _settings_class() -> type[ServiceSettings]:
    class Settings(ServiceSettings):
        service_name = "people-sync"

    return Settings


def test_logs_are_json_and_know_no_persons(capsys: pytest.CaptureFixture[str]) -> None:
    class Person(BaseModel):
        email: int

    given = {"email": "anna@example.org"}
    with json_logs():
        log = structlog.get_logger("x")
        log.info("done", email="a@b.org", member={"first_name": "Anna", "id": 5}, list=[{"phone": 1}])
        logging.getLogger("some.library").warning("hello %s", "there")
        try:
            Person.model_validate(given)
        except ValidationError:
            log.exception("broken")
    first, second, third = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["event"] == "done"
    assert first["email"] == "[redacted]"
    assert first["member"] == {"first_name": "[redacted]", "id": 5}
    assert first["list"] == [{"phone": "[redacted]"}]
    assert (second["event"], second["level"]) == ("hello there", "warning")
    assert "anna" not in json.dumps(third)
    assert "ValidationError" in third["exception"]
    assert "test_values.py" in third["exception"]


async def test_a_task_without_a_waiter_logs_no_personal_data(capsys: pytest.CaptureFixture[str]) -> None:
    async def quote(personal: str) -> None:
        raise ValueError(personal)

    with json_logs():
        task = asyncio.create_task(quote("anna@example.org"))
        await asyncio.sleep(0)
        del task
        gc.collect()
    line = json.loads(capsys.readouterr().out)
    assert line["event"] == "Task exception was never retrieved"
    assert "anna" not in json.dumps(line)
    assert "ValueError" in line["exception"]


def test_a_traceback_keeps_the_text_of_our_own_errors() -> None:
    quoting = OperationalError("secret", {}, Answer("08006"))
    try:
        try:
            raise quoting
        except OperationalError as error:
            raise PermanentError("which job") from error
    except PermanentError as error:
        text = safe_traceback(error)
    assert "PermanentError: which job" in text
    assert "OperationalError" in text
    assert "secret" not in text


async def _handler(event: object, session: object, resources: object) -> None:
    """Does nothing."""


@pytest.mark.parametrize(
    ("topic", "group", "event", "message"),
    [
        ("auth.connections.v1", "people-sync.connections", ConnectionAuthorized, "not in the registry"),
        ("auth.connection.v1", "people-sync", ConnectionAuthorized, "<service>.<purpose>"),
        ("auth.connection.v1", "conflict-service.connections", ConnectionAuthorized, "<service>.<purpose>"),
        ("auth.connection.v1", "people-sync.connections", WebhookApplied, "does not carry WebhookApplied"),
    ],
)
def test_a_subscription_that_the_registry_does_not_know(topic: str, group: str, event: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        subscribe(topic, group=group, handlers={event: _handler}, after_loss="")


def test_a_broadcast_that_the_registry_does_not_know() -> None:
    with pytest.raises(ValueError, match="no broadcast subscription"):
        subscribe_broadcast("auth.connection.v1", service="people-sync", handlers={})


def test_each_process_has_a_broadcast_group_of_its_own() -> None:
    first = subscribe_broadcast("auth.connection.v1", service="webhook-gateway", handlers={})
    second = subscribe_broadcast("auth.connection.v1", service="webhook-gateway", handlers={})
    assert first.group != second.group


def test_headers_are_required() -> None:
    with pytest.raises(BadMessage, match="ce_id, ce_source"):
        EventHeaders.parse({"ce_type": "X", "ce_time": "now"})


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"somebody else"])
def test_the_key_is_the_one_of_the_fact(key: bytes | None) -> None:
    topic = TOPICS["webhooks.subscription.v1"]
    fact = SubscriptionsRemoved(
        organization_id="grace", version=1, product="people", generation=1, removed=1, occurred_at=datetime.now(UTC)
    )
    body = fact.model_dump_json().encode()
    headers = {"ce_id": "1", "ce_type": "SubscriptionsRemoved", "ce_source": "/x", "ce_time": "now"}
    headers |= {"ce_specversion": "1.0", "content-type": "application/json; charset=utf-8"}

    def message(key: bytes | None, value: bytes) -> Any:
        encoded = tuple((name, text.encode()) for name, text in headers.items())
        return ConsumerRecord(topic.name, 0, 0, 0, 0, key, value, None, 0, 0, encoded)

    read(topic, message(b"grace", body))
    with pytest.raises(BadMessage, match="key"):
        read(topic, message(key, body))


async def test_eventually_reports_the_last_value() -> None:
    clock = FakeClock()
    clock.advance(5)
    with pytest.raises(AssertionError, match=r"not within 0\.1 s: the reason"):
        await eventually(lambda: 0, within=0.1, because="the reason")
    assert await eventually(lambda: clock.now().second) == 5
