"""Shapes that several services answer with."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from contracts.base import Model

T = TypeVar("T")


class Intent(BaseModel):
    """What a caller asks for. Unknown fields are refused: a misspelt field must not be ignored in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Page(Model, Generic[T]):
    """One page of a list, in a stable order. `next` goes into the query's `after` for the page behind."""

    items: tuple[T, ...]
    next: str | None = None
    total: int | None = Field(default=None, description="Of the filtered list, where it is cheap to know.")


class PageQuery(Intent):
    """Where a page begins and how long it is."""

    after: str | None = Field(default=None, max_length=400, description="`next` of the page before.")
    limit: int = Field(default=50, ge=1, le=200)


class FieldError(Model):
    """One thing wrong with the input."""

    field: str
    message: str


class Problem(Model):
    """RFC 9457 problem document, `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What happened, what stays as it was, what to do now.")
    instance: str | None = None
    errors: tuple[FieldError, ...] = ()
    correlation_id: str | None = None
