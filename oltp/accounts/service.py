"""Use cases of accounts."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from contracts.events import AccountChanged, AccountEmailChanged, AccountRegistered
from kit import outbox
from kit.auth import Principal, Role, issue_access_token
from kit.clock import Clock
from kit.db import ReadSession, WriteSession
from kit.errors import Invalid, Unauthorized
from kit.ids import is_uuid, new_id
from kit.resources import Resources
from oltp.accounts.directory import Directory
from oltp.accounts.domain import (
    RefreshVerdict,
    client_network,
    judge_refresh,
    normalize_email,
    normalize_password,
    password_weakness,
)
from oltp.accounts.errors import (
    AddressNotFound,
    EmailTaken,
    InvalidCredentials,
    RefreshRejected,
    TooManyAddresses,
    TooManyLogins,
    TooManyRegistrations,
)
from oltp.accounts.limits import Limit
from oltp.accounts.passwords import hash_password, is_outdated, verify_password
from oltp.accounts.repository import (
    ACTIVE,
    Addresses,
    AddressRow,
    AddressWriter,
    KnownToken,
    TokenFamilies,
    User,
    Users,
    UserWriter,
)
from oltp.accounts.schemas import AddressCreate, AddressUpdate, Profile, ProfileUpdate, Register, SignedIn, Tokens
from oltp.accounts.state import AccountsState
from oltp.accounts.tokens import fingerprint, first_token, successor

log = structlog.get_logger()

SOURCE: Final = "accounts"


class SignIns:
    """Registration, login, refresh, logout, passwords.

    These open their own transactions: a hash takes tens of milliseconds, for which no connection is kept waiting, and
    a refused refresh still has to commit the end of its family.
    """

    def __init__(self, resources: Resources, state: AccountsState) -> None:
        self._database = resources.database
        self._clock = resources.clock
        self._state = state
        self._settings = state.settings

    async def register(self, new: Register, *, address: str, user_agent: str) -> SignedIn:
        """Opens a customer's account and signs it in.

        A taken email address is said to be taken: a shop can't hide it without confirmation mails, so the number of
        registrations an address may try is limited instead.

        Raises:
            EmailTaken, Invalid, TooManyRegistrations, HashingBusy
        """
        limit = Limit(
            "register",
            self._settings.accounts_register_limit_per_address,
            self._settings.accounts_register_window_seconds,
        )
        if wait := await self._state.limiter.admit(limit, client_network(address)):
            raise TooManyRegistrations("Too many registrations from this address.", retry_after=wait)
        _demand_strong(new.password, field="body.password", email=new.email, name=new.name)
        password_hash = await self._state.hasher.hash(new.password)
        now = self._clock.now()
        user = User(
            id=new_id(),
            name=new.name,
            email=new.email,
            password_hash=password_hash,
            role=Role.CUSTOMER,
            phone=new.phone,
            status=ACTIVE,
            created_at=now,
            updated_at=now,
        )
        async with self._database.write() as session:
            if not await UserWriter(session).add(user):
                raise EmailTaken("An account with this email address exists; sign in instead.")
            await outbox.publish(session, [_registered(user, now)])
            return await self._start_family(session, user, user_agent=user_agent, now=now)

    async def login(self, email: str, password: str, *, address: str, user_agent: str) -> SignedIn:
        """Signs a user in.

        Unknown, disabled and known users take the same path: both limits, one look-up, one hash, one answer. Attempts
        count before their outcome is known; a success forgets the account's. A password that is changed while it is
        being checked no longer signs in, so that changing it ends every sign-in with the old one.

        Raises:
            InvalidCredentials, TooManyLogins, HashingBusy
        """
        email = normalize_email(email)
        await self._admit_login(email, address)
        async with self._database.read() as session:
            user = await Users(session).by_email(email)
        stored = self._state.nobody_hash if user is None else user.password_hash
        matches = await self._state.hasher.verify(stored, password)
        if user is None or not matches or not user.is_active:
            raise InvalidCredentials("Email address or password is wrong.")
        await self._state.limiter.forgive(self._per_account, email)
        rehashed = await self._state.hasher.hash(password) if is_outdated(user.password_hash) else None
        now = self._clock.now()
        async with self._database.write() as session:
            users = UserWriter(session)
            present = await users.lock(user.id)
            if present is None or not present.is_active or present.password_hash != user.password_hash:
                raise InvalidCredentials("Email address or password is wrong.")
            if rehashed is not None:
                await users.change_password(user.id, old_hash=user.password_hash, new_hash=rehashed, at=user.updated_at)
            await TokenFamilies(session).prune(user.id, keep=self._settings.accounts_sign_ins_per_user - 1, at=now)
            return await self._start_family(session, user, user_agent=user_agent, now=now)

    async def refresh(self, token: str) -> Tokens:
        """Exchanges a refresh token for its successor and an access token.

        Raises:
            RefreshRejected: if it is not the newest of a living family; if it was used before, the family has ended.
        """
        now = self._clock.now()
        async with self._database.write() as session:
            tokens = await self._exchange(TokenFamilies(session), token, now)
        if tokens is None:
            raise RefreshRejected("This refresh token is not valid (any more); sign in again.")
        return tokens

    async def logout(self, token: str) -> None:
        """Ends the token's family. A token that is not known has nothing to end."""
        async with self._database.write() as session:
            families = TokenFamilies(session)
            known = await families.lock_by_token(fingerprint(token))
            if known is not None:
                await families.revoke(known.family_id, because="logout", at=self._clock.now())

    async def change_password(self, principal: Principal, current: str, new: str, *, address: str) -> None:
        """Changes the password and ends all of the user's sign-ins.

        Raises:
            InvalidCredentials: if the present password is wrong, or changed meanwhile.
            Invalid: if the new one is too weak.
            TooManyLogins: if too many wrong ones were tried.
        """
        async with self._database.read() as session:
            user = await _existing(Users(session), principal)
        await self._admit_login(user.email, address)
        _demand_strong(new, field="body.new_password", email=user.email, name=user.name)
        if not await self._state.hasher.verify(user.password_hash, current):
            raise InvalidCredentials("The present password is wrong.")
        await self._state.limiter.forgive(self._per_account, user.email)
        new_hash = await self._state.hasher.hash(new)
        now = self._clock.now()
        async with self._database.write() as session:
            if not await UserWriter(session).change_password(
                user.id, old_hash=user.password_hash, new_hash=new_hash, at=now
            ):
                raise InvalidCredentials("The present password is wrong.")
            await TokenFamilies(session).revoke_all(user.id, because="password changed", at=now)

    async def change_email(self, principal: Principal, email: str, password: str, *, address: str) -> User:
        """Changes the email address, and has the old one and the new one told; to the present one, it is no change.

        Raises:
            InvalidCredentials: if the password is wrong, or changed meanwhile.
            EmailTaken: if somebody has the new address.
            TooManyLogins: if too many wrong passwords were tried.
        """
        async with self._database.read() as session:
            user = await _existing(Users(session), principal)
        await self._admit_login(user.email, address)
        if not await self._state.hasher.verify(user.password_hash, password):
            raise InvalidCredentials("The password is wrong.")
        await self._state.limiter.forgive(self._per_account, user.email)
        now = self._clock.now()
        async with self._database.write() as session:
            users = UserWriter(session)
            present = await _locked(users, principal)
            if present.password_hash != user.password_hash:
                raise InvalidCredentials("The password is wrong.")
            if present.email == email:
                return present
            changed = await users.change_email(user.id, email, at=now)
            if changed is None:
                raise EmailTaken("Another account has this email address.")
            moved = AccountEmailChanged(
                user_id=changed.id, name=changed.name, previous_email=present.email, email=changed.email
            )
            await outbox.publish(
                session,
                [
                    outbox.announce(event, source=SOURCE, subject=changed.id, time=now)
                    for event in (_contact(changed), moved)
                ],
            )
            return changed

    @property
    def _per_account(self) -> Limit:
        settings = self._settings
        return Limit(
            "login.account", settings.accounts_login_limit_per_account, settings.accounts_login_account_window_seconds
        )

    async def _admit_login(self, email: str, address: str) -> None:
        settings = self._settings
        per_address = Limit(
            "login.address", settings.accounts_login_limit_per_address, settings.accounts_login_address_window_seconds
        )
        for limit, subject in ((per_address, client_network(address)), (self._per_account, email)):
            if wait := await self._state.limiter.admit(limit, subject):
                raise TooManyLogins("Too many logins; please wait.", retry_after=wait)

    async def _start_family(self, session: WriteSession, user: User, *, user_agent: str, now: dt.datetime) -> SignedIn:
        families, family_id, token = TokenFamilies(session), new_id(), first_token()
        family_expires_at = now + dt.timedelta(seconds=self._settings.accounts_sign_in_seconds)
        expires_at = self._token_expiry(family_expires_at, now)
        await families.start(family_id, user.id, user_agent=user_agent, expires_at=family_expires_at, at=now)
        await families.add_token(family_id, 1, fingerprint(token), expires_at=expires_at, at=now)
        tokens = self._tokens(user, token, expires_at, now)
        return SignedIn(**tokens.model_dump(), user=Profile.model_validate(user))

    async def _exchange(self, families: TokenFamilies, token: str, now: dt.datetime) -> Tokens | None:
        known = await families.lock_by_token(fingerprint(token))
        if known is None:
            return None
        grace = dt.timedelta(seconds=self._settings.accounts_refresh_grace_seconds)
        following = successor(token, self._settings.jwt_secret)
        match judge_refresh(known.state, now=now, grace=grace):
            case RefreshVerdict.ROTATE:
                expires_at = self._token_expiry(known.family_expires_at, now)
                await families.rotate(known.family_id, known.generation, at=now)
                await families.add_token(
                    known.family_id, known.generation + 1, fingerprint(following), expires_at=expires_at, at=now
                )
                return self._tokens(known.user, following, expires_at, now)
            case RefreshVerdict.REPEAT:
                issued = await families.expiry(fingerprint(following))
                if issued is not None:
                    return self._tokens(known.user, following, issued, now)
                await self._end_copied(families, known, now)
            case RefreshVerdict.REUSE:
                await self._end_copied(families, known, now)
            case RefreshVerdict.REFUSE:
                pass
        return None

    async def _end_copied(self, families: TokenFamilies, known: KnownToken, now: dt.datetime) -> None:
        log.warning("accounts.refresh_reused", user_id=known.user.id, family_id=known.family_id)
        await families.revoke(known.family_id, because="refresh token reused", at=now)

    def _token_expiry(self, family_expires_at: dt.datetime, now: dt.datetime) -> dt.datetime:
        return min(family_expires_at, now + dt.timedelta(seconds=self._settings.accounts_refresh_token_seconds))

    def _tokens(self, user: User, refresh_token: str, refresh_expires_at: dt.datetime, now: dt.datetime) -> Tokens:
        return Tokens(
            access_token=issue_access_token(self._settings, user.principal, now),
            token_type="bearer",  # noqa: S106
            expires_in=self._settings.access_token_seconds,
            refresh_token=refresh_token,
            refresh_expires_at=refresh_expires_at,
        )


class Profiles:
    """A user's own data."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def get(self, session: ReadSession, principal: Principal) -> User:
        """The signed-in user.

        Raises:
            Unauthorized: if the account is gone.
        """
        return await _existing(Users(session), principal)

    async def update(self, session: WriteSession, principal: Principal, change: ProfileUpdate) -> User:
        """Changes name and phone; a change to what is already so is none.

        Raises:
            Unauthorized: if the account is gone.
        """
        users = UserWriter(session)
        user = await _locked(users, principal)
        name = user.name if change.name is None else change.name
        phone = user.phone if change.phone is None else change.phone
        if (name, phone) == (user.name, user.phone):
            return user
        now = self._clock.now()
        changed = await users.change_contact(user.id, name=name, phone=phone, at=now)
        await outbox.publish(session, [outbox.announce(_contact(changed), source=SOURCE, subject=changed.id, time=now)])
        return changed


class AddressBook:
    """A customer's addresses. Whoever has any has exactly one default; the customer's row is the lock.

    What changes them opens its own transaction, so that the checkout's copies are dropped around it.
    """

    def __init__(self, resources: Resources, directory: Directory, most: int) -> None:
        self._database = resources.database
        self._clock = resources.clock
        self._directory = directory
        self._most = most

    async def all(self, principal: Principal) -> list[AddressRow]:
        """All of them; the checkout knows them from now on.

        Raises:
            Unauthorized: if the account is gone.
        """
        generation = await self._directory.generation(principal.user_id)
        async with self._database.read() as session:
            user = await _existing(Users(session), principal)
            found = await Addresses(session, user.id).all()
        await self._directory.keep(user.id, generation, found)
        return found

    async def get(self, principal: Principal, address_id: str) -> AddressRow:
        """One of them.

        Raises:
            AddressNotFound, Unauthorized
        """
        async with self._database.read() as session:
            user = await _existing(Users(session), principal)
            return _found(await Addresses(session, user.id).get(address_id))

    async def add(self, principal: Principal, new: AddressCreate) -> AddressRow:
        """Adds one; the first is the default.

        Raises:
            TooManyAddresses, Unauthorized
        """
        async with self._locked(principal) as addresses:
            existing = await addresses.all()
            if len(existing) >= self._most:
                raise TooManyAddresses(f"A customer may keep {self._most} addresses; delete one first.")
            is_default = new.is_default or not existing
            if is_default and existing:
                await addresses.clear_default()
            return await addresses.add(new_id(), _fields(new), is_default=is_default, at=self._clock.now())

    async def replace(self, principal: Principal, address_id: str, change: AddressUpdate) -> AddressRow:
        """Replaces what one of them says.

        Raises:
            AddressNotFound, Unauthorized
        """
        async with self._locked(principal) as addresses:
            return _found(await addresses.replace(address_id, _fields(change), at=self._clock.now()))

    async def make_default(self, principal: Principal, address_id: str) -> AddressRow:
        """Makes one of them the default.

        Raises:
            AddressNotFound, Unauthorized
        """
        async with self._locked(principal) as addresses:
            present = _found(await addresses.get(address_id))
            if present.is_default:
                return present
            await addresses.clear_default()
            return _found(await addresses.make_default(address_id, at=self._clock.now()))

    async def delete(self, principal: Principal, address_id: str) -> None:
        """Deletes one of them. If it was the default, the newest other one becomes it.

        Raises:
            AddressNotFound, Unauthorized
        """
        async with self._locked(principal) as addresses:
            if not await addresses.delete(address_id):
                _found(None)
            left = await addresses.all()
            if left and not left[0].is_default:
                await addresses.make_default(left[0].id, at=self._clock.now())

    @asynccontextmanager
    async def _locked(self, principal: Principal) -> AsyncIterator[AddressWriter]:
        async with self._directory.changing(principal.user_id), self._database.write() as session:
            user = await _locked(UserWriter(session), principal)
            yield AddressWriter(session, user.id)


async def ensure_admin(
    session: WriteSession, email: str, password: str, *, name: str = "Administrator", now: dt.datetime
) -> str:
    """Makes sure that an active admin with these credentials exists, and returns their id.

    Run again it changes nothing; with another password, it sets that one.
    """
    email, users = normalize_email(email), UserWriter(session)
    user = await users.by_email(email)
    ready = user is not None and user.role is Role.ADMIN and user.is_active
    if user is not None and ready and await asyncio.to_thread(verify_password, user.password_hash, password):
        return user.id
    password_hash = await asyncio.to_thread(hash_password, password)
    if user is None:
        user = User(
            id=new_id(),
            name=name,
            email=email,
            password_hash=password_hash,
            role=Role.ADMIN,
            phone="",
            status=ACTIVE,
            created_at=now,
            updated_at=now,
        )
        if await users.add(user):
            await outbox.publish(session, [_registered(user, now)])
            return user.id
        user = await users.by_email(email)
        assert user is not None
    await users.make_admin(user.id, password_hash=password_hash, at=now)
    await TokenFamilies(session).revoke_all(user.id, because="password changed", at=now)
    return user.id


async def principal_of(session: ReadSession, email: str) -> Principal | None:
    """Whom an email address belongs to, for tokens that are issued without a login (the command line)."""
    user = await Users(session).by_email(normalize_email(email))
    return None if user is None else user.principal


def _contact(user: User) -> AccountChanged:
    return AccountChanged(user_id=user.id, email=user.email, name=user.name, phone=user.phone)


def _registered(user: User, now: dt.datetime) -> Any:
    event = AccountRegistered(user_id=user.id, email=user.email, name=user.name, phone=user.phone)
    return outbox.announce(event, source=SOURCE, subject=user.id, time=now)


def _demand_strong(password: str, *, field: str, email: str, name: str) -> None:
    weakness = password_weakness(normalize_password(password), email=email, name=name)
    if weakness is not None:
        raise Invalid(field, weakness)


def _fields(address: AddressCreate | AddressUpdate) -> Mapping[str, Any]:
    return address.model_dump(exclude={"is_default"})


def _found(address: AddressRow | None) -> AddressRow:
    if address is None:
        raise AddressNotFound("You have no address with this id.")
    return address


async def _existing(users: Users, principal: Principal) -> User:
    user = await users.by_id(principal.user_id) if is_uuid(principal.user_id) else None
    return _demand(user)


async def _locked(users: UserWriter, principal: Principal) -> User:
    user = await users.lock(principal.user_id) if is_uuid(principal.user_id) else None
    return _demand(user)


def _demand(user: User | None) -> User:
    if user is None:
        raise Unauthorized("There is no account with this token's user any more.")
    return user
