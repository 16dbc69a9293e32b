"""The types of problem documents, by which programs tell problems apart, with the text of their pages."""

from dataclasses import dataclass
from typing import Final

from contracts.values import AUTH_SERVICE, CALENDAR_SYNC, CONFLICT_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One type, at `/problems/<slug>`."""

    slug: str
    status: int
    title: str
    meaning: str
    """The cause of the problem, and the data that stays unchanged."""
    remedy: str
    """Advice for the caller."""
    owners: tuple[str, ...] = ()
    """Services that answer with this type; empty for all."""

    @property
    def path(self) -> str:
        """The `type` of the document."""
        return f"/problems/{self.slug}"


_CONNECTIONS = (AUTH_SERVICE,)
_PEOPLE = (PEOPLE_SYNC,)
_CALENDAR = (CALENDAR_SYNC,)
_DIRECTORIES = (PEOPLE_SYNC, CALENDAR_SYNC)
_MANY = (PEOPLE_SYNC, CONFLICT_SERVICE, WEBHOOK_GATEWAY)
_INTAKE = ("webhook-intake",)
"""The address that Planning Center calls, which is no part of the API."""
_START_AGAIN = "Connect again from the beginning."

PROBLEM_TYPES: Final[dict[str, ProblemType]] = {
    problem.slug: problem
    for problem in (
        ProblemType("malformed-request", 400, "Unreadable", "The body is not readable JSON.", "Send JSON in UTF-8."),
        ProblemType(
            "unauthorized",
            401,
            "Not signed in",
            "The bearer token is missing, or this API does not accept it.",
            "Sign in again and send the new token.",
        ),
        ProblemType(
            "session-ended",
            401,
            "Session ended",
            "The token has expired.",
            "Get a new token from the identity provider, then repeat the call.",
            (WEBHOOK_GATEWAY,),
        ),
        ProblemType(
            "forbidden",
            403,
            "Not allowed",
            "The signed-in person has no role that allows this.",
            "Ask an administrator of the church to do it, or to give the person the role.",
        ),
        ProblemType(
            "not-found",
            404,
            "Not there",
            "The caller's organization has nothing with this ID. What belongs to another organization is answered in "
            "the same way.",
            "Read the list again. If the problem has `joined_into`, the member was joined to the member with that ID.",
        ),
        ProblemType(
            "method-not-allowed",
            405,
            "No such method",
            "This address does not support the method.",
            "Use one of the methods that the `Allow` header names.",
        ),
        ProblemType(
            "in-progress",
            409,
            "Being worked on",
            "A request with this `Idempotency-Key` is still being carried out. It is not carried out a second time.",
            "After `Retry-After`, send the same request with the same key: the answer is that of the first request.",
        ),
        ProblemType(
            "answer-gone",
            409,
            "Done, and the answer is gone",
            "A request with this `Idempotency-Key` was carried out. Its answer was deleted when a person was erased.",
            "Read what it changed. It is not carried out a second time.",
        ),
        ProblemType(
            "conflict",
            409,
            "Not possible now",
            "Another request did the same at the same time.",
            "Read the resource again, and repeat what is still needed.",
        ),
        ProblemType(
            "too-large",
            413,
            "Too large",
            "The body is larger than `limit`.",
            "Send less at a time; nothing was changed.",
        ),
        ProblemType(
            "unsupported-media-type",
            415,
            "Not JSON",
            "The `Content-Type` header does not say that the body is JSON.",
            "Send it with `Content-Type: application/json`.",
        ),
        ProblemType(
            "key-reused",
            422,
            "Key of another request",
            "The `Idempotency-Key` belongs to another request of the last 24 hours. Nothing was done.",
            "Send this request with a key of its own.",
        ),
        ProblemType(
            "invalid",
            422,
            "Not acceptable",
            "The request is readable, but some of its values are not acceptable; `errors` names the fields. Nothing "
            "was changed.",
            "Correct the fields and send it again.",
        ),
        ProblemType(
            "internal-error",
            500,
            "Unexpected error",
            "Something went wrong here.",
            "Try again. If the error stays, send the `correlation_id` to the people who run this service.",
        ),
        ProblemType(
            "too-slow",
            408,
            "Too slow",
            "The body of the call did not arrive in time. Nothing was changed.",
            "Send it again, in smaller parts if the connection is slow.",
        ),
        ProblemType(
            "too-many-requests",
            429,
            "Too many requests",
            "This user, organization or network address has asked too often. Nothing was changed.",
            "Wait for as many seconds as `Retry-After` says, then try again.",
            (WEBHOOK_GATEWAY,),
        ),
        ProblemType(
            "read-too-slow",
            503,
            "Too much to read",
            "The database took longer to read this than a caller waits.",
            "Ask for less, or wait for as many seconds as `Retry-After` says and try again.",
        ),
        ProblemType(
            "unavailable",
            503,
            "Away for a moment",
            "A part of this system that the answer needs is not available; `detail` says which data stays unchanged.",
            "Wait for as many seconds as `Retry-After` says, then try again.",
        ),
        ProblemType(
            "owner-too-slow",
            504,
            "No answer in time",
            "A part of this system received the request and did not answer in time. The change may have been made.",
            "Read again before you repeat a change.",
            (WEBHOOK_GATEWAY,),
        ),
        # Deliveries
        ProblemType(
            "signature-mismatch",
            401,
            "Not signed by Planning Center",
            "The signature of the delivery is missing, or does not belong to its body and address. Nothing was stored.",
            "Send the body as it was signed, with the secret of a subscription to this address.",
            _INTAKE,
        ),
        ProblemType(
            "address-retired",
            410,
            "Connection ended",
            "The address belongs to a connection that has ended. Nothing was stored.",
            "Stop sending to it.",
            _INTAKE,
        ),
        # Connections
        ProblemType(
            "authorization-unknown",
            409,
            "Not our sign-in",
            "The person who sent this did not begin the sign-in that it belongs to. Nothing was stored.",
            _START_AGAIN,
            _CONNECTIONS,
        ),
        ProblemType(
            "authorization-used",
            409,
            "Used already",
            "This sign-in was finished before. Nothing was stored.",
            "Look at the product's card, and connect again if it is not connected.",
            _CONNECTIONS,
        ),
        ProblemType(
            "authorization-expired",
            409,
            "Took too long",
            "The sign-in was begun too long ago. Nothing was stored.",
            _START_AGAIN,
            _CONNECTIONS,
        ),
        ProblemType(
            "authorization-other-browser",
            409,
            "Another browser",
            "The sign-in was begun in another browser. Nothing was stored.",
            "Finish it in the browser in which it began, or connect again in this one.",
            _CONNECTIONS,
        ),
        ProblemType(
            "authorization-cancelled",
            409,
            "Cancelled",
            "The person cancelled at Planning Center. Nothing was stored.",
            "Connect again when access is wanted.",
            _CONNECTIONS,
        ),
        ProblemType(
            "authorization-refused",
            409,
            "Refused by Planning Center",
            "Planning Center did not grant access. Nothing was stored.",
            _START_AGAIN,
            _CONNECTIONS,
        ),
        ProblemType(
            "scope-missing",
            409,
            "Access not granted",
            "Planning Center did not grant access to the product. Nothing was stored.",
            "Connect again and allow the access that is asked for.",
            _CONNECTIONS,
        ),
        ProblemType(
            "role-missing",
            409,
            "Role missing",
            "The Planning Center user lacks the role that a sync needs. Nothing was stored.",
            "Connect as somebody who has the role that `detail` names.",
            _CONNECTIONS,
        ),
        ProblemType(
            "organization-mismatch",
            409,
            "Another church",
            "The sign-in was to a Planning Center organization other than the one of the other product or of the "
            "links kept here. Nothing was stored.",
            "Connect again and choose the organization that `detail` names.",
            _CONNECTIONS,
        ),
        ProblemType(
            "organization-taken",
            409,
            "Connected elsewhere",
            "This Planning Center organization is connected to another organization here. Nothing was stored.",
            "Disconnect it there first.",
            _CONNECTIONS,
        ),
        ProblemType(
            "connected",
            409,
            "Connected already",
            "The product is connected, so it can't be connected again, and its organization can't be forgotten.",
            "Disconnect it first.",
            _CONNECTIONS,
        ),
        ProblemType(
            "closing",
            409,
            "Being disconnected",
            "The product is being disconnected, which takes up to a minute.",
            "Try again after that.",
            _CONNECTIONS,
        ),
        ProblemType(
            "reconnect-required",
            409,
            "Reconnect first",
            "Planning Center no longer accepts the stored sign-in.",
            "Have an administrator reconnect the product.",
            _CONNECTIONS,
        ),
        ProblemType(
            "not-connected",
            409,
            "Not connected",
            "Planning Center is not connected, so nothing was started.",
            "Connect it under Integrations first.",
            (AUTH_SERVICE, PEOPLE_SYNC, CALENDAR_SYNC, WEBHOOK_GATEWAY),
        ),
        # The directory
        ProblemType(
            "version-conflict",
            409,
            "Changed meanwhile",
            "Somebody changed the record since it was read. Nothing was changed.",
            "Read the record again, and repeat the change on its present version.",
            _DIRECTORIES,
        ),
        ProblemType(
            "external-id-taken",
            409,
            "Id is taken",
            "A record with this `external_id` exists, or existed before it was deleted.",
            "Change that record, or send this one in a bulk call.",
            _DIRECTORIES,
        ),
        ProblemType(
            "cannot-undo",
            409,
            "Cannot be undone",
            "The field has been changed again since, or its former value can't be put back.",
            "Edit the record instead.",
            _DIRECTORIES,
        ),
        ProblemType(
            "lists-gone",
            404,
            "No longer kept",
            "The sync was long ago: its numbers are kept, but no longer its lists of records.",
            "Read the history of the record.",
            _DIRECTORIES,
        ),
        ProblemType(
            "not-gone",
            409,
            "Not gone in Planning Center",
            "Only a member who is gone in Planning Center can be created there again.",
            "Read the member again.",
            _PEOPLE,
        ),
        ProblemType(
            "merged",
            409,
            "Merged in Planning Center",
            "The member was merged with somebody else in Planning Center, and would be there twice.",
            "Answer the question in Held matches.",
            _PEOPLE,
        ),
        ProblemType(
            "kept-out",
            409,
            "Kept out of the sync",
            "The record is kept out of the sync, so nothing was done with it.",
            "Choose *Sync again* for it first.",
            _PEOPLE,
        ),
        # The calendar
        ProblemType(
            "single-event",
            409,
            "No series",
            "The event has one occurrence, which is the event itself.",
            "Change or delete the event.",
            _CALENDAR,
        ),
        ProblemType(
            "last-occurrence",
            409,
            "The last one",
            "All other occurrences of the series were taken out.",
            "Delete the event.",
            _CALENDAR,
        ),
        ProblemType(
            "already-linked",
            409,
            "Linked already",
            "This event, or what it is to be linked to, has a link already; `detail` names the other event, and "
            "`event_id` is its id. Nothing was changed.",
            "Unlink the other one first, or choose another.",
            _CALENDAR,
        ),
        ProblemType(
            "comparison-moved",
            409,
            "Changed since it was shown",
            "The event changed on one of the sides since the comparison was read. Nothing was linked.",
            "Read the comparison again, and confirm that.",
            _CALENDAR,
        ),
        ProblemType(
            "not-pushed",
            409,
            "Not pushed",
            "Nobody asked to have this event in Planning Center, or it is linked by now.",
            "Read the event again.",
        ),
        ProblemType(
            "being-created",
            409,
            "Being created",
            "The event is being created in Planning Center right now. Nothing was changed.",
            "Wait until its sync has ended.",
        ),
        ProblemType(
            "not-linked",
            409,
            "Not linked",
            "The event has no link with Planning Center.",
            "Link it first.",
            _CALENDAR,
        ),
        ProblemType(
            "dates-from-planning-center",
            409,
            "Dates come from Planning Center",
            "The dates of a linked series are those that Planning Center lists. Nothing was changed.",
            "Change them in Planning Center, or unlink the event first.",
            _CALENDAR,
        ),
        ProblemType(
            "role-missing",
            409,
            "Role is missing",
            "The person who connected Planning Center may not open Calendar there.",
            "Give that person a role in Calendar, or connect again as somebody who has one.",
            _CALENDAR,
        ),
        # Syncs
        ProblemType(
            "busy",
            409,
            "Being synced",
            "A sync is working on this record at the moment. Nothing was changed.",
            "Try again in a few seconds, or when the sync has ended.",
            _PEOPLE,
        ),
        ProblemType(
            "starting",
            409,
            "Just starting",
            "A sync is just being started.",
            "Read the status in a moment.",
            _DIRECTORIES,
        ),
        ProblemType(
            "sync-first",
            409,
            "Sync everybody first",
            "Until everybody was synced once, it is not known who is in Planning Center already.",
            "Start a sync of everybody.",
            _PEOPLE,
        ),
        ProblemType(
            "no-question",
            409,
            "No such question",
            "The sync does not wait for an answer to this question, or no longer does.",
            "Read the run again to see its state.",
            _PEOPLE,
        ),
        ProblemType(
            "unknown-answer",
            409,
            "No such answer",
            "The question does not have this answer.",
            "Choose one of the question's `answers`.",
            _PEOPLE,
        ),
        ProblemType(
            "plan-moved",
            409,
            "The plan has changed",
            "The plan has changed since it was shown. Nothing was started.",
            "Read the plan again, and answer with its `digest`.",
            _PEOPLE,
        ),
        ProblemType(
            "nothing-to-undo",
            409,
            "Nothing to undo",
            "There is no change that can be put back; `detail` says why.",
            "Edit the records instead.",
            _PEOPLE,
        ),
        # Questions
        ProblemType(
            "answered",
            409,
            "Answered already",
            "Somebody else answered before. This answer was not stored.",
            "Read the list again.",
            _PEOPLE,
        ),
        ProblemType(
            "member-gone",
            409,
            "Member deleted",
            "The member was deleted meanwhile. Nothing was answered.",
            "Read the list again, and choose another answer.",
            _PEOPLE,
        ),
        ProblemType(
            "already-linked",
            409,
            "Linked already",
            "The member has another counterpart in Planning Center. Nothing was answered.",
            "Read the list again.",
            _PEOPLE,
        ),
        ProblemType(
            "pair-over",
            409,
            "No longer a question",
            "The two are no longer merged in Planning Center, or are one member already.",
            "Read the list again.",
            _PEOPLE,
        ),
        ProblemType(
            "acted-on",
            409,
            "Acted on already",
            "A sync has acted on the answer, so it can't be taken back.",
            "Read the list again; undo what the sync changed.",
            _PEOPLE,
        ),
        ProblemType(
            "not-kept-out",
            409,
            "Nobody to let back",
            "Syncs do not leave this person out.",
            "Nothing has to be done.",
            _PEOPLE,
        ),
        ProblemType(
            "not-shown",
            409,
            "Not what was shown",
            "The `digest` does not belong to the list that was shown. Nothing was decided.",
            "Look at the list again, and answer with its `digest`.",
            _MANY,
        ),
        ProblemType(
            "nothing-shown", 409, "Nothing to answer", "No record fits the filters.", "Choose other filters.", _MANY
        ),
        ProblemType(
            "at-work",
            409,
            "Another one is still being carried out",
            "Another bulk answer, another undo, or another replay is still being carried out. Nothing was decided.",
            "Wait until it is done, then answer again.",
            _MANY,
        ),
        ProblemType(
            "too-many-chosen",
            409,
            "Too many at once",
            "More deliveries fit the filters than can be sent again at once. Nothing was sent.",
            "Choose a shorter time, or other filters.",
            (WEBHOOK_GATEWAY,),
        ),
        # Conflicts
        ProblemType(
            "values-moved",
            409,
            "The values have changed",
            "A value has changed since the conflict was read. Nothing was decided.",
            "Read the conflict again and decide on its present values.",
            (CONFLICT_SERVICE,),
        ),
        ProblemType(
            "settled",
            409,
            "Decided already",
            "Somebody else or a rule decided before, or the conflict has ended. `conflict` holds its present state.",
            "Nothing has to be done.",
            (CONFLICT_SERVICE,),
        ),
        ProblemType(
            "rule-moved",
            409,
            "The conflicts have changed",
            "The open conflicts have changed since they were shown. The rule was not turned on.",
            "Look at what the rule does now, and turn it on with that `digest`.",
            (CONFLICT_SERVICE,),
        ),
        ProblemType(
            "too-many-rules",
            409,
            "Too many rules",
            "There are as many rules as there can be.",
            "Delete one that you no longer need.",
            (CONFLICT_SERVICE,),
        ),
    )
}
