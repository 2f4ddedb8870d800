"""A mail server that delivers to nobody: takes every message over SMTP, keeps it, shows it in the browser."""
