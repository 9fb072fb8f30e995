"""Pulls and pushes in this process, with the patience and the settings of a test's choice, and what a store holds."""

import json
import os
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kernel_sandbox.engine import Engine
from kernel_sandbox.engine.transfers import Transfers
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.registry.client import Registries
from kernel_sandbox.registry.credentials import Credentials
from kernel_sandbox.registry.patience import Patience
from kernel_sandbox.registry.settings import Settings
from kernel_sandbox.spec import reference as references
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.progress import Progress, Tell, tell_nobody
from kernel_sandbox.storage.state import State
from support.blobs import RemoteImage
from support.store import Store
from support.waiting import wait_until

# A hundred times less patient than the product, so that giving up takes no time.
QUICK = Patience(
    retries=3,
    first_wait=0.01,
    longest_wait=0.05,
    total=2.0,
    connect=2.0,
    silence=1.0,
    answer=1.0,
    document=2.0,
    window=1.0,
)


class Client:
    """One store, and the registries as ``configuration`` has them: a directory, its ``config.json`` and the rest.

    ``environment`` is what pulls and pushes have besides.
    """

    def __init__(self, store: Store, engine: Engine, configuration: Path) -> None:
        self.store = store
        self.engine = engine
        self.configuration = configuration

    def settings(self, **keys: Any) -> None:
        """Write ``registries.json``, with dashes where the names have underscores."""
        document = {name.replace("_", "-"): value for name, value in keys.items()}
        (self.configuration / "registries.json").write_text(json.dumps(document))

    def log_in(self, host: str, user: str, password: str) -> None:
        """Have a login to the host in ``config.json``, as Docker writes it."""
        auth = b64encode(f"{user}:{password}".encode()).decode()
        (self.configuration / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))

    def unconfigure(self) -> None:
        """Forget settings, logins and certificates."""
        shutil.rmtree(self.configuration)
        self.configuration.mkdir(mode=0o700)

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment in which the configuration is used, for a command or in this process, with its proxies."""
        place = str(self.configuration)
        proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        found = {**proxies, "HOME": place, "XDG_CONFIG_HOME": place, "DOCKER_CONFIG": place, **(extra or {})}
        if (self.configuration / "registries.json").exists():
            found["KERNEL_SANDBOX_REGISTRIES"] = f"{place}/registries.json"
        return found

    @contextmanager
    def registries(self, extra: Mapping[str, str] | None = None, patience: Patience = QUICK) -> Iterator[Registries]:
        """The client of all registries."""
        environment = self.environ(extra)
        with Registries(Settings.open(environment), Credentials(environment), patience) as opened:
            yield opened

    def pull(
        self, name: str, platform: str = "", extra: Mapping[str, str] | None = None, patience: Patience = QUICK
    ) -> list[Progress]:
        """What is told while the image is pulled. Raises SandboxError."""
        told: list[Progress] = []
        with self.registries(extra, patience) as registries:
            self._transfers(registries).pull(references.parse(name), platform, told.append)
        return told

    def refusal(self, name: str, **options: Any) -> str:
        """The one line with which a pull fails, that keeps nothing; ``options`` are those of ``pull``."""
        with self.nothing_kept():
            try:
                self.pull(name, **options)
            except SandboxError as error:
                text, status = str(error), error.exit_code
            else:
                raise AssertionError(f"{name} was pulled")
        assert status == 1, text
        assert text.isprintable()
        assert 0 < len(text) < 1000
        return text

    def pull_and_forget(self, image: RemoteImage, name: str, **options: Any) -> None:
        """Pull what has to be ``image``, byte for byte, and remove it."""
        self.pull(name, **options)
        try:
            assert self.holds(image, name)
        finally:
            self.forget(name)

    def holds(self, image: RemoteImage, name: str) -> bool:
        """Whether the store has the image under that name, byte for byte."""
        images = self.engine.images
        found = images.find(name)
        is_it = (str(found.id), str(found.manifest)) == (image.id, image.digest)
        blobs = image.blobs.items()
        return is_it and all(images.layout.read(Digest.parse(digest)) == content for digest, content in blobs)

    def push(
        self,
        name: str,
        extra: Mapping[str, str] | None = None,
        patience: Patience = QUICK,
        tell: Tell = tell_nobody,
    ) -> str:
        """The last line of a push. Raises SandboxError."""
        with self.registries(extra, patience) as registries:
            return self._transfers(registries).push(references.parse(name), tell)

    def _transfers(self, registries: Registries) -> Transfers:
        paths = self.engine.paths
        return Transfers(paths, State.at(paths.database), self.engine.images, registries)

    def forget(self, *names: str) -> None:
        """Remove images."""
        for name in names:
            self.engine.images.remove(name, force=True)

    def holdings(self) -> dict[str, int]:
        """Every file of the store by its path, with its size, but for what no image is made of.

        What goes while one looks is not held.
        """
        held: dict[str, int] = {}
        for directory, _, names in os.walk(self.store.home):
            for name in names:
                if not name.startswith(("state.db", "index.json")) and not name.endswith("lock"):
                    path = os.path.join(directory, name)
                    with suppress(FileNotFoundError):
                        held[os.path.relpath(path, self.store.home)] = os.stat(path).st_size
        return held

    @contextmanager
    def nothing_kept(self) -> Iterator[None]:
        """Fail unless the store holds at the end what it did before; collecting may take a moment."""
        before = self.holdings()
        yield
        try:
            wait_until(lambda: self.holdings() == before, 3)
        except TimeoutError:
            raise AssertionError(f"kept: {set(self.holdings()) ^ set(before)}") from None


@contextmanager
def client_of(store: Store) -> Iterator[Client]:
    """A client of the store, with a configuration of its own."""
    with tempfile.TemporaryDirectory() as directory, Engine.open(str(store.home)) as engine:
        client = Client(store, engine, Path(directory, "configuration"))
        client.configuration.mkdir(mode=0o700)
        yield client
