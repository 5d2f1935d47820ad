"""What kept a request from being answered, as one of our failures: the sentence, and whether it may have arrived."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus

import requests
from urllib3.exceptions import ConnectTimeoutError, EmptyPoolError, NameResolutionError, NewConnectionError, ProxyError

from connector.dataverse.pooled_adapter import Unconnected
from connector.errors import NotSent, TransportError, Unanswered

_NEVER_CONNECTED = (
    Unconnected,
    EmptyPoolError,
    NewConnectionError,
    ConnectTimeoutError,
    requests.exceptions.ConnectTimeout,
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what it was made of.

    `__context__` is left out on purpose: inside a retry it leads to the failure of an earlier attempt.
    """
    queue, seen = [error], set[int]()
    while queue:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        parts = (*current.args, getattr(current, "reason", None), current.__cause__)
        queue.extend(part for part in parts if isinstance(part, BaseException))


def transport_failure(error: BaseException, host: str) -> TransportError:
    """Return the failure of sending to `host` as one of ours."""
    causes = list(_causes(error))
    if any(isinstance(cause, _NEVER_CONNECTED) for cause in causes):
        return _not_sent(causes, host)
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        # Raised by requests before connecting: the CA file cannot be read.
        return _lasting(NotSent(f"No request was sent to {host}: {error}.", remedy="Check DATAVERSE_CA_FILE."))
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidProxyURL):
        return _lasting(NotSent(f"No request was sent: {error}.", remedy="Check DATAVERSE_URL and DATAVERSE_PROXY."))
    if isinstance(error, requests.exceptions.ReadTimeout):
        return Unanswered(
            f"{host} did not answer in time.",
            remedy="It may have been carried out: look again; DATAVERSE_READ_TIMEOUT sets how long to wait.",
        )
    return Unanswered(
        f"The connection to {host} was lost before an answer came.", remedy="It may have been carried out: look again."
    )


_UNCONNECTED_BECAUSE: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str, str], ...] = (
    (
        ssl.SSLError,
        "no TLS connection could be made with {host}.",
        "Check that DATAVERSE_URL names a host and port that speak https, and DATAVERSE_PROXY.",
    ),
    (
        (NameResolutionError, socket.gaierror),
        "the host {host} is not known.",
        "Check DATAVERSE_URL for a typing error (and DATAVERSE_AUTHORITY, if it is set), and your network.",
    ),
    (
        ConnectionRefusedError,
        "{host} refused the connection.",
        "Check host and port in DATAVERSE_URL (and DATAVERSE_AUTHORITY, if it is set), and whether it is running.",
    ),
    (
        (TimeoutError, ConnectTimeoutError),
        "{host} could not be reached in time.",
        "Check your network, firewall and DATAVERSE_PROXY.",
    ),
)
"""What kept a connection from being made, what to say of it, and what to do; the first that fits.

In urllib3 every failure to connect is also a ConnectTimeoutError, so that comes last.
"""


def _not_sent(causes: list[BaseException], host: str) -> NotSent:
    """Return the sentence for a connection that was never made, from the most telling of its causes."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _distrusted(cause, host)
        if isinstance(cause, ssl.SSLError) and cause.library in ("X509", "PEM"):
            return _lasting(
                NotSent(
                    "Nothing was sent: the file of certificate authorities holds no certificate that can be read.",
                    remedy="Check DATAVERSE_CA_FILE (or REQUESTS_CA_BUNDLE): it must be PEM text, with BEGIN "
                    "CERTIFICATE in it.",
                )
            )
    if any(isinstance(cause, ProxyError) for cause in causes):
        return _no_way(causes, host)
    for kinds, why, remedy in _UNCONNECTED_BECAUSE:
        if any(isinstance(cause, kinds) for cause in causes):
            return NotSent(f"Nothing was sent: {why.format(host=host)}", remedy=remedy)
    return NotSent(f"Nothing was sent: no connection to {host} could be made.", remedy="Check DATAVERSE_URL.")


_OUT_OF_DATE = frozenset({9, 10})
_OTHER_NAME = frozenset({62, 64})
"""OpenSSL's verification results: not yet valid, expired; another host name, another address (x509_vfy.h)."""


def _distrusted(error: ssl.SSLCertVerificationError, host: str) -> NotSent:
    remedy = (
        "Name the PEM file of its certificate authority in DATAVERSE_CA_FILE; behind a proxy that looks into TLS that "
        "is the proxy's authority."
    )
    if error.verify_code in _OUT_OF_DATE:
        remedy = "Check this machine's clock; if it is right, the owner of the host must renew the certificate."
    elif error.verify_code in _OTHER_NAME:
        remedy = "Check that DATAVERSE_URL has the host's own name, and that no proxy stands in for it."
    why = f"Nothing was sent: the certificate of {host} is not trusted ({error.verify_message.rstrip('.')})."
    return _lasting(NotSent(why, remedy=remedy))


_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")  # the words of the standard library's http.client


def _no_way(causes: list[BaseException], host: str) -> NotSent:
    """Return the sentence for a proxy that was not reached, wants something, or does not let us through."""
    refusals = (_TUNNEL.search(str(cause)) for cause in causes)
    status = next((int(refusal[1]) for refusal in refusals if refusal), 0)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        remedy = (
            "Put them into DATAVERSE_PROXY, as in http://user:password@proxy.example.com:8080, or have the proxy let "
            "this machine through without."
        )
        return _lasting(NotSent("Nothing was sent: the proxy needs a user name and a password.", remedy=remedy))
    if status:
        failure = NotSent(
            f"Nothing was sent: the proxy gave no way to {host} (it answered {status}).",
            remedy="Have the proxy let this host through, or list it in NO_PROXY if it can be reached directly.",
        )
        return failure if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _lasting(failure)
    return NotSent(
        f"Nothing was sent: the proxy on the way to {host} could not be reached.",
        remedy="Check DATAVERSE_PROXY (or HTTPS_PROXY and NO_PROXY).",
    )


def _lasting(failure: NotSent) -> NotSent:
    """Return `failure`, marked as one that trying again cannot mend."""
    failure.transient = False
    return failure
