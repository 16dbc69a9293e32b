"""The service of the README, for servicekit's own tests. It borrows people-sync's place in the registry."""
