"""Tokens of the person who is signed in to the Azure CLI.

Source: learn.microsoft.com/cli/azure/account (`az account get-access-token`, whose answer has `accessToken` and, in
seconds since 1970, `expires_on`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from connector.clock import Clock
from connector.dataverse.sign_in.token_cache import TokenCache
from connector.errors import SignInError

DEADLINE = 60.0
"""Seconds for which the Azure CLI is waited for; it may itself renew a token over the network."""


def azure_cli_tokens(base_url: str, tenant: str, clock: Clock) -> TokenCache:
    """Return the token source of who is signed in to the Azure CLI, in `tenant` (empty: the one chosen there)."""

    def acquire(claims: str, _renew: bool) -> Mapping[str, Any]:
        login = f"az login{f' --tenant {tenant}' if tenant else ''}"
        if claims:
            raise SignInError("The organization asks for a new sign-in.", remedy=f"Run `{login}`, then this again.")
        answer = _cli_answer(["--resource", base_url, *(["--tenant", tenant] if tenant else [])], login)
        seconds = float(answer["expires_on"]) - clock.now().timestamp()
        return {"access_token": str(answer["accessToken"]), "expires_in": max(0.0, seconds)}

    return TokenCache(acquire, clock)


def _cli_answer(arguments: list[str], login: str) -> Mapping[str, Any]:
    """Return what the Azure CLI answers. Raises SignInError."""
    if (program := shutil.which("az")) is None:
        raise SignInError("The Azure CLI (az) is not on the path.", remedy="Install it, or sign in another way.")
    try:
        done = subprocess.run(
            [program, "account", "get-access-token", "--output", "json", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # on Windows it speaks in the code page of the machine
            timeout=DEADLINE,
            check=False,
        )
        if done.returncode:
            output = " ".join(done.stderr.split())[-300:]
            raise SignInError(f"The Azure CLI gave no token: {output or 'it said nothing'}", remedy=f"Run `{login}`.")
        answer: Mapping[str, Any] = json.loads(done.stdout)
        float(answer["expires_on"]), answer["accessToken"]
    except subprocess.TimeoutExpired:
        raise SignInError(f"The Azure CLI gave no token in {DEADLINE:.0f} s.", remedy=f"Run `{login}`.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SignInError(
            "The Azure CLI answered in a way that is not understood.", remedy="Update it: az upgrade."
        ) from error
    return answer
