"""Facts of webhooks.delivery.v1: notices that an event in Planning Center may have changed."""

from calendar_sync.usecases import hints
from calendar_sync.usecases.refreshes import HINTS
from contracts.values import CALENDAR, CALENDAR_SYNC
from synckit.deliveries import subscribe_deliveries

deliveries = subscribe_deliveries(
    CALENDAR_SYNC,
    CALENDAR,
    HINTS,
    hints.take,
    after_loss="none: a check reads all linked events every few minutes",
)
