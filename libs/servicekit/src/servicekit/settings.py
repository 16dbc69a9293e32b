"""The settings that every service reads from its environment. A service subclasses them in its `config.py`."""

from typing import ClassVar, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Environment variables without a prefix, because each process has its own environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    service_name: ClassVar[str]
    """As in contracts: `people-sync`. Names the Kafka groups, the signing key and the source of events."""

    environment: str = "development"
    database_url: SecretStr
    """`postgresql+asyncpg://user:password@host:port/database`"""
    database_pool_size: int = Field(default=15, ge=1)
    """Maximum connections. They are opened when needed, and kept."""
    database_idle_in_transaction_seconds: float = Field(default=60.0, gt=0)
    """PostgreSQL ends a transaction that is idle for longer, and a wait for a lock after half of this, so that a
    process that is paused or lost does not keep rows locked that its successor must claim.
    """
    database_read_seconds: float = Field(default=10.0, gt=0)
    """PostgreSQL ends a GET's query after this time, when its caller no longer waits (`OWNER_TIMEOUT_SECONDS`)."""
    kafka_bootstrap_servers: str
    """`host:port`, several with commas."""
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8000, ge=0, le=65535)
    """0 takes any free port."""
    trusted_proxies: str = ""
    """Addresses or networks, separated by commas, whose `X-Forwarded-For` is trusted."""
    operator_host: str = "127.0.0.1"
    operator_port: int = Field(default=9000, ge=0, le=65535)
    """Port of `/livez`, `/readyz` and `/metrics`, for the operator's network only; 0 takes any free port."""
    http_body_seconds: float = Field(default=30.0, gt=0)
    """Time until the body of a request must be complete, plus a second per received 32 KiB; then 408."""
    http_body_budget_bytes: int = Field(default=64 * 1024 * 1024, ge=1024 * 1024)
    """Bytes that all request bodies of this process may hold at once; then 503."""
    log_format: Literal["json", "console"] = "json"
    log_level: str = "INFO"
    otel_exporter_otlp_endpoint: str | None = None
    """Traces are recorded only if this is set."""
    signing_key: SecretStr
    """This service's own private JWK (Ed25519) as JSON; `kid` is the service's name."""
    trusted_keys: str
    """JWKS of all services' public keys as JSON; `kid` is the service's name."""

    @field_validator("database_url")
    @classmethod
    def _asyncpg(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith("postgresql+asyncpg://"):
            # SQLAlchemy 2.1 takes a bare postgresql:// for psycopg 3.
            raise ValueError("must start with postgresql+asyncpg://")
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
            raise ValueError("must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
        return value.upper()
