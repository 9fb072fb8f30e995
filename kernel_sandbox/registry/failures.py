"""What went wrong with a request, in one line: the network's failures, and a registry's refusals in Docker's words.

Not here: what to do about them.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import Iterable, Iterator

import httpx

from kernel_sandbox.errors import CorruptContent, RegistryError, Unauthorized
from kernel_sandbox.spec import distribution
from kernel_sandbox.spec.challenge import Challenge

_LONGEST = 500
_UNAUTHORIZED = frozenset(("UNAUTHORIZED", "DENIED"))
_WRONG_TOKENS = {
    "insufficient_scope": distribution.Failure("DENIED", "requested access to the resource is denied"),
    "invalid_token": distribution.Failure("UNAUTHORIZED", "authentication required"),
}


class Unreachable(RegistryError):
    """There was no answer, or not all of it.

    *passing* tells that it may be there another time, *connecting* that nothing has been sent yet.
    """

    def __init__(self, host: str, why: str, passing: bool = False, connecting: bool = False) -> None:
        super().__init__(f"cannot reach {host}: {why}" if connecting else f"cannot talk to {host}: {why}")
        self.passing = passing
        self.connecting = connecting


@contextlib.contextmanager
def unreachable(host: str, known: bool = True) -> Iterator[None]:
    """Around what httpx does with *host*, which has answered before if it is *known*: raises Unreachable."""
    try:
        yield
    except (httpx.TransportError, httpx.StreamError, httpx.InvalidURL, httpx.DecodingError) as error:
        connecting = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError)
        why, passing = _reason(error, host, known)
        raise Unreachable(host, why, passing, connecting) from None
    except UnicodeError:  # of a name that the system cannot even ask for
        raise Unreachable(host, "no such host: check its name", connecting=True) from None


def _reason(error: Exception, host: str, known: bool) -> tuple[str, bool]:
    """In words, with what to do, and whether it may pass."""
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time", True
    if isinstance(error, httpx.ProxyError):
        return f"the proxy refuses: {error}", False
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        place = f"put the certificate of its authority into certs.d/{host}/ca.crt"
        return f"its certificate is not trusted ({cause.verify_message}): {place}", False
    if isinstance(cause, ssl.SSLError):
        reason = (cause.reason or str(cause)).lower().replace("_", " ")
        if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
            place = f"put one that it knows into certs.d/{host}, as client.cert with client.key"
            return f"it wants another client certificate ({reason}): {place}", False
        return f"no TLS ({reason}): to do without, list it in insecure-registries", False
    if isinstance(cause, socket.gaierror):
        return "no such host: check its name, and the network", cause.errno == socket.EAI_AGAIN and known
    if isinstance(cause, OSError):
        return (cause.strerror or str(cause)).lower(), known or cause.errno == errno.ECONNRESET
    broken = isinstance(error, httpx.RemoteProtocolError | httpx.NetworkError)
    return ("the connection broke" if broken else str(error) or type(error).__name__), broken


def _cause(error: BaseException) -> BaseException:
    """The operating system's error behind it, if there is one."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, OSError):
            return each
        each = each.__cause__ or each.__context__
    return error


def refusal(host: str, status: int, content: bytes, challenges: Iterable[Challenge] = ()) -> RegistryError:
    """The error that an answer stands for which is not the expected one.

    What is wrong with a token is in the *challenges* that come with it (RFC 6750, section 3.1).
    """
    named = (_WRONG_TOKENS.get(each.parameters.get("error", "")) for each in challenges if each.scheme == "bearer")
    failure = next(filter(None, named), None) or _first_failure(content)
    if failure:
        text = _short(str(failure))
    elif status == 401:
        text = "unauthorized: authentication required"
    else:
        text = f"received unexpected HTTP status: {status} {_phrase(status)}".rstrip() + f" from {host}"
    kind = Unauthorized if status == 401 or (failure and failure.code in _UNAUTHORIZED) else RegistryError
    return kind(text, status, failure.code if failure else "")


def service_refusal(host: str, status: int, content: bytes) -> RegistryError:
    """The error of a token service: it speaks as a registry does, or as a service of OAuth 2."""
    error = refusal(host, status, content)
    try:
        said = str(distribution.decode(distribution.ServiceFailure, content))
    except CorruptContent:
        said = ""
    if error.code or not said:
        return error
    if status in (400, 401):
        return Unauthorized(f"unauthorized: {_short(said)}", status)
    return RegistryError(f"{host} gives no token: {_short(said)}", status)


def _first_failure(content: bytes) -> distribution.Failure | None:
    try:
        failures = distribution.decode(distribution.Failures, content).errors or ()
    except CorruptContent:
        return None
    return next((each for each in failures if str(each)), None)


def _phrase(status: int) -> str:
    return httpx.codes.get_reason_phrase(status)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
