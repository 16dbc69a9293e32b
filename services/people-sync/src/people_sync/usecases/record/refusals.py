"""Refusals by Planning Center: each concerns one part of a record, in plain words, and never the whole run.

Only an organization administrator may edit an administrator's record, so a 403 (or 422, 409) about one person says
nothing about the connection (planningcenter/developers#1139). `/me` shows whether the role is really lost.
"""

from dataclasses import dataclass, field
from typing import Final, NoReturn

from contracts.values import FAMILY, MEMBER, writes_people
from pco_client.errors import BadRequest, Conflict, Forbidden, PlanningCenterError, Rejected
from people_sync.domain.sentences import OTHERS_TAKEN, Refusal, Rejection, not_for_us, rejection
from people_sync.usecases.record.writer import Writer

DEFINITE: Final = (Rejected, Conflict, BadRequest, Forbidden)
"""Errors that prove that the request was not and will not be carried out."""


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a record: the record itself (`about` is None) or one of its contacts, with its fields."""

    about: str | None
    fields: tuple[str, ...]
    kind: str = MEMBER


class PartRefused(Exception):
    """Parts of a record were refused; its other parts are written."""

    def __init__(self, *refusals: Rejection, others_taken: bool = False) -> None:
        sentences = [*dict.fromkeys(refusal.sentence for refusal in refusals), *[OTHERS_TAKEN] * others_taken]
        super().__init__(" ".join(sentences))
        self.cause = refusals[0].cause

    @classmethod
    def undecidable(cls, sentence: str) -> "PartRefused":
        """A creation whose outcome only a person can find out; the sentence says where to look."""
        return cls(Rejection("undecidable", sentence))


@dataclass(slots=True)
class Refusals:
    """Refusals of one record's parts."""

    found: list[Rejection] = field(default_factory=list)
    taken: bool = False
    """Whether Planning Center accepted another part of the record."""

    def add(self, cause: str, sentence: str) -> None:
        """Add a refusal in our own words."""
        self.found.append(Rejection(cause, sentence))

    async def refused(self, writer: Writer, part: Part, error: PlanningCenterError) -> None:
        """Note the refusal of one part. Raises the error if the connected person has lost the role."""
        if isinstance(error, Forbidden):
            if error.user_agent_possible or await role_is_gone(writer):
                raise error
            record = "household" if part.kind == FAMILY else "person"
            self.found.append(not_for_us(record, hidden=error.method == "GET"))
            return
        problems = [Refusal(problem.parameter, problem.title, problem.detail) for problem in error.problems]
        self.found.append(rejection(problems, about=part.about))

    def raise_any(self) -> None:
        """Raise PartRefused if any part was refused."""
        if self.found:
            self._raise()

    def _raise(self) -> NoReturn:
        raise PartRefused(*self.found, others_taken=self.taken)


async def refusal_of(writer: Writer, kind: str, error: PlanningCenterError) -> Rejection:
    """The sentence for a record refused as a whole. Raises as `Refusals.refused` does."""
    refusals = Refusals()
    await refusals.refused(writer, Part(None, (), kind), error)
    (reason,) = refusals.found
    return reason


async def role_is_gone(writer: Writer) -> bool:
    """Whether the connected person may no longer write in People."""
    try:
        me = await writer.pco.get("/people/v2/me")
    except Forbidden:
        return True
    return not writes_people(me.data.attributes)
