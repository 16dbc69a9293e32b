"""The clock of the retry schedule, which tests can hurry."""

import time

from pco_simulator.storage import Store

_BUCKET, _KEY = "webhooks", "clock"


class Hurried:
    """Seconds since the epoch plus what was skipped; what was skipped survives a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._skipped: float = store.get(_BUCKET, _KEY) or 0.0
        self._factor = 1.0
        self._since = time.time()

    @property
    def factor(self) -> float:
        """Seconds that pass in one real second."""
        return self._factor

    def now(self) -> float:
        """The present instant of the schedule, in seconds."""
        return self._since + self._skipped + (time.time() - self._since) * self._factor

    def set_factor(self, factor: float) -> None:
        """Let time pass faster or slower from now on."""
        if factor != self._factor:
            self.advance(0)
            self._factor = factor

    def advance(self, seconds: float) -> None:
        """Skip a span of time."""
        at, real = self.now(), time.time()
        self._since, self._skipped = real, at - real + seconds
        self.keep()

    def keep(self) -> None:
        """Store how much was skipped."""
        self._store.put(_BUCKET, _KEY, self.now() - time.time())
        self._store.commit()
