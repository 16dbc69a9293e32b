"""Metrics by a typed list of names, traces through OpenTelemetry.

Without OTEL_EXPORTER_OTLP_ENDPOINT nothing is recorded or instrumented, so traces cost nothing.
"""

from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from servicekit.settings import ServiceSettings

REGISTRY = CollectorRegistry()
"""What `/metrics` serves. A service's own metrics register here too."""

Name = Literal[
    # Seconds that the oldest row has waited in the outbox; 0 when it is empty.
    "servicekit_outbox_age_seconds",
    # Rows confirmed by Kafka.
    "servicekit_outbox_relayed_total",
    # Messages by group, topic and outcome: handled, duplicate, ignored, set_aside, retried, waited, timed_out,
    # dead_letter, dropped.
    "servicekit_messages_total",
    # Seconds from the start of a message's first attempt to its outcome, by group.
    "servicekit_message_seconds",
    # 1 while a group has stopped itself because it rejected too many messages; alert on it.
    "servicekit_consumer_stopped",
    # Upper bound of messages lost before a group read them (1 per partition if unknown), by group and topic; alert on
    # it.
    "servicekit_messages_lost_total",
    # Messages of unknown types that wait for a newer version, by group.
    "servicekit_set_aside",
    # Seconds that the oldest of them has waited; 0 without any.
    "servicekit_set_aside_age_seconds",
    # Jobs by kind and outcome: done, waiting, failed, cancelled, retried, lease_lost, released.
    "servicekit_jobs_total",
    # Restarts of supervised loops by name.
    "servicekit_loop_restarts_total",
    # Requests by method, route template and status.
    "servicekit_http_seconds",
]


def _counter(name: Name, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=REGISTRY)


def _gauge(name: Name, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, registry=REGISTRY)


def _histogram(name: Name, text: str, *labels: str) -> Histogram:
    return Histogram(name, text, labels, registry=REGISTRY)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Everything servicekit counts."""

    outbox_age_seconds: Gauge = field(
        default_factory=lambda: _gauge("servicekit_outbox_age_seconds", "Age of the oldest outbox row")
    )
    outbox_relayed_total: Counter = field(
        default_factory=lambda: _counter("servicekit_outbox_relayed_total", "Outbox rows confirmed by Kafka")
    )
    messages_total: Counter = field(
        default_factory=lambda: _counter(
            "servicekit_messages_total", "Messages by outcome", "group", "topic", "outcome"
        )
    )
    message_seconds: Histogram = field(
        default_factory=lambda: _histogram("servicekit_message_seconds", "Time to outcome", "group")
    )
    consumer_stopped: Gauge = field(
        default_factory=lambda: _gauge("servicekit_consumer_stopped", "Stopped by its rejections", "group")
    )
    messages_lost_total: Counter = field(
        default_factory=lambda: _counter(
            "servicekit_messages_lost_total", "Messages gone before they were taken", "group", "topic"
        )
    )
    set_aside: Gauge = field(
        default_factory=lambda: _gauge("servicekit_set_aside", "Messages of unknown types", "group")
    )
    set_aside_age_seconds: Gauge = field(
        default_factory=lambda: _gauge("servicekit_set_aside_age_seconds", "Age of the oldest of them", "group")
    )
    jobs_total: Counter = field(
        default_factory=lambda: _counter("servicekit_jobs_total", "Jobs by outcome", "kind", "outcome")
    )
    loop_restarts_total: Counter = field(
        default_factory=lambda: _counter("servicekit_loop_restarts_total", "Restarts of loops", "loop")
    )
    http_seconds: Histogram = field(
        default_factory=lambda: _histogram("servicekit_http_seconds", "Requests", "method", "route", "status")
    )


METRICS = Metrics()


_TOLD_OF_A_REQUEST: Final = frozenset(
    {
        *("http.method", "http.request.method", "http.scheme", "url.scheme", "http.flavor", "network.protocol.version"),
        *("http.route", "http.status_code", "http.response.status_code"),
    }
)
"""Attributes kept in a request's span. Callers write the others, which may hold names searched for or pasted paths."""


def forget_caller(span: trace.Span, *_: object) -> None:
    """Hook of the server's instrumentation: keep only the route's template and the method in a request's span."""
    for name in (span.attributes or {}) if isinstance(span, ReadableSpan) else ():
        if name not in _TOLD_OF_A_REQUEST:
            span.set_attribute(name, "")


async def forget_path(span: trace.Span, *_: object) -> None:
    """Hook of the client's instrumentation: keep only the host of an address in the span."""
    noted = span.attributes if isinstance(span, ReadableSpan) else None
    for name in ("http.url", "url.full"):
        value = (noted or {}).get(name)
        if isinstance(value, str):
            parts = urlsplit(value)
            span.set_attribute(name, f"{parts.scheme}://{parts.netloc}/")


def setup_tracing(settings: ServiceSettings, processor: SpanProcessor | None = None) -> bool:
    """Record traces if an exporter is set or a `processor` is given. Returns whether they are recorded."""
    if processor is None:
        if not settings.otel_exporter_otlp_endpoint:
            return False
        # Imported here, so that only services that use the exporter pay its memory and start time.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        endpoint = settings.otel_exporter_otlp_endpoint.rstrip("/") + "/v1/traces"
        processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint))
    resource = Resource.create(
        {"service.name": settings.service_name, "deployment.environment.name": settings.environment}
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    return True


def trace_sql(engine: AsyncEngine) -> None:
    """A span per statement with its text, but without parameters.

    Made by hand, because opentelemetry-instrumentation-sqlalchemy (0.66b1) refuses SQLAlchemy 2.1.
    """
    tracer = trace.get_tracer(__name__)
    spans: WeakKeyDictionary[ExecutionContext, trace.Span] = WeakKeyDictionary()

    def begin(_: object, __: object, statement: str, ___: object, context: ExecutionContext, ____: object) -> None:
        spans[context] = tracer.start_span(
            statement.lstrip().partition(" ")[0].upper(),
            kind=trace.SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql", "db.query.text": statement},
        )

    def end(_: object, __: object, ___: str, ____: object, context: ExecutionContext, _____: object) -> None:
        spans.pop(context).end()

    def fail(error: ExceptionContext) -> None:
        span = spans.pop(error.execution_context, None) if error.execution_context else None
        if span is not None:
            span.set_status(trace.StatusCode.ERROR, type(error.original_exception).__name__)
            span.end()

    event.listen(engine.sync_engine, "before_cursor_execute", begin)
    event.listen(engine.sync_engine, "after_cursor_execute", end)
    event.listen(engine.sync_engine, "handle_error", fail)
