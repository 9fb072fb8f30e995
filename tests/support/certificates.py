"""A certificate authority of a test's own, and a server's certificate by it, made with `openssl`."""

import subprocess
from pathlib import Path

HOSTS = ("registry.test", "token.test", "storage.test")
NAMES = f"subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost,{','.join(f'DNS:{host}' for host in HOSTS)}"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = ("-days", "2")
_AUTHORITY = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")


def certificates(directory: Path) -> Path:
    """Make ``ca.crt``, and ``server.crt`` with ``server.key`` for loopback and ``HOSTS``; return the first."""
    itself = ("-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")
    _openssl(directory, "req", "-x509", *_NEW_KEY, *_DAYS, *itself, *_AUTHORITY)
    _openssl(directory, "req", *_NEW_KEY, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=registry")
    (directory / "names").write_text(f"{NAMES}\nbasicConstraints=CA:FALSE\n")
    signed = ("-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    _openssl(directory, "x509", "-req", *signed, *_DAYS, "-extfile", "names", "-out", "server.crt")
    return directory / "ca.crt"


def _openssl(directory: Path, *args: str) -> None:
    subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True, timeout=20)
