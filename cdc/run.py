"""Capture as a whole: brought about, kept, and told of."""

from cdc import catalogue, raw
from cdc.settings import CdcSettings


async def ensure(settings: CdcSettings) -> str:
    """Has the shop's changes flow into the warehouse's raw tables; safe to repeat. Returns what was done."""
    async with settings.shop() as shop:
        tables = await catalogue.read(shop)
    async with settings.warehouse() as warehouse:
        changed = await raw.ensure(warehouse, tables)
    return f"{len(tables)} tables" + (f", {len(changed)} changes" if changed else "")
