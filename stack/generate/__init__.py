"""`surge generate`: live traffic without clients: visits and orders straight to Kafka, after a pattern of the day."""
