"""The API conforms to its document: Schemathesis calls it as an admin, as staff and as another organization.

No 5xx, no undocumented answer, no acceptance of forbidden calls and no refusal of allowed ones, except those explained
in `document_exceptions.py`. `DOCUMENT_EXAMPLES` is the number of calls of each operation (4).
"""

import os
import re
from typing import Any, Final
from uuid import uuid4

import pytest
import schemathesis
from document_exceptions import EXPLAINED, TAKEN
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from contracts.routes import IDEMPOTENCY_KEY, ROUTES
from local_stack.church import Church
from local_stack.stack import Stack

pytestmark = pytest.mark.e2e

EXAMPLES: Final = int(os.environ.get("DOCUMENT_EXAMPLES", "4"))
PEOPLE: Final = ("ada", "sam", "olga")
"""An administrator, a staff member, and another church's administrator."""
SHAPES: Final = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
# A stream has no end, and a disconnect would end the other calls' data.
LEFT_OUT: Final = ("/api/v1/live", "/api/v1/connections/{product}/disconnect")
OPERATIONS: Final = sorted(
    {(route.method, route.path) for route in ROUTES if route.path not in LEFT_OUT} | {("GET", "/api/v1/me")}
)


@pytest.fixture(scope="module")
def stack(door: Stack) -> Stack:
    """One process of every service. `test_callers.py` may have left its church there, with something of everything."""
    return door


@pytest.fixture(scope="module")
def ids(stack: Stack) -> dict[str, str]:
    """Path parameters of existing records in Ada's church."""
    with Church.of(stack, "ada") as ada:
        if not ada.get("/people/status")["connected"]:
            ada.connect()
            ada.sync(answers={"first_match": "planning_center"})
        member = ada.members(state="linked")[0]
        return {
            "product": "people",
            "member_id": member["id"],
            "family_id": ada.families()[0]["id"],
            "run_id": next(ada.all("/people/runs"))["id"],
            "field": "last_name",
        }


@pytest.fixture(scope="module")
def document(stack: Stack) -> Any:
    """The document served by the gateway."""
    return schemathesis.openapi.from_url(f"{stack.url()}/api/v1/openapi.json")


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part.removeprefix("/api/v1"))
def test_the_api_conforms_to_its_document(
    stack: Stack, ids: dict[str, str], document: Any, method: str, path: str
) -> None:
    operation = document[path][method]
    allowed = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    forbidden = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    known = {name: ids[name] for name in re.findall(r"{(\w+)}", path) if name in ids}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        person, negative = data.draw(st.sampled_from(PEOPLE)), data.draw(st.booleans())
        case = data.draw(forbidden if negative else allowed)
        if not negative and data.draw(st.booleans()):
            case.path_parameters.update(known)
        headers = {"Authorization": f"Bearer {stack.token(person)}"}
        if not negative and IDEMPOTENCY_KEY in case.headers:
            case.headers[IDEMPOTENCY_KEY] = str(uuid4())
        response = case.call(base_url=stack.url(), headers=headers, timeout=60)
        checks = list(SHAPES)
        # Replaces Schemathesis's invalid token by ours.
        if negative and "Authorization" not in case.headers and f"{method} {path}" not in TAKEN:
            checks.append(negative_data_rejection)
        # A documented call may still name an unknown record, lack the role, or be impossible now.
        if not negative and response.status_code not in {403, 404, 409} and not is_explained(response):
            checks.append(positive_data_acceptance)
        case.validate_response(response, checks=checks)

    ask()


def is_explained(response: Any) -> bool:
    """Whether all errors of a refusal are rules that the document cannot express."""
    if response.status_code != 422:
        return False
    problem = response.json()
    said = [one["message"] for one in problem.get("errors", [])] or [problem["detail"]]
    return all(any(re.search(known, one) for known in EXPLAINED) for one in said)
