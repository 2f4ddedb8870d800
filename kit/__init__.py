"""Framework glue without a business word: settings, database, Kafka, Redis, HTTP, telemetry, clock."""
