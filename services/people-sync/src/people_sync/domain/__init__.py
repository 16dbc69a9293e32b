"""Pure decisions: no IO, no clock. Imports the standard library, contracts, phonenumbers and itself."""
