"""Facts of webhooks.subscription.v1: when Planning Center began to send notices, and when some were lost."""

from calendar_sync.usecases.gaps import GAPS
from contracts.values import CALENDAR_SYNC
from synckit.deliveries import subscribe_gaps

subscriptions = subscribe_gaps(CALENDAR_SYNC, GAPS, after_loss="none: the next check reads what has changed")
