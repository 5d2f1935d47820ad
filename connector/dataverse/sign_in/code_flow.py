"""Signs a person in at a web page: the authorization code flow with PKCE, state and nonce, made and checked by MSAL.

Source: "Microsoft identity platform and OAuth 2.0 authorization code flow" (Microsoft Learn).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from connector.dataverse.sign_in import auth
from connector.dataverse.sign_in.sign_in_errors import explain
from connector.errors import SignInError
from connector.handler import Handler


class CodeFlow:
    """The sign-in of a registration's web page. Only an ID token is asked for; no token for an API is kept."""

    def __init__(
        self, registration: auth.Registration, credential: Callable[[], auth.Credential], http: Handler
    ) -> None:
        self._client = auth.confidential_client(registration, credential, http)

    def begin(self, redirect_uri: str, prompt: str = "") -> dict[str, Any]:
        """Return the flow: its `auth_uri` is where the browser goes, and `finish` needs all of it again.

        `prompt` is what the sign-in service must ask, as in `select_account`. The answer comes as a form, so that no
        code stays in an address (RFC 9700, 4.3.1). Raises SignInError.
        """
        client = self._client()
        begin = functools.partial(client.initiate_auth_code_flow, [], redirect_uri=redirect_uri, prompt=prompt or None)
        return dict(auth.asking(lambda: begin(response_mode="form_post")))

    def finish(self, flow: Mapping[str, Any], answer: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the claims of the person's ID token; `answer` is the form it came as. Raises SignInError.

        The token comes from the token endpoint over TLS, which stands for its signature (OpenID Connect Core, 3.1.3.7).
        """
        client = self._client()

        def redeem() -> Any:
            try:
                return client.acquire_token_by_auth_code_flow(dict(flow), dict(answer))
            except json.JSONDecodeError:
                raise
            except (ValueError, RuntimeError) as error:  # what MSAL raises for a wrong state, nonce or ID token
                raise SignInError("The answer does not belong to this sign-in.", remedy="Sign in again.") from error

        result = auth.asking(redeem)
        claims = result.get("id_token_claims") if isinstance(result, Mapping) else None
        if not isinstance(claims, Mapping):
            raise explain(result)
        return claims
