"""`surge generate`: live traffic without clients: orders straight to Kafka, after a pattern of the day."""
