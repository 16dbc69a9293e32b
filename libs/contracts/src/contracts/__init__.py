"""What crosses a service boundary: messages, topics, HTTP shapes and signed identity.

`events/` has one module per topic and major version, `topics` is the registry that provisioning, wiring tests and
documents read, `http/` has the shapes of intents and reads, `routes` says which service owns each of them.
"""
