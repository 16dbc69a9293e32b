"""Keys and secrets of one state directory, created once and stored in a private file."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from joserfc.jwk import OKPKey

from servicekit.local.process import RememberedFile


@dataclass(frozen=True, slots=True)
class Credentials:
    """Secrets of the processes of one stack."""

    signing_keys: dict[str, dict[str, Any]]
    """Private JWK (Ed25519) by service, `kid` = the service."""
    token_encryption_key: str
    """Fernet key of auth-service."""
    webhook_encryption_key: str
    """Fernet key of webhook-gateway."""
    pco_client_id: str
    pco_client_secret: str
    """The product's own OAuth application at the simulator."""

    @property
    def trusted_keys(self) -> str:
        """JWKS of all services' public keys, as JSON."""
        public = [OKPKey.import_key(key).as_dict(private=False) for key in self.signing_keys.values()]
        return json.dumps({"keys": public})

    def signing_key(self, service: str) -> str:
        """The private JWK of ``service``, as JSON."""
        return json.dumps(self.signing_keys[service])


def load_credentials(path: Path, services: Sequence[str]) -> Credentials:
    """The credentials stored in ``path``; missing ones are created and stored."""
    file = RememberedFile(path)
    kept = file.read()
    keys = kept.get("signing_keys")
    known: dict[str, dict[str, Any]] = keys if isinstance(keys, dict) else {}
    credentials = Credentials(
        signing_keys={service: known.get(service) or _signing_key(service) for service in services},
        token_encryption_key=_text(kept, "token_encryption_key") or Fernet.generate_key().decode(),
        webhook_encryption_key=_text(kept, "webhook_encryption_key") or Fernet.generate_key().decode(),
        pco_client_id=_text(kept, "pco_client_id") or secrets.token_hex(32),
        pco_client_secret=_text(kept, "pco_client_secret") or f"pco_app_{secrets.token_hex(32)}",
    )
    file.write(
        {
            "signing_keys": {**known, **credentials.signing_keys},
            "token_encryption_key": credentials.token_encryption_key,
            "webhook_encryption_key": credentials.webhook_encryption_key,
            "pco_client_id": credentials.pco_client_id,
            "pco_client_secret": credentials.pco_client_secret,
        }
    )
    return credentials


def _signing_key(service: str) -> dict[str, Any]:
    return dict(OKPKey.generate_key("Ed25519", parameters={"kid": service}, private=True).as_dict(private=True))


def _text(kept: dict[str, object], name: str) -> str:
    value = kept.get(name)
    return value if isinstance(value, str) else ""
