"""Stories in which changes in Planning Center wait for a sync."""

from contextlib import closing

from local_stack.stack import SIMULATOR, Stack
from pco_simulator.testing import Control


def silence(stack: Stack, **which: str) -> None:
    """Let Planning Center's webhooks be lost without a trace. which: narrows them, as a fault script's `match`."""
    with closing(Control(stack.url(SIMULATOR))) as control:
        control.add_webhook_fault({"kind": "drop", "listed": False}, **which)
