"""Clients without much patience, and names for loopback that no setting calls insecure."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.adversary import Adversary, adversary
from support.certificates import certificates

from kernel_sandbox.registry.client import Registries
from kernel_sandbox.registry.credentials import Credentials
from kernel_sandbox.registry.patience import Patience
from kernel_sandbox.registry.settings import Settings

HURRIED = Patience(first_wait=0.002, longest_wait=0.01, silence=0.4, answer=0.6, document=0.6, window=0.2, total=3)


@pytest.fixture
def server() -> Iterator[Adversary]:
    with adversary() as bench:
        yield bench


@pytest.fixture(scope="package")
def private_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adversary]:
    directory = tmp_path_factory.mktemp("certificates")
    certificates(directory)
    with adversary(tls=directory, name="registry.test") as bench:
        yield bench


@pytest.fixture
def private(private_bench: Adversary, names: None) -> Adversary:
    """A server with TLS that has to be trusted: its name is not loopback's."""
    private_bench.behave()
    private_bench.seen.clear()
    return private_bench


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """``*.test`` is this machine."""
    real = socket.getaddrinfo

    def resolve(host, *args, **kwargs):
        return real("127.0.0.1" if str(host).endswith(".test") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., Registries]]:
    """``client(trusting=ca, logins={host: {…}}, insecure_registries=[…])``: one with an environment of its own.

    ``proxies`` are variables of that.
    """
    opened: list[Registries] = []

    def make(trusting=None, logins=None, patience=HURRIED, proxies=(), **settings) -> Registries:
        (tmp_path / "registries.json").write_text(
            json.dumps({name.replace("_", "-"): value for name, value in settings.items()})
        )
        (tmp_path / "config.json").write_text(json.dumps({"auths": logins or {}}))
        environment = {
            "HOME": str(tmp_path),
            "DOCKER_CONFIG": str(tmp_path),
            "KERNEL_SANDBOX_REGISTRIES": str(tmp_path / "registries.json"),
            **({"SSL_CERT_FILE": str(trusting)} if trusting else {}),
            **dict(proxies),
        }
        opened.append(Registries(Settings.open(environment), Credentials(environment), patience))
        return opened[-1]

    yield make
    for each in opened:
        each.close()
