"""Settings of the accounts service. The process that serves its routes inherits them."""

from pydantic import Field

from kit.settings import Settings


class AccountsSettings(Settings):
    """Passwords, sign-ins and their limits."""

    accounts_hash_concurrency: int = Field(
        default=2, ge=1, description="Passwords hashed at the same time (19 MiB each)."
    )
    accounts_hash_queue: int = Field(default=64, ge=0, description="Requests that may wait for a hash; more get 503.")
    accounts_hash_wait_seconds: float = Field(default=5.0, gt=0, description="Longest wait for a hash before 503.")

    accounts_refresh_token_seconds: int = Field(
        default=14 * 86_400, ge=60, description="Life of an unused refresh token: how long a customer may stay away."
    )
    accounts_sign_in_seconds: int = Field(
        default=90 * 86_400, ge=60, description="Life of a sign-in, however often it is refreshed."
    )
    accounts_refresh_grace_seconds: float = Field(
        default=10.0, ge=0, description="How long a rotated token still answers with its successor; 0: not at all."
    )
    accounts_sign_ins_per_user: int = Field(default=50, ge=1, description="Sign-ins kept; the oldest ones end.")

    accounts_login_limit_per_account: int = Field(default=10, ge=1, description="Failed logins in a row per account.")
    accounts_login_limit_per_address: int = Field(default=300, ge=1, description="Logins per client address.")
    accounts_login_account_window_seconds: int = Field(default=300, ge=1)
    accounts_login_address_window_seconds: int = Field(default=60, ge=1)
    accounts_register_limit_per_address: int = Field(default=60, ge=1, description="Registrations per client address.")
    accounts_register_window_seconds: int = Field(default=60, ge=1)

    accounts_addresses_per_user: int = Field(default=20, ge=1, description="Addresses that a customer may keep.")
