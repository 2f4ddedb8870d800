"""Change data capture: what leaves Postgres through its write-ahead log."""
