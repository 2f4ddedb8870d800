"""The native stack: every server and service as a supervised process, and the `surge` command line."""
