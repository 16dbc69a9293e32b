"""People-sync as it runs: real processes against the simulator, PostgreSQL and Kafka, and a lender of tokens."""
