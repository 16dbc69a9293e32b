"""Shapes that several services answer with."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from contracts.base import Model

T = TypeVar("T")


class Intent(BaseModel):
    """What a caller asks for. Unknown fields are refused: a misspelt field must not be ignored in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, use_attribute_docstrings=True)


class Page(Model, Generic[T]):
    """One page of a list, in a stable order. `next` goes into the query's `after` for the page behind."""

    items: tuple[T, ...]
    """The entries of this page."""
    next: str | None = None
    """The `after` of the next page; null on the last one."""
    total: int | None = Field(default=None, description="Of the filtered list, where it is cheap to know.")


class PageQuery(Intent):
    """Where a page begins and how long it is."""

    after: str | None = Field(default=None, max_length=400, description="`next` of the page before.")
    limit: int = Field(default=50, ge=1, le=200)
    """Entries on a page."""


class FieldError(Model):
    """One thing wrong with the input."""

    field: str
    """Where the field is: names and positions, with dots."""
    message: str
    """What is wrong with it, in words."""


class Problem(Model):
    """RFC 9457 problem document, `application/problem+json`."""

    type: str
    """What kind of problem it is: the address of a page about it. Programs tell problems apart by it."""
    title: str
    """The kind in a few words."""
    status: int
    """The status of the answer."""
    detail: str = Field(description="What happened, what stays as it was, what to do now.")
    instance: str | None = None
    """The path that was called."""
    errors: tuple[FieldError, ...] = ()
    """What is wrong with the input, field by field."""
    correlation_id: str | None = None
    """Name it when you ask the operators about this answer."""
