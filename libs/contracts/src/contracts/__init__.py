"""The contracts between services: messages, topics, HTTP shapes and signed identity.

`events/` has one module per topic and major version, `topics` is the registry that provisioning, wiring tests and
documents read, `http/` has the shapes of intents and reads, `routes` names the service that owns each of them.
"""
