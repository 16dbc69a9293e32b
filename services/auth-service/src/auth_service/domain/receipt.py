"""The receipt of a disconnect: one line per step, each a sentence for a church's administrator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from contracts.http.auth import Product

Step = Literal["subscriptions", "refresh_token", "access_token", "schedules", "records"]
Outcome = Literal["done", "not_needed", "pending", "failed", "shared"]
STEPS: Final[tuple[Step, ...]] = get_args(Step)
"""Steps in the order of the receipt."""

NAMES: Final[Mapping[str, str]] = {"people": "Planning Center People", "calendar": "Planning Center Calendar"}
LEFTOVERS: Final = "https://accounts.planningcenteronline.com/organization/integrations/connections"
"""Planning Center's page of a church's connected applications. Ours stays listed after its access has ended, until
it is removed there (planningcenter/developers#1419)."""


@dataclass(frozen=True, slots=True)
class Line:
    """One step's outcome, with a sentence."""

    outcome: Outcome
    sentence: str


Lines = dict[Step, Line]


def begun() -> Lines:
    """The receipt at the start of a disconnect."""
    return {
        "subscriptions": Line("pending", "Asking Planning Center to stop telling us about changes."),
        "refresh_token": Line("pending", "Our lasting access will be ended."),
        "access_token": Line("pending", "Our present access will be ended."),
        "schedules": Line("pending", "No new sync starts; scheduled ones will be stopped."),
        "records": Line("pending", "Nothing is deleted."),
    }


def subscriptions_removed(removed: int, left_behind: Sequence[str]) -> Line:
    """The subscriptions' line, from webhook-gateway's report."""
    if left_behind:
        count = len(left_behind)
        notices = f"{count} change notice{'s' if count > 1 else ''}"
        return Line(
            "failed",
            f"{notices} could not be removed at Planning Center: {', '.join(left_behind)}. What they send is refused "
            "here, and Planning Center then switches them off by itself.",
        )
    if removed == 0:
        return Line("not_needed", "Planning Center had no change notices of ours to remove.")
    return Line("done", f"{removed} change notice{'s' if removed > 1 else ''} removed at Planning Center.")


def subscriptions_given_up() -> Line:
    """The subscriptions' line without a report in time."""
    return Line(
        "failed",
        "Removing our change notices at Planning Center took longer than a minute and was given up. What they send "
        "is refused here, and Planning Center then switches them off by itself.",
    )


def shared_with(other: Product) -> Mapping[Step, Line]:
    """Both token lines when the other product keeps using the same authorization."""
    return {
        "refresh_token": Line(
            "shared",
            f"Both products use one authorization. Its use for this product has stopped; it ends with {NAMES[other]}.",
        ),
        "access_token": Line("shared", f"The present access goes on for {NAMES[other]} alone."),
    }


def already_ended(*, interrupted: bool) -> Mapping[Step, Line]:
    """Both token lines when Planning Center had already ended the grant.

    interrupted: the answer to a renewal was lost, so Planning Center may have issued tokens that we never got.
    """
    if interrupted:
        line = (
            "Planning Center no longer accepts {}. Renewing it was interrupted once, so Planning Center may still "
            "count an access that nobody holds. To be sure, remove our application at " + LEFTOVERS
        )
        return {
            "refresh_token": Line("failed", line.format("our lasting access")),
            "access_token": Line("failed", line.format("our present access")),
        }
    return {
        "refresh_token": Line("not_needed", "Planning Center had already ended our lasting access."),
        "access_token": Line("not_needed", "Planning Center had already ended our present access."),
    }


def revoked(*, refresh_token_active: bool, access_token_active: bool) -> Mapping[Step, Line]:
    """Both token lines, from Planning Center's introspection after the revocation."""
    lasting = _revoked("Our lasting access", active=refresh_token_active)
    if lasting.outcome == "done":
        listed = f" Its list of connected applications may still name us, without any access: {LEFTOVERS}"
        lasting = Line("done", lasting.sentence + listed)
    return {"refresh_token": lasting, "access_token": _revoked("Our present access", active=access_token_active)}


def _revoked(what: str, *, active: bool) -> Line:
    if active:
        return Line(
            "failed",
            f"{what} was given back, but Planning Center still calls it valid. We no longer hold it. To be sure, "
            f"remove our application at {LEFTOVERS}",
        )
    return Line("done", f"{what} was ended, and Planning Center confirms it.")


def revocation_failed(*, readable: bool) -> Mapping[Step, Line]:
    """Both token lines when Planning Center could not be reached, or our tokens' encryption key is gone."""
    why = "Planning Center could not be reached to end {}" if readable else "What we stored of {} could not be read"
    line = f"{why}. We no longer hold it. To be sure, remove our application at {LEFTOVERS}"
    return {
        "refresh_token": Line("failed", line.format("our lasting access")),
        "access_token": Line("failed", line.format("our present access")),
    }


def stopped(product: Product) -> Mapping[Step, Line]:
    """The lines of schedules and records."""
    if product == "people":
        records = "Your members, families and links stay. Reconnecting the same church finds every link again."
    else:
        records = "Your events and links stay. Reconnecting the same church finds every link again."
    return {
        "schedules": Line("done", "No sync starts any more, neither by schedule nor by hand."),
        "records": Line("done", records),
    }
