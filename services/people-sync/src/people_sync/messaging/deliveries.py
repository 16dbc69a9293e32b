"""Facts of webhooks.delivery.v1: notices that a record in Planning Center may have changed."""

from contracts.values import PEOPLE, PEOPLE_SYNC
from people_sync.usecases import hints
from people_sync.usecases.refreshes import HINTS
from synckit.deliveries import subscribe_deliveries

deliveries = subscribe_deliveries(
    PEOPLE_SYNC,
    PEOPLE,
    HINTS,
    hints.take,
    after_loss="none: the delivery log shows them as not applied; replay them there, or sync the organization",
)
