"""What crosses a process boundary: envelope, topics, events, commands, Redis keys. Imports nothing of ours."""
