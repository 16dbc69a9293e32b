"""What every service reads from its environment. A service subclasses it in its `config.py`."""

from typing import ClassVar, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Environment variables without a prefix: each process has an environment of its own."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    service_name: ClassVar[str]
    """As in contracts: `people-sync`. Names the Kafka groups, the signing key and the source of events."""

    environment: str = "development"
    database_url: SecretStr
    """`postgresql+asyncpg://user:password@host:port/database`"""
    database_pool_size: int = Field(default=15, ge=1)
    """Connections at most, made when they are needed, and kept."""
    database_idle_in_transaction_seconds: float = Field(default=60.0, gt=0)
    """PostgreSQL ends a transaction in which nothing happens for so long, and a wait for a lock after half of it: a
    process that is paused, or whose machine is gone, must not keep rows locked that its successor has to claim."""
    database_read_seconds: float = Field(default=10.0, gt=0)
    """PostgreSQL ends a query of a GET after so long: nobody waits for it any more (`OWNER_TIMEOUT_SECONDS`)."""
    kafka_bootstrap_servers: str
    """`host:port`, several with commas."""
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8000, ge=0, le=65535)
    """0 takes any free port."""
    trusted_proxies: str = ""
    """Addresses or networks, with commas, whose `X-Forwarded-For` names the caller. Others' is not believed."""
    operator_host: str = "127.0.0.1"
    operator_port: int = Field(default=9000, ge=0, le=65535)
    """`/livez`, `/readyz` and `/metrics`; 0 takes any free port. For the operator's network alone."""
    http_body_seconds: float = Field(default=30.0, gt=0)
    """For the body of a request to be complete, and one more for each 32 KiB that have come; then 408."""
    http_body_budget_bytes: int = Field(default=64 * 1024 * 1024, ge=1024 * 1024)
    """What the bodies of all requests of this process may hold at the same time; then 503."""
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
            # A bare postgresql:// means psycopg 3 to SQLAlchemy 2.1.
            raise ValueError("must start with postgresql+asyncpg://")
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
            raise ValueError("must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
        return value.upper()
