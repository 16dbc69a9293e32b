"""How a service of this product runs: settings, database, Kafka, jobs, health, telemetry, auth."""
