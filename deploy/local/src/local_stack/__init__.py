"""The whole product on one machine: real PostgreSQL and Kafka, the simulator, an identity provider, five services."""
