"""Logs: one structlog chain for structlog and stdlib, JSON or console, ids only and never personal data."""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Final

import orjson
import structlog
from aiokafka.errors import KafkaError
from structlog.types import EventDict, Processor

from servicekit.errors import PermanentError, ServiceError, TransientError
from servicekit.settings import ServiceSettings

_PRIVATE = """
access_token address addresses assertion authorization birthdate body city client_secret code code_verifier cookie email
emails first_name given_name last_name name nickname password payload phone phone_number phone_numbers phones
refresh_token secret street token zip
"""
PRIVATE_KEYS: Final = frozenset(_PRIVATE.split())
REDACTED: Final = "[redacted]"
# Errors whose text is ours or an address. All others may quote personal data, as int("Anna") does.
_SPEAKING: Final = (ServiceError, TransientError, PermanentError, KafkaError, OSError)


def _plain(_: Any, __: str, event: EventDict) -> EventDict:
    """Drop uvicorn's coloured copy of its message, and asyncio's copy of an error's text."""
    event.pop("color_message", None)
    if event.get("logger") == "asyncio":
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


def redact(_: Any, __: str, event: EventDict) -> EventDict:
    """Replace the values of known private keys, at any depth. A processor of the chain."""
    return {key: _redacted(key, value) for key, value in event.items()}


def _redacted(key: str, value: Any) -> Any:
    if key.lower() in PRIVATE_KEYS:
        return REDACTED
    if isinstance(value, MutableMapping):
        return {inner: _redacted(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", item) for item in value]
    return value


def safe_traceback(error: BaseException) -> str:
    """A traceback with texts only of our own errors; others are named by their type."""
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None and len(parts) < 5:
        kind = type(current)
        speaks = isinstance(current, _SPEAKING) or kind.__module__.startswith("servicekit.")
        text = f": {current}" if speaks else ""
        parts.append("".join(traceback.format_tb(current.__traceback__)) + f"{kind.__qualname__}{text}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n-- caused by --\n".join(parts)


def format_exception(_: Any, __: str, event: EventDict) -> EventDict:
    """Render `exc_info` by `safe_traceback`. A processor of the chain."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = safe_traceback(error)
    return event


def setup_logging(settings: ServiceSettings) -> None:
    """Route every log line of the process through one chain to stdout."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _plain,
        format_exception,  # before `redact`, which makes a list of the standard library's tuple
        redact,
    ]
    if settings.log_format == "json":
        final: list[Processor] = [
            structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=str).decode()),
        ]
    else:
        final = [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers = []
    # We log one line per request ourselves (servicekit.http.edge); httpx would log full URLs with queries.
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("httpx", "httpcore", "aiokafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns at every start that it creates no topics, which is intended.
    logging.getLogger("servicekit.faststream").setLevel(logging.ERROR)
