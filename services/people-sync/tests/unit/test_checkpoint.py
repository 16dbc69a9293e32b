"""The stored progress of a run."""

import json

from people_sync.usecases.run.checkpoint import Checkpoint, Compared, Pulled


def test_a_checkpoint_survives_json() -> None:
    before = Checkpoint(
        phase="pull",
        waits=2,
        cursor="2026-11-01T10:00:00Z",
        pulled=Pulled(position={"complete": False}, concerned=["1"], households=["7"], missing=("member", "12")),
        compared=Compared(people="44", parts=["newcomers"]),
    )
    assert Checkpoint.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_a_stored_checkpoint_does_not_change_with_the_run() -> None:
    checkpoint = Checkpoint()
    stored = checkpoint.to_json()
    checkpoint.compared.parts.append("newcomers")
    checkpoint.pulled.households.append("7")
    assert Checkpoint.from_json(stored) == Checkpoint()


def test_a_checkpoint_of_another_version_restarts_the_phase() -> None:
    old = {"phase": "compare", "cursor": "2026-11-01T10:00:00Z", "compared_people": "44", "parts": ["_gone"]}
    assert Checkpoint.from_json(old) == Checkpoint(phase="compare", cursor="2026-11-01T10:00:00Z")


def test_a_job_without_a_checkpoint() -> None:
    assert Checkpoint.from_json(None) == Checkpoint()
