"""Serves the public API: ``python -m oltp.gateway``."""

from kit.app import serve
from oltp.gateway.app import create
from oltp.gateway.settings import GatewaySettings

settings = GatewaySettings()
serve(create(settings), settings)
