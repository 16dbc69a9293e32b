"""People-sync as real processes against the simulator, PostgreSQL and Kafka, with a lender of tokens."""
