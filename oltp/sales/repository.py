"""Every query on schema ``sales``."""

import datetime as dt
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import IntegrityError

from contracts.sales import SaleCard
from kit.db import ReadSession, WriteSession
from oltp.sales.domain import Opening, Sale, SaleState

_MINOR: Final = Decimal(100)
_COLUMNS: Final = """
    id::text AS id, product_id::text AS product_id, price, currency, units, units_per_customer, waiting_places,
    starts_at, ends_at, planned_ends_at, opened_by::text AS opened_by, opened_at, ended_by::text AS ended_by
"""
_IN_STATE: Final = {
    SaleState.UPCOMING: "starts_at > :now AND ends_at > :now",
    SaleState.RUNNING: "starts_at <= :now AND ends_at > :now",
    SaleState.OVER: "ends_at <= :now",
}


def _sale(row: RowMapping) -> Sale:
    card = SaleCard(
        sale_id=row["id"],
        product_id=row["product_id"],
        unit_price=int(row["price"] * _MINOR),
        currency=row["currency"],
        units=row["units"],
        units_per_customer=row["units_per_customer"],
        waiting_places=row["waiting_places"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
    )
    return Sale(card, row["planned_ends_at"], row["opened_by"], row["opened_at"], row["ended_by"])


class Sales:
    """Sales, read."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def get(self, sale_id: str) -> Sale | None:
        """The sale with this id."""
        rows = await self._session.execute(
            text(f"SELECT {_COLUMNS} FROM sales.sales WHERE id = CAST(:id AS uuid)"),  # noqa: S608 -- literals
            {"id": sale_id},
        )
        row = rows.mappings().one_or_none()
        return None if row is None else _sale(row)

    async def not_over(self, since: dt.datetime) -> list[Sale]:
        """The sales that end after a moment."""
        rows = await self._session.execute(
            text(f"SELECT {_COLUMNS} FROM sales.sales WHERE ends_at > :since ORDER BY starts_at, id"),  # noqa: S608
            {"since": since},
        )
        return [_sale(row) for row in rows.mappings()]

    async def page(
        self,
        *,
        product_id: str | None,
        state: SaleState | None,
        now: dt.datetime,
        before: tuple[dt.datetime, str] | None,
        limit: int,
    ) -> list[Sale]:
        """Sales, newest first, from ``before`` (moment of opening and id) on."""
        conditions, values = ["true"], dict[str, Any](now=now, limit=limit)
        if product_id is not None:
            conditions.append("product_id = CAST(:product AS uuid)")
            values["product"] = product_id
        if state is not None:
            conditions.append(_IN_STATE[state])
        if before is not None:
            conditions.append("(opened_at, id) < (:before_at, CAST(:before_id AS uuid))")
            values["before_at"], values["before_id"] = before
        rows = await self._session.execute(
            text(
                f"""
                SELECT {_COLUMNS} FROM sales.sales WHERE {" AND ".join(conditions)}
                ORDER BY opened_at DESC, id DESC LIMIT :limit
                """  # noqa: S608 -- built from the literals above
            ),
            values,
        )
        return [_sale(row) for row in rows.mappings()]

    async def overlapping(self, product_id: str, starts_at: dt.datetime, ends_at: dt.datetime) -> str | None:
        """The id of a product's sale that a window would overlap."""
        rows = await self._session.execute(
            text(
                "SELECT id::text FROM sales.sales WHERE product_id = CAST(:product AS uuid) "
                "AND tstzrange(starts_at, ends_at) && tstzrange(:starts, :ends) LIMIT 1"
            ),
            {"product": product_id, "starts": starts_at, "ends": ends_at},
        )
        sale_id: str | None = rows.scalar_one_or_none()
        return sale_id


class SaleWriter(Sales):
    """Sales, to be opened and ended."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)

    async def add(self, sale_id: str, opening: Opening, *, currency: str, actor_id: str, at: dt.datetime) -> bool:
        """Opens a sale; false if the product has one in that window."""
        try:
            async with self._session.begin_nested():
                await self._session.execute(
                    text(
                        """
                        INSERT INTO sales.sales (id, product_id, price, currency, units, units_per_customer,
                            waiting_places, starts_at, ends_at, planned_ends_at, opened_by, opened_at)
                        VALUES (CAST(:id AS uuid), CAST(:product AS uuid), :price, :currency, :units, :per_customer,
                            :waiting, :starts, :ends, :ends, CAST(:actor AS uuid), :at)
                        """
                    ),
                    {
                        "id": sale_id,
                        "product": opening.product_id,
                        "price": Decimal(opening.unit_price) / _MINOR,
                        "currency": currency,
                        "units": opening.units,
                        "per_customer": opening.units_per_customer,
                        "waiting": opening.waiting_places,
                        "starts": opening.starts_at,
                        "ends": opening.ends_at,
                        "actor": actor_id,
                        "at": at,
                    },
                )
        except IntegrityError as error:
            if "ex_sales_overlap" in str(error.orig):
                return False
            raise
        return True

    async def end(self, sale_id: str, *, actor_id: str, at: dt.datetime) -> bool:
        """Ends a sale now, or before it begins; false if it is over (or there is none)."""
        rows = await self._session.execute(
            text(
                """
                UPDATE sales.sales SET ends_at = greatest(starts_at, CAST(:at AS timestamptz)),
                    ended_by = CAST(:actor AS uuid)
                WHERE id = CAST(:id AS uuid) AND ends_at > :at RETURNING id
                """
            ),
            {"id": sale_id, "actor": actor_id, "at": at},
        )
        return rows.first() is not None
