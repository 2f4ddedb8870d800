"""Every query on schema ``accounts``."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import IntegrityError

from kit.auth import Principal, Role
from kit.db import ReadSession, WriteSession
from oltp.accounts.domain import PresentedToken

ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True)
class User:
    """A row of ``accounts.users``."""

    id: str
    name: str
    email: str
    password_hash: str
    role: Role
    phone: str
    status: str
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def is_active(self) -> bool:
        """Whether the user may sign in."""
        return self.status == ACTIVE

    @property
    def principal(self) -> Principal:
        """The user as access tokens name them."""
        return Principal(user_id=self.id, role=self.role)


@dataclass(frozen=True, slots=True)
class AddressRow:
    """A row of ``accounts.addresses``."""

    id: str
    label: str
    name: str
    line1: str
    line2: str
    city: str
    region: str
    postal_code: str
    country: str
    phone: str
    latitude: float | None
    longitude: float | None
    is_default: bool
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A presented refresh token with its place in its family, which is locked."""

    family_id: str
    generation: int
    family_expires_at: dt.datetime
    state: PresentedToken
    user: User


_USER: Final = "id::text, name, email, password_hash, role, phone, status, created_at, updated_at"
_ADDRESS: Final = (
    "id::text, label, name, line1, line2, city, region, postal_code, country, phone, latitude, longitude, is_default, "
    "created_at, updated_at"
)
_ADDRESS_FIELDS: Final = (
    "label",
    "name",
    "line1",
    "line2",
    "city",
    "region",
    "postal_code",
    "country",
    "phone",
    "latitude",
    "longitude",
)


def _user(row: RowMapping | Mapping[str, Any]) -> User:
    return User(**{**row, "role": Role(row["role"])})


class Users:
    """Users by id and email address."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def by_id(self, user_id: str) -> User | None:
        """The user with this id."""
        return await self._one(f"SELECT {_USER} FROM accounts.users WHERE id = CAST(:id AS uuid)", {"id": user_id})  # noqa: S608

    async def by_email(self, email: str) -> User | None:
        """The user with this (normalised) email address."""
        return await self._one(
            f"SELECT {_USER} FROM accounts.users WHERE lower(email) = lower(:email)",  # noqa: S608
            {"email": email},
        )

    async def customers(self, text_: str, *, limit: int) -> list[User]:
        """Customers of whose name a word begins so, or whose email address does, by name.

        Reads all of them: some ten milliseconds for a hundred thousand.
        """
        begins = text_.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = await self._session.execute(
            text(
                f"""
                SELECT {_USER} FROM accounts.users
                WHERE role = 'customer' AND (lower(email) LIKE :begins OR ' ' || lower(name) LIKE :word)
                ORDER BY lower(name), id LIMIT :limit
                """  # noqa: S608
            ),
            {"begins": begins, "word": f"% {begins}", "limit": limit},
        )
        return [_user(row) for row in rows.mappings()]

    async def lock(self, user_id: str) -> User | None:
        """The user with this id; changes to them and their addresses wait for this transaction."""
        return await self._one(
            f"SELECT {_USER} FROM accounts.users WHERE id = CAST(:id AS uuid) FOR UPDATE",  # noqa: S608
            {"id": user_id},
        )

    async def _one(self, statement: str, values: Mapping[str, Any]) -> User | None:
        row = (await self._session.execute(text(statement), values)).mappings().one_or_none()
        return None if row is None else _user(row)


class UserWriter(Users):
    """Users, to be changed."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)

    async def add(self, user: User) -> bool:
        """Adds the user, unless the email address is taken."""
        result = await self._session.execute(
            text(
                """
                INSERT INTO accounts.users
                    (id, name, email, password_hash, role, phone, status, created_at, updated_at)
                VALUES (CAST(:id AS uuid), :name, :email, :password_hash, :role, :phone, :status, :at, :at)
                ON CONFLICT (lower(email)) DO NOTHING
                RETURNING id
                """
            ),
            {
                "id": user.id,
                "name": user.name,
                "email": user.email,
                "password_hash": user.password_hash,
                "role": user.role.value,
                "phone": user.phone,
                "status": user.status,
                "at": user.created_at,
            },
        )
        return result.first() is not None

    async def change_contact(self, user_id: str, *, name: str, phone: str, at: dt.datetime) -> User:
        """Changes what a customer may change of a user who exists."""
        row = await self._session.execute(
            text(
                f"""
                UPDATE accounts.users SET name = :name, phone = :phone, updated_at = :at
                WHERE id = CAST(:id AS uuid) RETURNING {_USER}
                """  # noqa: S608
            ),
            {"id": user_id, "name": name, "phone": phone, "at": at},
        )
        return _user(row.mappings().one())

    async def change_email(self, user_id: str, email: str, *, at: dt.datetime) -> User | None:
        """Changes the email address of a user who exists; None if somebody else has it."""
        try:
            async with self._session.begin_nested():
                row = await self._session.execute(
                    text(
                        f"""
                        UPDATE accounts.users SET email = :email, updated_at = :at
                        WHERE id = CAST(:id AS uuid) RETURNING {_USER}
                        """  # noqa: S608
                    ),
                    {"id": user_id, "email": email, "at": at},
                )
        except IntegrityError as error:
            if "uq_users_email" not in str(error.orig):
                raise
            return None
        return _user(row.mappings().one())

    async def change_password(self, user_id: str, *, old_hash: str, new_hash: str, at: dt.datetime) -> bool:
        """Replaces the password hash, unless it is no longer ``old_hash``."""
        result = await self._session.execute(
            text(
                """
                UPDATE accounts.users SET password_hash = :new, updated_at = :at
                WHERE id = CAST(:id AS uuid) AND password_hash = :old RETURNING id
                """
            ),
            {"id": user_id, "old": old_hash, "new": new_hash, "at": at},
        )
        return result.first() is not None

    async def make_admin(self, user_id: str, *, password_hash: str, at: dt.datetime) -> None:
        """Gives the user the admin's role, this password, and active status."""
        await self._session.execute(
            text(
                """
                UPDATE accounts.users SET role = 'admin', status = 'active', password_hash = :hash, updated_at = :at
                WHERE id = CAST(:id AS uuid)
                """
            ),
            {"id": user_id, "hash": password_hash, "at": at},
        )


class Addresses:
    """One customer's addresses."""

    def __init__(self, session: ReadSession, user_id: str) -> None:
        self._session = session
        self._user_id = user_id

    async def all(self) -> list[AddressRow]:
        """All of them: the default first, then the newest."""
        rows = await self._session.execute(
            text(
                f"""
                SELECT {_ADDRESS} FROM accounts.addresses WHERE user_id = CAST(:user AS uuid)
                ORDER BY is_default DESC, id DESC
                """  # noqa: S608
            ),
            {"user": self._user_id},
        )
        return [AddressRow(**row) for row in rows.mappings()]

    async def get(self, address_id: str) -> AddressRow | None:
        """The one with this id."""
        row = await self._session.execute(
            text(
                f"""
                SELECT {_ADDRESS} FROM accounts.addresses
                WHERE id = CAST(:id AS uuid) AND user_id = CAST(:user AS uuid)
                """  # noqa: S608
            ),
            {"id": address_id, "user": self._user_id},
        )
        found = row.mappings().one_or_none()
        return None if found is None else AddressRow(**found)


class AddressWriter(Addresses):
    """One customer's addresses, to be changed under the lock on the customer's row."""

    def __init__(self, session: WriteSession, user_id: str) -> None:
        super().__init__(session, user_id)

    async def add(self, address_id: str, fields: Mapping[str, Any], *, is_default: bool, at: dt.datetime) -> AddressRow:
        """Adds an address."""
        row = await self._session.execute(
            text(
                f"""
                INSERT INTO accounts.addresses
                    (id, user_id, {", ".join(_ADDRESS_FIELDS)}, is_default, created_at, updated_at)
                VALUES (CAST(:id AS uuid), CAST(:user AS uuid), {", ".join(f":{name}" for name in _ADDRESS_FIELDS)},
                    :is_default, :at, :at)
                RETURNING {_ADDRESS}
                """  # noqa: S608
            ),
            {
                **{name: fields[name] for name in _ADDRESS_FIELDS},
                "id": address_id,
                "user": self._user_id,
                "is_default": is_default,
                "at": at,
            },
        )
        return AddressRow(**row.mappings().one())

    async def replace(self, address_id: str, fields: Mapping[str, Any], *, at: dt.datetime) -> AddressRow | None:
        """Replaces all that an address says; whether it is the default stays."""
        row = await self._session.execute(
            text(
                f"""
                UPDATE accounts.addresses
                SET {", ".join(f"{name} = :{name}" for name in _ADDRESS_FIELDS)}, updated_at = :at
                WHERE id = CAST(:id AS uuid) AND user_id = CAST(:user AS uuid)
                RETURNING {_ADDRESS}
                """  # noqa: S608
            ),
            {
                **{name: fields[name] for name in _ADDRESS_FIELDS},
                "id": address_id,
                "user": self._user_id,
                "at": at,
            },
        )
        changed = row.mappings().one_or_none()
        return None if changed is None else AddressRow(**changed)

    async def clear_default(self) -> None:
        """Leaves the customer without a default address."""
        await self._session.execute(
            text("UPDATE accounts.addresses SET is_default = false WHERE user_id = CAST(:user AS uuid) AND is_default"),
            {"user": self._user_id},
        )

    async def make_default(self, address_id: str, *, at: dt.datetime) -> AddressRow | None:
        """Makes this one the default, after :meth:`clear_default`."""
        row = await self._session.execute(
            text(
                f"""
                UPDATE accounts.addresses SET is_default = true, updated_at = :at
                WHERE id = CAST(:id AS uuid) AND user_id = CAST(:user AS uuid)
                RETURNING {_ADDRESS}
                """  # noqa: S608
            ),
            {"id": address_id, "user": self._user_id, "at": at},
        )
        changed = row.mappings().one_or_none()
        return None if changed is None else AddressRow(**changed)

    async def delete(self, address_id: str) -> bool:
        """Deletes this one; false if there is none."""
        row = await self._session.execute(
            text(
                """
                DELETE FROM accounts.addresses
                WHERE id = CAST(:id AS uuid) AND user_id = CAST(:user AS uuid) RETURNING id
                """
            ),
            {"id": address_id, "user": self._user_id},
        )
        return row.first() is not None


class TokenFamilies:
    """Sign-ins and their chains of refresh tokens."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    async def start(
        self, family_id: str, user_id: str, *, user_agent: str, expires_at: dt.datetime, at: dt.datetime
    ) -> None:
        """Opens a family."""
        await self._session.execute(
            text(
                """
                INSERT INTO accounts.token_families (id, user_id, user_agent, created_at, expires_at)
                VALUES (CAST(:id AS uuid), CAST(:user AS uuid), :user_agent, :at, :expires_at)
                """
            ),
            {"id": family_id, "user": user_id, "user_agent": user_agent, "at": at, "expires_at": expires_at},
        )

    async def prune(self, user_id: str, *, keep: int, at: dt.datetime) -> None:
        """Deletes the user's expired families, and the oldest beyond ``keep``. What others are busy with is left."""
        await self._session.execute(
            text(
                """
                DELETE FROM accounts.token_families WHERE id IN (
                    SELECT id FROM accounts.token_families
                    WHERE user_id = CAST(:user AS uuid) AND (expires_at <= :at OR id NOT IN (
                        SELECT id FROM accounts.token_families WHERE user_id = CAST(:user AS uuid)
                        ORDER BY id DESC LIMIT :keep))
                    ORDER BY id FOR UPDATE SKIP LOCKED)
                """
            ),
            {"user": user_id, "keep": keep, "at": at},
        )

    async def add_token(
        self, family_id: str, generation: int, token_hash: bytes, *, expires_at: dt.datetime, at: dt.datetime
    ) -> None:
        """Adds a family's newest token."""
        await self._session.execute(
            text(
                """
                INSERT INTO accounts.refresh_tokens (family_id, generation, token_hash, issued_at, expires_at)
                VALUES (CAST(:family AS uuid), :generation, :hash, :at, :expires_at)
                """
            ),
            {"family": family_id, "generation": generation, "hash": token_hash, "at": at, "expires_at": expires_at},
        )

    async def lock_by_token(self, token_hash: bytes) -> KnownToken | None:
        """The token, its family locked first so that what is read of it is what no one else can change."""
        await self._session.execute(
            text(
                """
                SELECT id FROM accounts.token_families
                WHERE id = (SELECT family_id FROM accounts.refresh_tokens WHERE token_hash = :hash) FOR UPDATE
                """
            ),
            {"hash": token_hash},
        )
        row = await self._session.execute(
            text(
                """
                SELECT t.family_id::text AS family_id, t.generation, t.expires_at, t.rotated_at,
                    f.expires_at AS family_expires_at, f.revoked_at,
                    EXISTS (SELECT FROM accounts.refresh_tokens AS s WHERE s.family_id = t.family_id
                        AND s.generation = t.generation + 1 AND s.rotated_at IS NOT NULL) AS successor_rotated,
                    u.id::text AS id, u.name, u.email, u.password_hash, u.role, u.phone, u.status, u.created_at,
                    u.updated_at
                FROM accounts.refresh_tokens AS t
                JOIN accounts.token_families AS f ON f.id = t.family_id
                JOIN accounts.users AS u ON u.id = f.user_id
                WHERE t.token_hash = :hash
                """
            ),
            {"hash": token_hash},
        )
        found = row.mappings().one_or_none()
        if found is None:
            return None
        user = _user({name: found[name] for name in User.__slots__})
        return KnownToken(
            family_id=found["family_id"],
            generation=found["generation"],
            family_expires_at=found["family_expires_at"],
            state=PresentedToken(
                expires_at=found["expires_at"],
                rotated_at=found["rotated_at"],
                successor_rotated=found["successor_rotated"],
                family_expires_at=found["family_expires_at"],
                family_revoked=found["revoked_at"] is not None,
                user_active=user.is_active,
            ),
            user=user,
        )

    async def rotate(self, family_id: str, generation: int, *, at: dt.datetime) -> None:
        """Uses a token up, and forgets those of its family that expired."""
        await self._session.execute(
            text(
                """
                UPDATE accounts.refresh_tokens SET rotated_at = :at
                WHERE family_id = CAST(:family AS uuid) AND generation = :generation
                """
            ),
            {"family": family_id, "generation": generation, "at": at},
        )
        await self._session.execute(
            text("DELETE FROM accounts.refresh_tokens WHERE family_id = CAST(:family AS uuid) AND expires_at <= :at"),
            {"family": family_id, "at": at},
        )

    async def expiry(self, token_hash: bytes) -> dt.datetime | None:
        """When a token expires."""
        row = await self._session.execute(
            text("SELECT expires_at FROM accounts.refresh_tokens WHERE token_hash = :hash"), {"hash": token_hash}
        )
        expires_at: dt.datetime | None = row.scalar_one_or_none()
        return expires_at

    async def revoke(self, family_id: str, *, because: str, at: dt.datetime) -> None:
        """Ends a family; one that has ended stays as it was."""
        await self._session.execute(
            text(
                """
                UPDATE accounts.token_families SET revoked_at = :at, revoked_because = :because
                WHERE id = CAST(:id AS uuid) AND revoked_at IS NULL
                """
            ),
            {"id": family_id, "because": because, "at": at},
        )

    async def revoke_all(self, user_id: str, *, because: str, at: dt.datetime) -> None:
        """Ends all of a user's families."""
        await self._session.execute(
            text(
                """
                UPDATE accounts.token_families SET revoked_at = :at, revoked_because = :because
                WHERE id IN (SELECT id FROM accounts.token_families
                    WHERE user_id = CAST(:user AS uuid) AND revoked_at IS NULL ORDER BY id FOR UPDATE)
                """
            ),
            {"user": user_id, "because": because, "at": at},
        )
