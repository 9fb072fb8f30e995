"""How this user and machine want registries to be met: ``registries.json``, and certificates in ``certs.d``.

The first of these files counts, whole: ``$KERNEL_SANDBOX_REGISTRIES``,
``$XDG_CONFIG_HOME/kernel-sandbox/registries.json`` (``~/.config``), ``/etc/kernel-sandbox/registries.json``.

Certificates are found as Docker finds them, in ``certs.d/HOST[:PORT]`` of ``$XDG_CONFIG_HOME/kernel-sandbox``,
``$XDG_CONFIG_HOME/docker`` and ``/etc/docker``: ``*.crt`` are authorities to trust besides the machine's, ``NAME.cert``
with ``NAME.key`` say who one is.

What the file may say is ``spec.registry_settings``; what the environment says of proxies is ``spec.proxies``.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator, Mapping

import msgspec

from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec import registry_settings
from kernel_sandbox.spec.proxies import proxy_to
from kernel_sandbox.spec.registry_settings import RegistrySettings

_NAME = "kernel-sandbox"
_FILE = "registries.json"
_MAX_FILE = 1 << 20


class Certificates(msgspec.Struct, frozen=True):
    """Files for one registry: ``authorities`` to trust besides the machine's, ``clients`` as (certificate, key)."""

    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()


class Settings:
    """What is set for registries. The file is read once, when it is opened."""

    def __init__(self, document: RegistrySettings, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment

    @classmethod
    def open(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings by the caller's environment; usual ones where no file is. Raises SandboxError."""
        for path in _files(environment):
            if (content := _read(path)) is not None:
                try:
                    return cls(registry_settings.decode(content), environment)
                except UsageError as error:
                    raise SandboxError(f"cannot use {path}: {error}") from None
        if chosen := environment.get("KERNEL_SANDBOX_REGISTRIES"):
            raise SandboxError(f"cannot read {chosen}, which KERNEL_SANDBOX_REGISTRIES names: no such file")
        return cls(RegistrySettings(), environment)

    @property
    def downloads(self) -> int:
        """How many blobs are fetched at the same time."""
        return self._document.max_concurrent_downloads

    @property
    def uploads(self) -> int:
        """How many blobs are sent at the same time."""
        return self._document.max_concurrent_uploads

    def with_insecure(self, domain: str) -> Settings:
        """The same, where this registry is insecure too."""
        entries = (*self._document.insecure_registries, domain)
        return Settings(msgspec.structs.replace(self._document, insecure_registries=entries), self._environment)

    def is_insecure(self, domain: str) -> bool:
        """Whether a registry may be met without TLS, or with a certificate that nobody vouches for."""
        return self._document.is_insecure(domain)

    def mirrors(self, domain: str) -> tuple[str, ...]:
        """The addresses to ask, in this order, before the registry itself, as ``https://host[:port]``."""
        return self._document.mirrors(domain)

    def proxy(self, scheme: str, host: str, port: int) -> str:
        """The address of the proxy that leads to a server; "" where there is none to be used."""
        return proxy_to(self._environment, scheme, host, port)

    def tls(self, domain: str) -> Certificates:
        """The certificates that lie ready for a registry. Raises SandboxError for one without key, or a key alone."""
        if "/" in domain or domain.startswith("."):
            return Certificates()
        authorities: list[str] = []
        clients: list[tuple[str, str]] = []
        for base in _certificate_directories(self._environment):
            directory = os.path.join(base, "certs.d", domain)
            names = _listed(directory)
            authorities += (os.path.join(directory, name) for name in names if name.endswith(".crt"))
            clients += _pairs(directory, names)
        return Certificates(tuple(authorities), tuple(clients))

    def ssl_context(self, domain: str, registry: str = "") -> ssl.SSLContext:
        """TLS as a server is to be met with. Raises SandboxError for a certificate that cannot be used.

        The authorities of the *registry* that leads to it are trusted besides its own, as by Docker. SSL_CERT_FILE and
        SSL_CERT_DIR take the place of the machine's authorities, as everywhere.
        """
        found = self.tls(domain)
        others = self.tls(registry).authorities if registry not in ("", domain) else ()
        context = self._unverifying() if self.is_insecure(domain) else self._trusting((*found.authorities, *others))
        for certificate, key in found.clients:
            with _usable(f"{certificate} with {os.path.basename(key)}"):
                context.load_cert_chain(certificate, key, password="")  # else OpenSSL asks for one on the terminal
        return context

    @staticmethod
    def _unverifying() -> ssl.SSLContext:
        """Without authorities, which take longer to load than an image that is here takes to be found so."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def _trusting(self, authorities: tuple[str, ...]) -> ssl.SSLContext:
        file, directory = (self._environment.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
        if not file and not directory:
            context = ssl.create_default_context() if _machine_has_authorities() else _with_httpx_authorities()
        else:
            with _usable(str(file or directory)):
                context = ssl.create_default_context(cafile=file, capath=directory)
        for path in authorities:
            with _usable(path):
                context.load_verify_locations(path)
        return context


def _files(environment: Mapping[str, str]) -> Iterator[str]:
    if chosen := environment.get("KERNEL_SANDBOX_REGISTRIES"):
        yield chosen
        return
    yield os.path.join(_config_home(environment), _NAME, _FILE)
    yield os.path.join("/etc", _NAME, _FILE)


def _certificate_directories(environment: Mapping[str, str]) -> tuple[str, ...]:
    home = _config_home(environment)
    return os.path.join(home, _NAME), os.path.join(home, "docker"), "/etc/docker"


def _config_home(environment: Mapping[str, str]) -> str:
    home = environment.get("HOME") or os.path.expanduser("~")
    return environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")


def _read(path: str) -> bytes | None:
    """The file's content; None where there is none. Raises SandboxError."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SandboxError(f"cannot read {path}: {(error.strerror or '').lower()}") from error
    if len(content) > _MAX_FILE:
        raise SandboxError(f"cannot use {path}: it has more than {_MAX_FILE} bytes")
    return content


def _listed(directory: str) -> tuple[str, ...]:
    """The directory's names; none where it cannot be read, as for an ordinary user may be in /etc."""
    with contextlib.suppress(OSError):
        return tuple(sorted(os.listdir(directory)))
    return ()


def _pairs(directory: str, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each ``NAME.cert`` with its ``NAME.key``. Raises SandboxError, in Docker's words."""
    for name in names:
        stem, _, kind = name.rpartition(".")
        if kind == "cert":
            if f"{stem}.key" not in names:
                raise SandboxError(
                    f"missing key {stem}.key for client certificate {name} in {directory}."
                    " CA certificates must use the extension .crt"
                )
            yield os.path.join(directory, name), os.path.join(directory, f"{stem}.key")
        elif kind == "key" and f"{stem}.cert" not in names:
            raise SandboxError(f"missing client certificate {stem}.cert for key {name} in {directory}")


def _machine_has_authorities() -> bool:
    """A small container, or a Python that was built elsewhere, may find none."""
    found = ssl.get_default_verify_paths()
    return bool(found.cafile or (found.capath and _listed(found.capath)))


def _with_httpx_authorities() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context(trust_env=False)


@contextlib.contextmanager
def _usable(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or ""
        if isinstance(error, ssl.SSLError):
            reason = (error.reason or "it is none, or locked by a password").replace("_", " ")
        raise SandboxError(f"cannot use the certificate {path}: {reason.lower()}") from error
