"""The platform API as data: who owns each intent and read, who may call it, and its shapes.

webhook-gateway builds its public routes and OpenAPI from this table and forwards each call, path unchanged, to the
owner; a wiring test of each service compares its own routes with it. The owner enforces the role.
"""

from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel

from contracts.http import auth, calendar, conflicts, people, plans
from contracts.http.common import Page, PageQuery
from contracts.identity import Role
from contracts.values import AUTH_SERVICE, CALENDAR_SYNC, CONFLICT_SERVICE, PEOPLE_SYNC

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """One call of the platform API."""

    method: Method
    path: str
    owner: str
    role: Role
    """The least role: `staff` may be called by administrators too."""
    summary: str
    response: type[BaseModel] | None
    request: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    max_body: int = MIB
    """Bytes; more is answered 413."""


def _route(
    owner: str,
    role: Role,
    method: Method,
    path: str,
    summary: str,
    response: type[BaseModel] | None,
    *,
    request: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    status: int = 200,
    max_body: int = MIB,
) -> Route:
    return Route(method, f"/api/v1{path}", owner, role, summary, response, request, query, status, max_body)


ROUTES: Final[tuple[Route, ...]] = (
    _route(AUTH_SERVICE, "staff", "GET", "/connections", "Both connection cards", auth.Connections),
    _route(
        AUTH_SERVICE,
        "admin",
        "POST",
        "/connections/{product}/authorize",
        "Begin to connect a product",
        auth.AuthorizationStarted,
        status=201,
    ),
    _route(
        AUTH_SERVICE,
        "admin",
        "POST",
        "/connections/complete",
        "Finish connecting with what Planning Center sent back",
        auth.AuthorizationCompleted,
        request=auth.CompleteAuthorization,
    ),
    _route(
        AUTH_SERVICE,
        "admin",
        "POST",
        "/connections/{product}/disconnect",
        "Disconnect a product",
        auth.DisconnectReceipt,
        status=202,
    ),
    _route(
        AUTH_SERVICE,
        "staff",
        "GET",
        "/connections/{product}/receipt",
        "The receipt of the last disconnect",
        auth.DisconnectReceipt,
    ),
    _route(
        AUTH_SERVICE,
        "admin",
        "POST",
        "/connections/forget-organization",
        "Allow another Planning Center organization after a disconnect",
        auth.Connections,
        request=auth.ForgetOrganization,
    ),
    _route(PEOPLE_SYNC, "staff", "GET", "/people/status", "Counts and runs for the card", people.PeopleStatus),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/members/{member_id}/sync",
        "Sync this person now",
        people.RecordSync,
        status=202,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/families/{family_id}/sync",
        "Sync this family now",
        people.RecordSync,
        status=202,
    ),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/syncs/{sync_id}",
        "What became of a record that was synced by itself",
        people.RecordSync,
    ),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/members",
        "List members",
        Page[people.Member],
        query=people.MemberQuery,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/members",
        "Add a member",
        people.Member,
        request=people.MemberInput,
        status=201,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "PUT",
        "/people/bulk",
        "Add or change many members and families by the platform's own ids",
        people.BulkResult,
        request=people.BulkUpsert,
        max_body=8 * MIB,
    ),
    _route(PEOPLE_SYNC, "staff", "GET", "/people/members/{member_id}", "One member", people.Member),
    _route(
        PEOPLE_SYNC,
        "admin",
        "PATCH",
        "/people/members/{member_id}",
        "Change a member",
        people.Member,
        request=people.MemberPatch,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "DELETE",
        "/people/members/{member_id}",
        "Delete a member here",
        None,
        status=204,
    ),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/members/{member_id}/history",
        "Every change of a member",
        Page[people.HistoryEntry],
        query=PageQuery,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/members/{member_id}/history/{entry_id}/undo",
        "Put the former value back",
        people.Member,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/members/{member_id}/create-again",
        "Let the next run create a member again who is gone in Planning Center",
        people.Member,
    ),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/families",
        "List families",
        Page[people.Family],
        query=people.FamilyQuery,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/families",
        "Add a family",
        people.Family,
        request=people.FamilyInput,
        status=201,
    ),
    _route(PEOPLE_SYNC, "staff", "GET", "/people/families/{family_id}", "One family", people.Family),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/families/{family_id}/history",
        "Every change of a family",
        Page[people.HistoryEntry],
        query=PageQuery,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "PATCH",
        "/people/families/{family_id}",
        "Change a family",
        people.Family,
        request=people.FamilyPatch,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "DELETE",
        "/people/families/{family_id}",
        "Delete a family here",
        None,
        status=204,
    ),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/members/{member_id}/differences",
        "What is kept different about a member",
        people.Differences,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "DELETE",
        "/people/members/{member_id}/differences/{field}",
        "Keep a field different no longer: it becomes a conflict",
        people.Differences,
    ),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/families/{family_id}/differences",
        "What is kept different about a family",
        people.Differences,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "DELETE",
        "/people/families/{family_id}/differences/{field}",
        "Keep a field different no longer: it becomes a conflict",
        people.Differences,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/runs",
        "Sync Now; joins the run in progress",
        people.Run,
        request=people.StartRun,
        status=202,
    ),
    _route(PEOPLE_SYNC, "staff", "GET", "/people/runs", "Run history", Page[people.Run], query=people.RunQuery),
    _route(PEOPLE_SYNC, "staff", "GET", "/people/runs/{run_id}", "One run", people.Run),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/runs/{run_id}/items",
        "The list behind a number of a run",
        Page[people.RunItem],
        query=people.RunItemQuery,
    ),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/runs/{run_id}/rejections",
        "What Planning Center refused, grouped by cause",
        Page[people.RejectionGroup],
    ),
    _route(PEOPLE_SYNC, "admin", "POST", "/people/runs/{run_id}/stop", "Stop safely", people.Run, status=202),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/runs/{run_id}/answer",
        "Answer a waiting run's question",
        people.Run,
        request=people.AnswerRun,
        status=202,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/undo",
        "Show what an undo would put back; nothing is written until it is approved",
        people.Run,
        request=plans.UndoInput,
        status=202,
    ),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/held-matches",
        "Doubtful matches",
        Page[people.HeldMatch],
        query=people.HeldQuery,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/held-matches/{held_id}/answer",
        "Answer a doubtful match",
        people.HeldMatch,
        request=people.AnswerHeld,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/held-matches/bulk",
        "Show what one answer to many doubtful matches would do",
        people.HeldBulkPreview,
        request=people.HeldBulkInput,
        status=201,
    ),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/held-matches/bulk/{bulk_id}",
        "How far an answer to many doubtful matches is carried out",
        people.HeldBulk,
    ),
    _route(
        PEOPLE_SYNC,
        "admin",
        "POST",
        "/people/held-matches/bulk/{bulk_id}/answer",
        "Answer the doubtful matches that were shown",
        people.HeldBulk,
        request=people.AnswerHeldBulk,
        status=202,
    ),
    _route(
        PEOPLE_SYNC,
        "staff",
        "GET",
        "/people/held-matches/bulk/{bulk_id}/skipped",
        "Doubtful matches that moved since they were shown, and were left as they are",
        Page[people.HeldSkipped],
        query=PageQuery,
    ),
    _route(PEOPLE_SYNC, "staff", "GET", "/people/settings", "Settings of the sync", people.PeopleSettings),
    _route(
        PEOPLE_SYNC,
        "admin",
        "PATCH",
        "/people/settings",
        "Change settings of the sync",
        people.PeopleSettings,
        request=people.PeopleSettingsPatch,
    ),
    _route(
        CONFLICT_SERVICE,
        "staff",
        "GET",
        "/conflicts",
        "List conflicts",
        Page[conflicts.Conflict],
        query=conflicts.ConflictQuery,
    ),
    _route(CONFLICT_SERVICE, "staff", "GET", "/conflicts/count", "How many are open", conflicts.ConflictCount),
    _route(CONFLICT_SERVICE, "staff", "GET", "/conflicts/{conflict_id}", "One conflict", conflicts.Conflict),
    _route(
        CONFLICT_SERVICE,
        "admin",
        "POST",
        "/conflicts/{conflict_id}/decision",
        "Decide a conflict",
        conflicts.Conflict,
        request=conflicts.Decide,
        status=202,
    ),
    _route(
        CONFLICT_SERVICE,
        "admin",
        "POST",
        "/conflicts/bulk",
        "Show what one answer to many conflicts would do",
        conflicts.BulkPreview,
        request=conflicts.BulkInput,
        status=201,
    ),
    _route(
        CONFLICT_SERVICE,
        "staff",
        "GET",
        "/conflicts/bulk/{bulk_id}",
        "How far an answer to many conflicts is carried out",
        conflicts.Bulk,
    ),
    _route(
        CONFLICT_SERVICE,
        "admin",
        "POST",
        "/conflicts/bulk/{bulk_id}/answer",
        "Decide the conflicts that were shown",
        conflicts.Bulk,
        request=conflicts.AnswerBulk,
        status=202,
    ),
    _route(
        CONFLICT_SERVICE,
        "staff",
        "GET",
        "/conflicts/bulk/{bulk_id}/skipped",
        "Conflicts that moved since they were shown, and were left as they are",
        Page[conflicts.BulkSkipped],
        query=PageQuery,
    ),
    _route(
        CALENDAR_SYNC,
        "staff",
        "GET",
        "/calendar/settings",
        "Settings of the Calendar",
        calendar.CalendarSettings,
    ),
    _route(
        CALENDAR_SYNC,
        "admin",
        "PATCH",
        "/calendar/settings",
        "Change settings of the Calendar",
        calendar.CalendarSettings,
        request=calendar.CalendarSettingsPatch,
    ),
)


def routes_of(owner: str) -> tuple[Route, ...]:
    """The calls that one service answers."""
    return tuple(route for route in ROUTES if route.owner == owner)
