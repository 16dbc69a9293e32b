"""Pure decisions: no IO, no clock of their own."""
