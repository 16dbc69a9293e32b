"""A membership condition for any number of values."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, any_, literal
from sqlalchemy.orm import InstrumentedAttribute


def among(column: ColumnElement[Any] | InstrumentedAttribute[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether a column's value is one of these, sent to the database as one array.

    `IN` needs a parameter for each value, at most 32,767, and every connection caches a statement for each number of
    parameters.
    """
    return column == any_(literal(list(values), ARRAY(column.type)))
