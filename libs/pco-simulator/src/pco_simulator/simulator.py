"""The parts of one running simulator, wired once."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pco_simulator.faults import Faults
from pco_simulator.feeds import Feeds
from pco_simulator.human import Human
from pco_simulator.journal import Journal
from pco_simulator.mutations import Mutator
from pco_simulator.pacing import Pacer
from pco_simulator.settings import Settings
from pco_simulator.state import open_world
from pco_simulator.tokens import TokenStore
from pco_simulator.webhooks.sender import Webhooks
from pco_simulator.world import TIME_ZONES, Clock, World

_TICK_SECONDS = 0.05


@dataclass(slots=True)
class Simulator:
    """The parts that live as long as the process."""

    world: World
    """Churches and their rows."""
    store: TokenStore
    """Applications, consents, tokens."""
    settings: Settings
    """Live; change them with `change_settings`, never by assignment."""
    faults: Faults
    """Fault scripts."""
    journal: Journal
    """The journal of served requests."""
    pacer: Pacer
    """Rate-limit windows per person."""
    human: Human
    """Changes made as the church's staff."""
    mutator: Mutator
    """Scripted mutations and the background editor."""
    feeds: Feeds
    """Subscriptions to iCal feeds."""
    webhooks: Webhooks
    """Webhook subscriptions and their deliveries."""
    public_url: str | None
    """Scheme and host that browsers and id tokens see; None: taken from each request."""
    _settings_changed: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def open(
        cls,
        state_dir: Path | None,
        *,
        people: int,
        seed: int,
        churches: int,
        time_zones: str = TIME_ZONES,
        settings: Mapping[str, Any],
        public_url: str | None,
    ) -> "Simulator":
        """Load the state or seed it; `OtherFormat` if it cannot be loaded."""
        if state_dir is not None:
            state_dir.mkdir(parents=True, exist_ok=True)
        world = open_world(state_dir, people=people, seed=seed, clock=Clock(), churches=churches, time_zones=time_zones)
        human = Human(world)
        live = Settings()
        simulator = cls(
            world=world,
            store=TokenStore(state_dir, world, world.shape.seed),
            settings=live,
            faults=Faults(),
            journal=Journal(live.journal_requests, live.journal_writes),
            pacer=Pacer(live),
            human=human,
            mutator=Mutator(world, human, world.shape.seed),
            feeds=Feeds(world),
            webhooks=Webhooks(world, live),
            public_url=public_url,
        )
        simulator.change_settings(settings)
        return simulator

    def change_settings(self, values: Mapping[str, Any]) -> Settings:
        """Change some settings, all or none; `pydantic.ValidationError` names what is wrong."""
        changed = Settings.model_validate({**self.settings.model_dump(), **values})
        for name in Settings.model_fields:
            setattr(self.settings, name, getattr(changed, name))
        self.world.clock.offset = timedelta(seconds=changed.clock_offset_seconds)
        self.world.lag.lists_ms = changed.lists_lag_ms
        self.world.lag.filters_ms = changed.filters_lag_ms
        self.world.lag.singles_ms = changed.singles_lag_ms
        self.world.lag.includes_ms = changed.includes_lag_ms
        self.world.lag.relationships_too = changed.includes_lag_relationships
        self.world.lag.mergers_ms = changed.mergers_lag_ms
        self.world.lag.created_ms = changed.created_lag_ms
        self.world.lag.past_ms = changed.lag_past_ms
        if "lag_seed" in values:
            self.world.lag.chance.seed(changed.lag_seed)
        self.world.contacts_touch_person = changed.contacts_touch_person
        self.world.administrator_refusal = changed.administrator_refusal
        self.world.early_birthdates = changed.early_birthdates
        self.world.household_roles = changed.household_roles
        self.world.default_version = changed.default_version
        self.world.calendar_default_version = changed.calendar_default_version
        self.world.webhooks_default_version = changed.webhooks_default_version
        self.world.calendar_event_hints = changed.calendar_event_hints
        self.webhooks.hurry(factor=changed.webhooks_clock_factor)
        self.world.calendar_writes = changed.calendar_writes
        self.world.content_touches_updated_at = changed.content_touches_updated_at
        self.world.all_day_times = changed.all_day_times
        self.journal.resize(changed.journal_requests, changed.journal_writes)
        self._settings_changed.set()
        return self.settings

    async def edit_in_the_background(self) -> None:
        """Edit random people at the configured rate until cancelled."""
        due = 0.0
        while True:
            rate = self.settings.background_edits_per_second
            if not rate:
                due = 0.0
                self._settings_changed.clear()
                await self._settings_changed.wait()
                continue
            await asyncio.sleep(_TICK_SECONDS)
            due += rate * _TICK_SECONDS
            while due >= 1:
                due -= 1
                self.mutator.edit_somebody(self.settings.background_edit_attribute)

    def close(self) -> None:
        """Release held requests and close the files."""
        self.faults.clear()
        self.store.close()
        self.world.close()
