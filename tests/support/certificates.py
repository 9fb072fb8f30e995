"""A certificate authority of a test's own, and a server's and a client's certificate by it, made with `openssl`."""

import subprocess
from pathlib import Path

HOSTS = ("registry.test", "token.test", "storage.test")
NAMES = f"subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost,{','.join(f'DNS:{host}' for host in HOSTS)}"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = ("-days", "2")
_AUTHORITY = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")


def certificates(directory: Path) -> Path:
    """Make ``ca.crt``, ``server.crt`` with ``server.key`` for loopback and ``HOSTS``; return the first."""
    itself = ("-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")
    _openssl(directory, "req", "-x509", *_NEW_KEY, *_DAYS, *itself, *_AUTHORITY)
    _signed(directory, "server", f"{NAMES}\nbasicConstraints=CA:FALSE\n")
    return directory / "ca.crt"


def client_certificate(directory: Path, name: str = "client") -> tuple[Path, Path]:
    """Make a certificate for who asks, by the authority in ``directory``; return its path and its key's."""
    _signed(directory, name, "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n")
    return directory / f"{name}.crt", directory / f"{name}.key"


def _signed(directory: Path, name: str, extensions: str) -> None:
    _openssl(directory, "req", *_NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    (directory / "extensions").write_text(extensions)
    signed = ("-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    _openssl(directory, "x509", "-req", *signed, *_DAYS, "-extfile", "extensions", "-out", f"{name}.crt")


def _openssl(directory: Path, *args: str) -> None:
    subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True, timeout=20)
