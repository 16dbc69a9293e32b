"""What Planning Center refuses of a record: a part by itself, in plain words, and never the whole run.

Only an organization administrator may edit an administrator's record, so that a 403 (or 422, 409) about one person
says nothing about the connection (planningcenter/developers#1139). Whether the role is really gone is asked of `/me`.
"""

from dataclasses import dataclass, field
from typing import Final, NoReturn

from contracts.values import FAMILY, MEMBER, writes_people
from pco_client.errors import BadRequest, Conflict, Forbidden, PlanningCenterError, Rejected
from people_sync.domain.sentences import OTHERS_TAKEN, Refusal, Rejection, not_for_us, rejection
from people_sync.usecases.record.writer import Writer

DEFINITE: Final = (Rejected, Conflict, BadRequest, Forbidden)
"""Answers after which nothing of the request was carried out, and nothing will be."""


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a record: the record (`about` is None) or one of its contacts, and the fields that it carries."""

    about: str | None
    fields: tuple[str, ...]
    kind: str = MEMBER


class PartRefused(Exception):
    """Parts of a record were refused; what else there was to write is written."""

    def __init__(self, *refusals: Rejection, others_taken: bool = False) -> None:
        sentences = [*dict.fromkeys(refusal.sentence for refusal in refusals), *[OTHERS_TAKEN] * others_taken]
        super().__init__(" ".join(sentences))
        self.cause = refusals[0].cause

    @classmethod
    def undecidable(cls, sentence: str) -> "PartRefused":
        """Only a person can tell what became of it; the sentence says what to look at."""
        return cls(Rejection("undecidable", sentence))


@dataclass(slots=True)
class Refusals:
    """Collected over the parts of one record."""

    found: list[Rejection] = field(default_factory=list)
    taken: bool = False
    """Whether Planning Center took anything else of the record."""

    def add(self, cause: str, sentence: str) -> None:
        """A refusal in words of our own."""
        self.found.append(Rejection(cause, sentence))

    async def refused(self, writer: Writer, part: Part, error: PlanningCenterError) -> None:
        """Note the answer to one part. Raises it if it is not about this record: the role of who connected is gone."""
        if isinstance(error, Forbidden):
            if error.user_agent_possible or await role_is_gone(writer):
                raise error
            record = "household" if part.kind == FAMILY else "person"
            self.found.append(not_for_us(record, hidden=error.method == "GET"))
            return
        problems = [Refusal(problem.parameter, problem.title, problem.detail) for problem in error.problems]
        self.found.append(rejection(problems, about=part.about))

    def raise_any(self) -> None:
        """Raises PartRefused if there is one."""
        if self.found:
            self._raise()

    def _raise(self) -> NoReturn:
        raise PartRefused(*self.found, others_taken=self.taken)


async def refusal_of(writer: Writer, kind: str, error: PlanningCenterError) -> Rejection:
    """Why a record was refused as a whole. Raises as `Refusals.refused` does."""
    refusals = Refusals()
    await refusals.refused(writer, Part(None, (), kind), error)
    (reason,) = refusals.found
    return reason


async def role_is_gone(writer: Writer) -> bool:
    """Whether who connected may no longer write in People."""
    try:
        me = await writer.pco.get("/people/v2/me")
    except Forbidden:
        return True
    return not writes_people(me.data.attributes)
