"""Keys and secrets are created once."""

import json
from pathlib import Path

from cryptography.fernet import Fernet
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey

from local_stack.credentials import load_credentials
from local_stack.stack import SERVICES


def test_made_once_kept_private_and_completed_for_a_new_service(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    first = load_credentials(path, SERVICES[:2])
    second = load_credentials(path, SERVICES)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (first.token_encryption_key, first.pco_client_secret) == (
        second.token_encryption_key,
        second.pco_client_secret,
    )
    assert second.signing_keys.items() >= first.signing_keys.items()
    assert load_credentials(path, SERVICES) == second
    Fernet(second.token_encryption_key)


def test_every_service_is_known_to_all_by_its_public_key_alone(tmp_path: Path) -> None:
    credentials = load_credentials(tmp_path / "credentials.json", SERVICES)
    trusted = json.loads(credentials.trusted_keys)
    assert [key["kid"] for key in trusted["keys"]] == list(SERVICES)
    assert not any("d" in key for key in trusted["keys"])
    for service in SERVICES:
        key = OKPKey.import_key(json.loads(credentials.signing_key(service)))
        token = jwt.encode({"alg": "Ed25519", "kid": service}, {"sub": service}, key, algorithms=["Ed25519"])
        decoded = jwt.decode(token, KeySet.import_key_set(trusted), algorithms=["Ed25519"])
        assert decoded.claims["sub"] == service
