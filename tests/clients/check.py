"""Checks a running Signet with libraries that know nothing of it: PyJWT for the signature, Authlib as an OAuth client.

Usage: check.py ALGORITHM ISSUER ANSWER.json
Prints a line for each check: `ok NAME`, or `FAIL NAME: REASON`.
"""

import base64
import json
import os
import subprocess
import sys

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, JsonWebToken

ALGORITHM, ISSUER, ANSWER = sys.argv[1:]
AUDIENCE = "https://api.demo.example"
CLIENT_ID, CLIENT_SECRET = os.environ["SIGNET_TEST_CREDENTIALS"].split(":")
METADATA = requests.get(ISSUER + "/.well-known/oauth-authorization-server", timeout=10).json()
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def verify(token, audience=AUDIENCE, issuer=ISSUER):
    """The claims of a token, by PyJWT and the published keys."""
    key = jwt.PyJWKClient(METADATA["jwks_uri"]).get_signing_key_from_jwt(token)
    return jwt.decode(token, key.key, algorithms=[ALGORITHM], audience=audience, issuer=issuer)


def refuses(what, error):
    try:
        what()
    except error:
        return
    raise AssertionError("accepted")


def session(method="client_secret_basic"):
    return OAuth2Session(CLIENT_ID, CLIENT_SECRET, token_endpoint_auth_method=method, scope="read")


def introspect(client, token):
    answer = client.introspect_token(METADATA["introspection_endpoint"], token=token)
    answer.raise_for_status()
    return answer.json()


def answered_token():
    with open(ANSWER, encoding="utf-8") as file:
        return json.load(file)["access_token"]


@check
def metadata_names_this_issuer():
    assert METADATA["issuer"] == ISSUER
    openid = requests.get(ISSUER + "/.well-known/openid-configuration", timeout=10).json()
    assert openid["jwks_uri"] == METADATA["jwks_uri"]


@check
def curls_token_verifies_in_pyjwt():
    token = answered_token()
    header, claims = jwt.get_unverified_header(token), verify(token)
    assert (header["alg"], header["typ"]) == (ALGORITHM, "at+jwt"), header
    assert claims["sub"] == claims["client_id"] == CLIENT_ID, claims
    assert claims["scope"] == "read" and claims["exp"] > claims["iat"], claims


@check
def curls_token_verifies_in_authlib():
    keys = JsonWebKey.import_key_set(requests.get(METADATA["jwks_uri"], timeout=10).json())
    claims = JsonWebToken([ALGORITHM]).decode(answered_token(), keys)
    claims.validate()
    assert claims["aud"] in (AUDIENCE, [AUDIENCE]), claims


@check
def pyjwt_refuses_what_was_changed():
    head, body, signature = answered_token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["scope"] = "read write"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    refuses(lambda: verify(f"{head}.{forged}.{signature}"), jwt.InvalidSignatureError)
    refuses(lambda: verify(answered_token(), audience="https://other.example"), jwt.InvalidAudienceError)
    refuses(lambda: verify(answered_token(), issuer="https://other.example"), jwt.InvalidIssuerError)


@check
def authlib_gets_tokens_by_both_client_authentications():
    for method in ("client_secret_basic", "client_secret_post"):
        token = session(method).fetch_token(METADATA["token_endpoint"], grant_type="client_credentials")
        assert token["token_type"] == "Bearer" and token["expires_in"] > 0, token
        verify(token["access_token"])


@check
def authlib_introspects_and_revokes():
    client = session()
    token = client.fetch_token(METADATA["token_endpoint"], grant_type="client_credentials")["access_token"]
    active = introspect(client, token)
    assert active["active"] and active["client_id"] == CLIENT_ID, active
    client.revoke_token(METADATA["revocation_endpoint"], token=token, token_type_hint="access_token").raise_for_status()
    assert introspect(client, token) == {"active": False}


@check
def authlib_reads_the_errors():
    client = OAuth2Session(CLIENT_ID, "wrong", scope="read")
    try:
        client.fetch_token(METADATA["token_endpoint"], grant_type="client_credentials")
    except Exception as error:  # Authlib has a class of its own for each error code.
        assert getattr(error, "error", None) == "invalid_client", repr(error)
    else:
        raise AssertionError("a wrong secret was accepted")


@check
def a_person_signs_in_refreshes_and_is_revoked():
    code = subprocess.run(
        ["oathtool", "--totp", "-b", os.environ["SIGNET_TEST_SEED"]], check=True, capture_output=True, text=True
    ).stdout.strip()
    client = session()
    first = client.fetch_token(
        METADATA["token_endpoint"],
        grant_type="password",
        username="demo",
        password=os.environ["SIGNET_TEST_PASSWORD"],
        otp=code,
    )
    claims = verify(first["access_token"])
    assert {"pwd", "otp", "mfa"} <= set(claims["amr"]) and claims["acr"] and claims["auth_time"], claims
    second = client.refresh_token(METADATA["token_endpoint"], refresh_token=first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    assert verify(second["access_token"])["sub"] == claims["sub"]
    client.revoke_token(METADATA["revocation_endpoint"], token=second["refresh_token"]).raise_for_status()
    assert introspect(client, second["access_token"]) == {"active": False}


def main():
    # A code works once, and the next one comes in half a minute: people sign in for the first algorithm alone.
    wanted = [one for one in CHECKS if ALGORITHM == "ES256" or one is not a_person_signs_in_refreshes_and_is_revoked]
    for function in wanted:
        name = f"{ALGORITHM} {function.__name__}"
        try:
            function()
            print(f"ok {name}")
        except Exception as error:
            print(f"FAIL {name}: {error!r}".replace("\n", " "))


if __name__ == "__main__":
    main()
