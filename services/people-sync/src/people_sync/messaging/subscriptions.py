"""Facts of webhooks.subscription.v1: when Planning Center began to send notices, and when some were lost."""

from contracts.values import PEOPLE_SYNC
from people_sync.usecases.gaps import GAPS
from synckit.deliveries import subscribe_gaps

subscriptions = subscribe_gaps(PEOPLE_SYNC, GAPS, after_loss="none: the next scheduled sync reads what has changed")
