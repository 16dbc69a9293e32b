"""Both sides of a person, here and in Planning Center, for the stories of one church."""

from typing import Any

from local_stack.church import Church


def person_there(church: Church, pco: str, pco_id: str) -> dict[str, Any] | None:
    """A person's attributes in Planning Center."""
    rows = church.control.dump(pco)
    return next((row["attributes"] for row in rows if row["type"] == "Person" and row["id"] == pco_id), None)


def there(church: Church, pco: str, member: dict[str, Any]) -> dict[str, Any]:
    """The attributes in Planning Center of a linked member."""
    person = person_there(church, pco, member["link"]["pco_id"])
    assert person is not None
    return person


def last_names(church: Church, pco: str, member: dict[str, Any]) -> tuple[str, str]:
    """The value here and in Planning Center."""
    here = church.get(f"/people/members/{member['id']}")["last_name"]
    return here, there(church, pco, member)["last_name"]


def disagree(church: Church, pco: str, member: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Edit both sides, and sync until the conflict is open."""
    church.change_member(member, **ours)
    church.edit_there(pco, member["link"]["pco_id"], **theirs)

    def opened() -> bool:
        church.sync("incremental")
        return bool(church.get("/conflicts", record_id=member["id"])["items"])

    church.eventually(opened, "the conflict is open")


def writes_nothing(church: Church, pco: str) -> None:
    """Check that a sync writes nothing in Planning Center."""
    mark = church.control.summary()["last_seq"]
    church.sync()
    assert church.writes_since(mark, pco) == []


def nothing_more(church: Church, pco: str) -> None:
    """Check that both sides agree, and that a sync writes nothing."""
    writes_nothing(church, pco)
    assert church.differences(pco) == []


def edited_there(church: Church, pco: str, member: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Edit a person there, and sync until the edit is here; gives that run."""
    church.edit_there(pco, member["link"]["pco_id"], **values)
    brought: list[dict[str, Any]] = []

    def known() -> bool:
        brought.append(church.sync("incremental"))
        return values.items() <= dict(church.get(f"/people/members/{member['id']}")).items()

    church.eventually(known, "the edit is here")
    return brought[-1]


def merged(church: Church, pco: str, kept: dict[str, Any], gone: dict[str, Any]) -> None:
    """Merge two people in Planning Center, and sync until the question exists."""
    church.control.merge_people(pco, kept["link"]["pco_id"], gone["link"]["pco_id"])

    def asked() -> bool:
        church.sync("incremental")
        return bool(church.get("/people/merged", member_id=gone["id"])["items"])

    church.eventually(asked, "the two are asked about")
