"""Validation errors in words for API callers, because pydantic's texts address Python developers."""

from collections.abc import Iterable
from typing import Final

from pydantic_core import ErrorDetails

from contracts.http.common import FieldError

_LIST, _OBJECT, _WHOLE, _DATE = "Send a list.", "Send an object.", "Send a whole number.", "Send a date as YYYY-MM-DD."
_INSTANT: Final = "Send an instant with its offset, such as 2026-04-05T09:00:00-04:00."
_SENTENCES: Final = {
    "missing": "Is required.",
    "extra_forbidden": "Is not known here: check its spelling.",
    "too_long": "Send at most {max_length:,} items.",
    "too_short": "Send at least {min_length:,} items.",
    "string_too_long": "Use at most {max_length:,} characters.",
    "string_too_short": "Use at least {min_length:,} characters.",
    "string_type": "Send text.",
    "string_unicode": "Holds a character that does not exist: write it again.",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "bool_type": "Send true or false.",
    "bool_parsing": "Send true or false.",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "datetime_type": _INSTANT,
    "datetime_parsing": _INSTANT,
    "datetime_from_date_parsing": _INSTANT,
    "datetime_object_invalid": _INSTANT,
    "timezone_aware": _INSTANT,
    "greater_than_equal": "Must be at least {ge}.",
    "less_than_equal": "Must be at most {le}.",
    "literal_error": "Must be {expected}.",
}
_EMPTY: Final = "Must not be empty."
_EMAIL: Final = "Write an email address, such as name@example.org."


def sentence(error: ErrorDetails) -> str:
    """The sentence for one of `ValidationError.errors()`; pydantic's own text for a type that the table lacks."""
    values = error.get("ctx", {})
    if values.get("min_length") == 1:
        return _EMPTY
    # pydantic measures a text behind a validator function like a list.
    of_text = f"string_{error['type']}" if isinstance(error["input"], str) else ""
    for name in (of_text, error["type"]):
        if name in _SENTENCES:
            return _SENTENCES[name].format(**values)
    if error["type"] == "value_error" and error["msg"].startswith("value is not a valid email address"):
        return _EMAIL
    words = error["msg"].removeprefix("Value error, ")
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def encodable(text: str) -> str:
    """A caller's field name in a form that can be encoded, since JSON escapes may leave lone surrogates in it."""
    return text.encode("utf-8", "replace").decode()


def field_errors(faults: Iterable[tuple[str, str]]) -> tuple[FieldError, ...]:
    """Fields and what is wrong with each, as answers have them."""
    return tuple(FieldError(field=encodable(name), message=encodable(message)) for name, message in faults)
