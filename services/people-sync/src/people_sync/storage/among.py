"""A condition over any number of values."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, any_, literal
from sqlalchemy.orm import InstrumentedAttribute


def among(column: ColumnElement[Any] | InstrumentedAttribute[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether a column's value is one of these, which go to the database as one array.

    `IN` needs a parameter for each value, 32,767 at most, and every connection keeps a statement for each number of
    them.
    """
    return column == any_(literal(list(values), ARRAY(column.type)))
