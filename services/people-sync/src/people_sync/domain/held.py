"""Held matches by kind of doubt, and the effect of a bulk answer on each."""

from typing import Final

from contracts.http.people import Answer, HeldReason
from people_sync.domain.canonical import without_suffix
from synckit.text import fold

REASONS: Final[dict[HeldReason, tuple[str, ...]]] = {
    "child": ("Same name%, but one is a child and the other an adult.",),
    "suffix": ("Same birthdate, and the same name but for the suffix:%",),
    "email": (
        "Same email, but the names differ:%",
        "Same name and email, but the birthdates differ.",
        "An email that several people share, and the names differ:%",
        "Several people have this name and this email.",
    ),
    "name": ("Same name%, but the emails differ.", "Same name%, but no email to be sure."),
}
"""SQL patterns of the reasons that `domain.matching` gives; `%` is their only wildcard."""

NOT_WAITING: Final = (
    "This no longer needs an answer: a sync has found out meanwhile who this person is. Nothing was answered here."
)
ANSWERED: Final = "Somebody else answered it meanwhile. That answer stays."
MEMBER_GONE: Final = "This member was deleted meanwhile. Nothing was linked."
TAKEN: Final = "One of the two was linked to somebody else meanwhile. Nothing was linked."
BUSY: Final = (
    "This member is being synced at the moment, and may just be added in Planning Center. Nothing was linked. "
    "Answer again in a few seconds."
)
BUSY_NOW: Final = "This member is being synced at the moment. Nothing was taken back. Try again in a few seconds."
IN_A_RUN: Final = (
    "A sync is working on this person at the moment. Nothing was taken back. Try again once the sync has ended."
)
ACTED_ON: Final = (
    "A sync has acted on this answer already, so it can't be taken back here. What the sync changed is in the history "
    "of the person here, and can be undone there."
)
LEFT_ALONE: Final = "This member is kept out of the sync. Nothing was linked: choose Sync again on their page first."
BUSY_JOINING: Final = (
    "The second record is being synced at the moment. Nothing was joined. Answer again in a few seconds."
)
MOVED: Final = "It has changed since it was shown, so it still waits: look at it and answer it on its own."


def moved(shown: int, version: int | None, state: str | None) -> str | None:
    """Why a held match shown with `version` is not answered, in words; None if it is unchanged.

    `version` and `state`: as they are now, None if the match is gone.
    """
    if version is None:
        return NOT_WAITING
    if state in {"same", "different"}:
        return ANSWERED
    return None if version == shown else MOVED


def would_be_done(answer: Answer, there: str, here: list[str]) -> str:
    """The effect of an answer to one held match, in words. `here`: the candidates' names."""
    who = " or ".join(here) or "nobody"
    if answer == "same":
        return f"{who} here and {there} in Planning Center become one person, kept equal on both sides from then on."
    if answer == "different":
        return (
            f"{there} in Planning Center is somebody else than {who} here: both people stay, and each is added on the "
            f"side where they are missing."
        )
    return f"{there} in Planning Center and {who} here stay as they are until somebody answers."


def suffix_in(last_name: str) -> str | None:
    """The generational suffix of a last name, as written; None without one."""
    _, generation = without_suffix(fold(last_name))
    return last_name.rsplit(maxsplit=1)[-1].strip(",") if generation else None
