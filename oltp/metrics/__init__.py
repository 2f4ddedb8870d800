"""Live metrics: what the shop does right now, in windows of event time kept in Redis for a day."""
