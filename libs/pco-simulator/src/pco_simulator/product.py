"""A product of JSON:API resources, served from a `World`: what People and Calendar answer alike."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from pco_simulator.documents import collection, single
from pco_simulator.exchange import ApiRequest, ApiResponse
from pco_simulator.jsonapi import (
    Condition,
    Query,
    Refused,
    condition_of,
    forbidden,
    html_not_found,
    not_found,
    resolve_version,
    select,
    unauthorized,
)
from pco_simulator.kind import Context, Include, Includes, Kind
from pco_simulator.rows import Order, Row, View, parse_id
from pco_simulator.world import Change, Login, Span, World

READS = ("GET", "HEAD")
_METHODS = (*READS, "POST", "PATCH", "DELETE")
_REMEMBERED_SELECTIONS = 64


@dataclass(frozen=True, slots=True)
class Parent:
    """The record that a nested collection belongs to."""

    type: str
    id: str


class Call(ABC):
    """One request while it is being answered."""

    versions: ClassVar[Sequence[str]]
    root_path: ClassVar[str]
    includes: ClassVar[Includes]
    included_when_filled: ClassVar[str]
    """From this version on an empty `included` is absent."""
    slow_to_appear: ClassVar[frozenset[str]]
    """Types whose new rows single reads do not find for a while, where the setting says so."""

    def __init__(self, world: World, request: ApiRequest, version: str) -> None:
        self.world = world
        self.request = request
        self.version = version
        self.organization_id = request.caller.organization_id
        self.query = Query.parse(request.query)
        self._nursery: View | None = None
        """Rows that single reads find; of types that are slow to appear a row outside this view is too new."""

    @classmethod
    def serve(cls, world: World, request: ApiRequest, default_version: str) -> ApiResponse:
        """Answer one call. The caller's token and scope were checked before; the permission of the person is checked
        here."""
        try:
            version = resolve_version(request.version, default_version, cls.versions)
        except Refused as refused:
            return refused.response()
        try:
            response = cls(world, request, version).answer()
        except Refused as refused:
            response = refused.response()
        response.headers["X-PCO-API-Processed-As-Version"] = version
        return response

    def answer(self) -> ApiResponse:
        """The answer; `Refused` for a refusal with an error document."""
        request = self.request
        if request.method not in _METHODS:
            return html_not_found()
        login = self.world.login(self.organization_id, request.caller.person_id)
        if login is None:
            raise unauthorized()
        reads = request.method in READS
        if not self.permits(login, writing=not reads):
            raise forbidden()
        segments = [part for part in request.path.removeprefix(self.root_path).split("/") if part]
        return self.read(segments, login) if reads else self.write(segments, login)

    @abstractmethod
    def permits(self, login: Login, *, writing: bool) -> bool:
        """Whether this person may read, or write."""

    @abstractmethod
    def read(self, segments: list[str], login: Login) -> ApiResponse:
        """The answer to a GET of the path below the root."""

    @abstractmethod
    def write(self, segments: list[str], login: Login) -> ApiResponse:
        """The answer to a POST, PATCH or DELETE."""

    # -- what a product has of its own -----------------------------------------------------------------------

    def text_of(self, name: str, text: str) -> str:  # noqa: ARG002 - for products with values that changed by version
        """The value of a filter as the rows keep it."""
        return text

    def filtered(self, kind: Kind) -> list[Condition]:  # noqa: ARG002
        """Conditions of `filter`, and those that the collection always has."""
        return []

    def further_lag(self, kind: Kind) -> int:  # noqa: ARG002
        """Milliseconds that a list of this kind lags on top of the lag of lists."""
        return 0

    def hour(self) -> int:
        """See `Context.hour`."""
        return 0

    # -- reading ---------------------------------------------------------------------------------------------

    def context(self, lag_ms: int = 0) -> Context:
        """The context that renders rows as they were `lag_ms` ago."""
        lag = self.world.lag
        further = lag.draw(lag.includes_ms)
        return Context(
            view=self.world.view(self.organization_id, lag_ms),
            behind=self.world.view(self.organization_id, lag_ms + further) if further else None,
            relationships_behind=lag.relationships_too,
            version=self.version,
            root=self.request.base_url + self.root_path,
            fields=self.query.fields,
            organization_id=int(self.organization_id),
            includes=self.includes,
            always_included=self.version < self.included_when_filled,
            hour=self.hour(),
        )

    def context_of_single(self, *further: Span) -> Context:
        """The context that renders a single record; `further`: lags on top of that of single reads."""
        lag = self.world.lag
        behind = sum(map(lag.draw, (lag.singles_ms, *further)))
        context = self.context(behind)
        created = lag.draw(lag.created_ms)
        if created:
            self._nursery = self.world.view(self.organization_id, behind + created)
        return context

    def row(self, context: Context, type_: str, id_: str) -> Row:
        """The row that a path names, or 404."""
        row = context.view.get(type_, parse_id(id_))
        if row is None or (
            type_ in self.slow_to_appear and self._nursery is not None and self._nursery.get(type_, row.id) is None
        ):
            raise not_found()
        return row

    def single(
        self,
        context: Context,
        kind: Kind,
        row: Row,
        parent: Parent | None = None,
        self_url: str | None = None,
        status: int = 200,
    ) -> ApiResponse:
        """One record."""
        above = (parent.type, parent.id) if parent else ("Organization", self.organization_id)
        return ApiResponse(status, single(kind, context, self.query, row, parent=above, self_url=self_url))

    def page(
        self,
        kind: Kind,
        parent: Parent | None = None,
        related: Callable[[Context], Sequence[Row]] | None = None,
        can_filter: tuple[str, ...] | None = None,
    ) -> ApiResponse:
        """A page of all rows of a kind, or of those related to one record."""
        query, lag = self.query, self.world.lag
        filtered = bool(query.where or query.filters)
        behind = lag.draw(lag.filters_ms if filtered else lag.lists_ms) + self.further_lag(kind)
        context = self.context(behind)
        conditions = self._conditions(context, kind)
        can_order = kind.can_order(self.version)
        order = tuple((name, descending) for name, descending in query.order if name in can_order)
        if related is not None:
            ids = select(context.view, kind.source, conditions, order, related(context))
        else:
            ids = self._selected(context, kind, conditions, order)
        chosen = ids[query.offset : query.offset + query.per_page]
        rows = [row for id_ in chosen if (row := context.view.get(kind.source.type, id_)) is not None]
        body = collection(
            kind,
            context,
            query,
            rows,
            url=self.request.base_url + self.request.path.rstrip("/"),
            total=len(ids),
            parent=(parent.type, parent.id) if parent else ("Organization", self.organization_id),
            can_filter=kind.can_filter if can_filter is None else can_filter,
        )
        return ApiResponse(200, body)

    def below(
        self,
        context: Context,
        above: Kind,
        row: Row,
        edge: Include,
        rest: list[str],
        can_filter: tuple[str, ...] | None = None,
    ) -> ApiResponse:
        """The rows at an edge of one record: all of them, the one that `rest` names, or the only one; 404 without."""
        parent = Parent(above.type, above.shown_id(row))
        match rest:
            case [] if edge.many:
                return self.page(edge.kind, parent, lambda context: edge.related(context, row), can_filter)
            case [] if found := edge.related(context, row):
                return self.single(context, edge.kind, found[0], parent)
            case [id_] if edge.many:
                return self.single(context, edge.kind, among(edge.kind, edge.related(context, row), id_), parent)
        raise not_found()

    def _conditions(self, context: Context, kind: Kind) -> tuple[Condition, ...]:
        can_query = kind.can_query(self.version)
        zone = self.world.church(self.organization_id).organization.zone
        found: list[Condition] = []
        for name, op, text in self.query.where:
            if name not in can_query and name not in kind.source.unlisted:
                continue
            if name in kind.source.searches:
                if op is None:
                    found.append(Condition(name, "search", text))
                continue
            found.extend(condition_of(name, op, self.text_of(name, text), kind.source.kinds[name], zone))
        found.extend(self.filtered(kind))
        if kind.source.implied is not None:
            found.extend(kind.source.implied(context.view, found))
        return tuple(found)

    def _selected(self, context: Context, kind: Kind, conditions: tuple[Condition, ...], order: Order) -> Sequence[int]:
        church = self.world.church(self.organization_id)
        indexed = not conditions and not any(name in kind.source.derived for name, _ in order)
        if indexed or not context.view.current:
            return select(context.view, kind.source, conditions, order, None)
        key = (kind.type, conditions, order)
        kept = church.selections.get(key)
        if kept is not None and kept[0] == church.version:
            return kept[1]
        ids = select(context.view, kind.source, conditions, order, None)
        if len(church.selections) >= _REMEMBERED_SELECTIONS:
            del church.selections[next(iter(church.selections))]
        church.selections[key] = (church.version, ids)
        return ids

    # -- writing ---------------------------------------------------------------------------------------------

    def change(self) -> AbstractContextManager[Change]:
        """The writes of this request."""
        return self.world.change(self.organization_id, f"api:{self.request.caller.client_id}")


def among(kind: Kind, rows: Sequence[Row], id_: str) -> Row:
    """The row of this id, or 404."""
    for row in rows:
        if kind.shown_id(row) == id_:
            return row
    raise not_found()
