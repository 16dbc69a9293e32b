"""Search of members and families."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, false, func, literal_column, or_

from people_sync.domain.search import Term
from servicekit.http.paging import contains
from synckit.by_key import Fits

_BLANK: Final[ColumnElement[str]] = literal_column("' '")
_NOTHING: Final[ColumnElement[str]] = literal_column("''")
# Formatting characters of phones, with the dashes and the no-break space of word processors.
_FORMAT: Final[ColumnElement[str]] = literal_column("'+-(). /\u2010\u2011\u2013\u00a0'")


def searched(member: Any) -> ColumnElement[str]:
    """Name, e-mail and the phone's digits, as in `ix_member_search`, without a parameter."""
    mail = func.coalesce(member.email_key, _NOTHING)
    phone = func.translate(func.coalesce(member.phone, _NOTHING), _FORMAT, _NOTHING)
    parts: ColumnElement[str] = member.name_key
    for part in (_BLANK, mail, _BLANK, phone):
        parts = parts.op("||")(part)
    return parts


def member_has(terms: Sequence[Term]) -> Fits:
    """Whether a member matches all terms."""

    def fits(member: Any) -> list[ColumnElement[bool]]:
        columns = {"anything": searched(member), "name": member.name_key, "email": member.email_key}
        return [_like(columns[term.within], term) for term in terms] or [false()]

    return fits


def family_has(terms: Sequence[Term]) -> Fits:
    """Whether a family's name matches all terms."""

    def fits(family: Any) -> list[ColumnElement[bool]]:
        # A text too short for the trigram index would make PostgreSQL read the whole index.
        columns = {"anything": family.name_key, "name": family.name_key.op("||")(_NOTHING), "email": _NOTHING}
        return [_like(columns[term.within], term) for term in terms] or [false()]

    return fits


def _like(column: ColumnElement[str], term: Term) -> ColumnElement[bool]:
    return or_(*(column.like(contains(text)) for text in term.texts))
