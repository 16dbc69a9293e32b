"""Building blocks of what callers send: text that people can read, ids, and records that are judged one by one."""

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

_OTHER_CONTROLS: Final = r"\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROLS: Final = rf"\u0000-\u001f{_OTHER_CONTROLS}"
"""C0 and C1 controls, lone surrogates, line ends, and bidirectional controls."""
_CONTROLS_IN_LINES: Final = rf"\u0000-\u0009\u000b\u000c\u000e-\u001f{_OTHER_CONTROLS}"
"""The same without line feed and carriage return."""
_UNSEEN: Final = (
    r"\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
"""Combining and invisible characters. Spaces at both ends are stripped before this check."""
_CONTROL: Final = re.compile(f"[{_CONTROLS}]")
_CONTROL_IN_LINES: Final = re.compile(f"[{_CONTROLS_IN_LINES}]")
_NOTHING: Final = re.compile(rf"[\s{_UNSEEN}\U000e0000-\U000e0fff]+")
_LINE_END: Final = re.compile(r"\r\n?")


class _Legible:
    """Text without control or bidirectional characters and with at least one visible one."""

    controls = _CONTROLS
    control = _CONTROL

    def judge(self, value: str) -> str:
        if self.control.search(value):
            raise ValueError("must not contain control characters")
        if _NOTHING.fullmatch(value):
            raise ValueError("must have a character that can be seen")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.judge, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"pattern": f"^(?![{_UNSEEN}]+$)[^{self.controls}]*$"}


class _LegibleLines(_Legible):
    """The same with line breaks, which become line feeds."""

    controls = _CONTROLS_IN_LINES
    control = _CONTROL_IN_LINES

    def judge(self, value: str) -> str:
        return _LINE_END.sub("\n", super().judge(value))


Text = Annotated[str, _Legible()]
Lines = Annotated[str, _LegibleLines()]
"""Text of several lines."""
ExternalId = Annotated[Text, Field(min_length=1, max_length=200)]
PcoId = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]

Judged = dict[Any, Any]
"""A record of a bulk call, judged by itself later.

Field names may hold lone surrogates, which pydantic cannot read as text: only that record is refused.
"""
REFUSED_ALONE: Final = (
    "One with unacceptable values is refused alone, by its position; an entry that is no object refuses the call."
)


def judged_as(model: type) -> BeforeValidator:
    """Document a `Judged` record as `model`: `Annotated[Judged, judged_as(BulkMember)]`."""
    return BeforeValidator(_as_it_is, json_schema_input_type=model)


def _as_it_is(value: Any) -> Any:
    return value
