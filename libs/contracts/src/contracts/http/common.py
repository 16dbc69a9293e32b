"""Shapes that several services answer with."""

import re
from datetime import date, datetime
from types import UnionType
from typing import Annotated, Any, Final, Generic, TypeVar, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError

from contracts.base import Model, Timestamp

T = TypeVar("T")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}.*", re.DOTALL)
_WHOLE: Final = re.compile(r"-?[0-9]{1,20}")


class NotNull:
    """Annotates a field that may be left out but not be null: None means that it was not sent."""


NOT_NULL: Final = NotNull()


class Intent(BaseModel):
    """The body or query of a call. Unknown fields are refused: a misspelt field must not be ignored in silence.

    Values must have JSON's own types, which pydantic would convert: `1` is no boolean, `true` no number, `"1"` neither,
    and a number no date or instant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _as_sent(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        if value is None:
            if NOT_NULL in field.metadata:
                raise PydanticCustomError("not_null", "Must not be null: leave it out to keep it as it is")
            return None
        return cls._judge(value, _kinds(field.annotation))

    @classmethod
    def _judge(cls, value: Any, kinds: set[Any]) -> Any:
        if bool in kinds and not isinstance(value, bool):
            raise PydanticKnownError("bool_type")
        if int in kinds and isinstance(value, bool | str):
            raise PydanticKnownError("int_type")
        if date in kinds and not (isinstance(value, date) or (isinstance(value, str) and _DAY.fullmatch(value))):
            raise PydanticKnownError("date_type")
        if AwareDatetime in kinds and not (
            isinstance(value, datetime) or (isinstance(value, str) and _INSTANT.fullmatch(value))
        ):
            raise PydanticKnownError("datetime_type")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema that validation applies: a `NOT_NULL` field does not list null."""
        shown = handler(schema)
        properties = handler.resolve_ref_schema(shown).get("properties", {})
        for name, field in cls.model_fields.items():
            if NOT_NULL in field.metadata:
                of_field = properties[name]
                (kind,) = (option for option in of_field.pop("anyOf") if option != {"type": "null"})
                of_field.pop("default", None)
                properties[name] = kind | of_field
        return shown


def _kinds(annotation: Any) -> set[Any]:
    """The types of a field, without their annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return {kind for option in get_args(annotation) for kind in _kinds(option)}
    return {annotation}


class Page(Model, Generic[T]):
    """One page of a list, in a stable order. `next` is the `after` of the next page's query."""

    # Pydantic would look for the docstrings of every `Page[...]` in all sources up the stack: 0.02 s each.
    model_config = ConfigDict(use_attribute_docstrings=False)

    items: tuple[T, ...] = Field(description="The entries of this page.")
    next: str | None = Field(default=None, description="The `after` of the next page; null on the last one.")
    total: int | None = Field(default=None, description="Length of the filtered list, if it is cheap to count.")


class ListQuery(Intent):
    """Filters of a list. A file has the whole list, so its query has no page."""

    @classmethod
    def _judge(cls, value: Any, kinds: set[Any]) -> Any:
        """Accept a query's notation: `true`, `false` and digits."""
        if not isinstance(value, str):
            return value
        if bool in kinds:
            if value not in {"true", "false"}:
                raise PydanticKnownError("bool_parsing")
            return value == "true"
        if int in kinds and not _WHOLE.fullmatch(value):
            raise PydanticKnownError("int_parsing")
        return value


class PageQuery(ListQuery):
    """Position and length of a page."""

    after: str | None = Field(default=None, max_length=400, description="`next` of the page before.")
    limit: int = Field(default=50, ge=1, le=200)
    """Entries on a page."""


class HistoryEntry(Model):
    """One change of one field of a record."""

    id: str
    """Id of the change."""
    field: str
    """Name of the field."""
    side: str = Field(description="Side of the change: `here`, or `there` for Planning Center.")
    old: Any = None
    """The value before, as JSON."""
    new: Any = None
    """The value after, as JSON."""
    by: str = Field(description="`person`, `planning_center`, `rule` or `platform`.")
    by_name: str | None = None
    """Name of the person who made the change."""
    rule: str | None = None
    """Name of the rule that made the change."""
    run_id: str | None = None
    """The run that made the change."""
    decision_id: str | None = Field(default=None, description="The conflict's decision that made the change.")
    rule_id: str | None = Field(default=None, description="The rule that made that decision.")
    changed_at: Timestamp
    """When it was changed."""
    can_undo: bool
    """Whether this change alone can be taken back."""
    joined_name: str | None = Field(
        default=None,
        description="Name of the joined member, if the change was theirs before they were joined to this one.",
    )


class FieldError(Model):
    """One fault of the input."""

    field: str
    """Path of the field: names and positions, with dots."""
    message: str
    """The fault in words."""


class Problem(Model):
    """RFC 9457 problem document, `application/problem+json`."""

    type: str
    """The kind of problem, as the address of a page about it. Programs tell problems apart by this member."""
    title: str
    """The kind in a few words."""
    status: int
    """The status of the answer."""
    detail: str = Field(description="What happened, what stays as it was, what to do now.")
    instance: str | None = None
    """Identifies this one answer: `urn:uuid:` and the correlation id."""
    errors: tuple[FieldError, ...] = ()
    """The faults of the input, field by field."""
    correlation_id: str | None = None
    """Id to quote when you ask the operators about this answer."""
