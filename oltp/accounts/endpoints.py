"""HTTP to the use cases of accounts."""

import uuid
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request, Response

from kit.auth import CurrentAdmin, CurrentUser
from kit.db import ReadSessionDep, WriteSessionDep
from kit.errors import BadRequest, Forbidden, Invalid, Unauthorized, Unavailable, responses
from oltp.accounts.errors import (
    AddressNotFound,
    EmailTaken,
    HashingBusy,
    InvalidCredentials,
    RefreshRejected,
    TooManyAddresses,
    TooManyLogins,
    TooManyRegistrations,
)
from oltp.accounts.repository import Users
from oltp.accounts.schemas import (
    AddressCreate,
    AddressList,
    AddressUpdate,
    ChangeEmail,
    ChangePassword,
    CustomerQuery,
    FoundCustomer,
    FoundCustomers,
    Login,
    Profile,
    ProfileUpdate,
    Refresh,
    Register,
    SavedAddress,
    SignedIn,
    Tokens,
)
from oltp.accounts.service import AddressBook, Profiles, SignIns
from oltp.accounts.state import AccountsState

router = APIRouter(responses=responses(BadRequest, Invalid, Unavailable))

_AUTH = "auth"
_ACCOUNT = "account"


def _state(request: Request) -> AccountsState:
    return cast(AccountsState, request.state.accounts)


async def _sign_ins(request: Request) -> SignIns:
    return SignIns(request.state.resources, _state(request))


async def _profiles(request: Request) -> Profiles:
    return Profiles(request.state.resources.clock)


async def _address_book(request: Request) -> AddressBook:
    state = _state(request)
    return AddressBook(request.state.resources, state.directory, state.settings.accounts_addresses_per_user)


def _client_address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _user_agent(request: Request) -> str:
    return "".join(c for c in request.headers.get("user-agent", "") if c.isprintable())[:200]


SignInsDep = Annotated[SignIns, Depends(_sign_ins)]
ProfilesDep = Annotated[Profiles, Depends(_profiles)]
AddressBookDep = Annotated[AddressBook, Depends(_address_book)]


def _keep_secret(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"


@router.post(
    "/api/auth/register",
    tags=[_AUTH],
    status_code=201,
    summary="Open an account",
    response_model=SignedIn,
    responses=responses(EmailTaken, TooManyRegistrations, Unavailable, HashingBusy),
)
async def register(body: Register, request: Request, response: Response, sign_ins: SignInsDep) -> SignedIn:
    """Opens a customer's account and signs it in."""
    _keep_secret(response)
    response.headers["Location"] = "/api/users/me"
    return await sign_ins.register(body, address=_client_address(request), user_agent=_user_agent(request))


@router.post(
    "/api/auth/login",
    tags=[_AUTH],
    summary="Sign in",
    response_model=SignedIn,
    responses=responses(InvalidCredentials, TooManyLogins, Unavailable, HashingBusy),
)
async def login(body: Login, request: Request, response: Response, sign_ins: SignInsDep) -> SignedIn:
    """Exchanges email address and password for tokens. A wrong address and a wrong password answer alike."""
    _keep_secret(response)
    return await sign_ins.login(
        body.email, body.password, address=_client_address(request), user_agent=_user_agent(request)
    )


@router.post(
    "/api/auth/refresh",
    tags=[_AUTH],
    summary="Get a new access token",
    response_model=Tokens,
    responses=responses(RefreshRejected),
)
async def refresh(body: Refresh, response: Response, sign_ins: SignInsDep) -> Tokens:
    """Exchanges a refresh token for an access token and the next refresh token.

    Each works once; used again, it ends the whole sign-in. Only within seconds of its first use, and until the next
    one is used, does it answer again with that same next one, for a second tab or a lost answer.
    """
    _keep_secret(response)
    return await sign_ins.refresh(body.refresh_token)


@router.post("/api/auth/logout", tags=[_AUTH], status_code=204, summary="Sign out")
async def logout(body: Refresh, sign_ins: SignInsDep) -> None:
    """Ends the sign-in that a refresh token belongs to. Its access tokens run out by themselves."""
    await sign_ins.logout(body.refresh_token)


@router.get(
    "/api/users/me",
    tags=[_ACCOUNT],
    summary="Show my profile",
    response_model=Profile,
    responses=responses(Unauthorized),
)
async def show_profile(principal: CurrentUser, session: ReadSessionDep, profiles: ProfilesDep) -> Profile:
    """The signed-in user."""
    return Profile.model_validate(await profiles.get(session, principal))


@router.patch(
    "/api/users/me",
    tags=[_ACCOUNT],
    summary="Change my profile",
    response_model=Profile,
    responses=responses(Unauthorized),
)
async def change_profile(
    body: ProfileUpdate, principal: CurrentUser, session: WriteSessionDep, profiles: ProfilesDep
) -> Profile:
    """Changes name and phone."""
    return Profile.model_validate(await profiles.update(session, principal, body))


@router.put(
    "/api/users/me/password",
    tags=[_ACCOUNT],
    status_code=204,
    summary="Change my password",
    responses=responses(Unauthorized, InvalidCredentials, TooManyLogins, Unavailable, HashingBusy),
)
async def change_password(body: ChangePassword, principal: CurrentUser, request: Request, sign_ins: SignInsDep) -> None:
    """Changes the password and ends all sign-ins."""
    await sign_ins.change_password(
        principal, body.current_password, body.new_password, address=_client_address(request)
    )


@router.put(
    "/api/users/me/email",
    tags=[_ACCOUNT],
    summary="Change my email address",
    response_model=Profile,
    responses=responses(Unauthorized, InvalidCredentials, EmailTaken, TooManyLogins, Unavailable, HashingBusy),
)
async def change_email(body: ChangeEmail, principal: CurrentUser, request: Request, sign_ins: SignInsDep) -> Profile:
    """Changes the login. The old address and the new one are written to; who is signed in stays so."""
    changed = await sign_ins.change_email(
        principal, body.email, body.current_password, address=_client_address(request)
    )
    return Profile.model_validate(changed)


@router.get(
    "/api/users/me/addresses",
    tags=[_ACCOUNT],
    summary="List my addresses",
    response_model=AddressList,
    responses=responses(Unauthorized),
)
async def list_addresses(principal: CurrentUser, book: AddressBookDep) -> AddressList:
    """All of the customer's addresses, the default first."""
    return AddressList(items=[SavedAddress.model_validate(row) for row in await book.all(principal)])


@router.post(
    "/api/users/me/addresses",
    tags=[_ACCOUNT],
    status_code=201,
    summary="Add an address",
    response_model=SavedAddress,
    responses=responses(Unauthorized, TooManyAddresses),
)
async def add_address(
    body: AddressCreate, principal: CurrentUser, book: AddressBookDep, response: Response
) -> SavedAddress:
    """Adds an address; the first one is the default."""
    added = await book.add(principal, body)
    response.headers["Location"] = f"/api/users/me/addresses/{added.id}"
    return SavedAddress.model_validate(added)


@router.get(
    "/api/users/me/addresses/{address_id}",
    tags=[_ACCOUNT],
    summary="Show an address",
    response_model=SavedAddress,
    responses=responses(Unauthorized, AddressNotFound),
)
async def show_address(address_id: uuid.UUID, principal: CurrentUser, book: AddressBookDep) -> SavedAddress:
    """One of the customer's addresses."""
    return SavedAddress.model_validate(await book.get(principal, str(address_id)))


@router.put(
    "/api/users/me/addresses/{address_id}",
    tags=[_ACCOUNT],
    summary="Replace an address",
    response_model=SavedAddress,
    responses=responses(Unauthorized, AddressNotFound),
)
async def replace_address(
    address_id: uuid.UUID,
    body: AddressUpdate,
    principal: CurrentUser,
    book: AddressBookDep,
) -> SavedAddress:
    """Replaces all that the address says."""
    return SavedAddress.model_validate(await book.replace(principal, str(address_id), body))


@router.put(
    "/api/users/me/addresses/{address_id}/default",
    tags=[_ACCOUNT],
    summary="Make an address the default",
    response_model=SavedAddress,
    responses=responses(Unauthorized, AddressNotFound),
)
async def make_default_address(address_id: uuid.UUID, principal: CurrentUser, book: AddressBookDep) -> SavedAddress:
    """Makes it the one that checkout offers first."""
    return SavedAddress.model_validate(await book.make_default(principal, str(address_id)))


@router.delete(
    "/api/users/me/addresses/{address_id}",
    tags=[_ACCOUNT],
    status_code=204,
    summary="Delete an address",
    responses=responses(Unauthorized, AddressNotFound),
)
async def delete_address(address_id: uuid.UUID, principal: CurrentUser, book: AddressBookDep) -> None:
    """Deletes it; if it was the default, the newest other one becomes it."""
    await book.delete(principal, str(address_id))


@router.get(
    "/api/admin/customers",
    tags=[_ACCOUNT],
    summary="Find customers",
    response_model=FoundCustomers,
    responses=responses(Unauthorized, Forbidden),
)
async def find_customers(
    _: CurrentAdmin, session: ReadSessionDep, query: Annotated[CustomerQuery, Query()]
) -> FoundCustomers:
    """By the beginning of a word of their name, or of their email address; their id narrows other lists."""
    found = await Users(session).customers(query.q.strip(), limit=query.limit)
    return FoundCustomers(items=[FoundCustomer.model_validate(user) for user in found])
