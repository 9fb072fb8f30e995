"""``login``, ``logout``, ``search`` and ``manifest inspect`` on a real registry."""

import base64
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.adversary import adversary, answer, only
from support.blobs import remote_image
from support.containers import complaint
from support.registries import PASSWORDS, Registry, registry
from support.store import COMMAND, Store
from support.terminal import terminal

pytestmark = pytest.mark.same_for_every_user

SUCCESS = "Login Succeeded\n"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Registry]:
    """A registry with accounts and an image, ``team/app:v1``."""
    with registry(users=("alice", "bob")) as running:
        running.put(remote_image(), "team/app", "v1")
        yield running


class Client:
    """Our command line with a Docker configuration of its own, and a store that is not there."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self.file = directory / "config.json"
        self.home = directory / "store"
        self.environment = store.environ({"DOCKER_CONFIG": str(directory), "KERNEL_SANDBOX_HOME": str(self.home)})

    def __call__(self, *words: str, **options):
        return self._store.cli(*words, env=self.environment, **options)

    def auths(self):
        return json.loads(self.file.read_text())["auths"]

    def knows(self, user: str, host: str) -> None:
        """Keep a login without asking the registry."""
        self.file.parent.mkdir()
        self.file.write_text(json.dumps({"auths": {host: {"auth": encoded(user)}}}))


def encoded(user: str) -> str:
    return base64.b64encode(f"{user}:{PASSWORDS[user]}".encode()).decode()


@pytest.fixture
def client(home: Store, tmp_path: Path) -> Iterator[Client]:
    made = Client(home, tmp_path / "docker")
    yield made
    assert not made.home.exists(), "a store has been made that nothing needs"


def test_a_password_from_standard_input_logs_in(client, guarded):
    done = client("login", "-u", "alice", "--password-stdin", guarded.host, input=PASSWORDS["alice"] + "\n")
    assert done.stdout == SUCCESS
    assert f"WARNING! Your credentials are stored unencrypted in '{client.file}'.\n" in done.stderr
    assert client.auths() == {guarded.host: {"auth": encoded("alice")}}
    assert stat.S_IMODE(client.file.stat().st_mode) == 0o600
    again = client("login", f"http://{guarded.host}/")
    assert again.stdout == SUCCESS
    assert again.stderr.startswith("Authenticating with existing credentials... [Username: alice]\n")
    out = client("logout", guarded.host)
    assert (out.stdout, out.stderr) == (f"Removing login credentials for {guarded.host}\n", "")
    assert client.auths() == {}


def test_a_wrong_password_is_refused_and_kept_nowhere(client, guarded):
    done = client("login", "-u", "alice", "--password-stdin", guarded.host, input="wr0ng")
    assert complaint(done, 1) == f"login attempt to {guarded.host} failed: unauthorized: authentication required"
    assert not client.file.exists()


def test_a_login_that_cannot_be_forgotten_is_warned_of(client, guarded):
    client.knows("alice", guarded.host)
    kept = json.loads(client.file.read_text()) | {"credsStore": "that-is-not-there"}
    client.file.write_text(json.dumps(kept))
    done = client("logout", guarded.host, check=True)
    assert done.stdout == f"Removing login credentials for {guarded.host}\n"
    warning, reason = done.stderr.splitlines()
    assert warning == "WARNING: could not erase credentials:"
    assert reason.startswith(f"{guarded.host}: docker-credential-that-is-not-there is not in PATH")
    assert json.loads(client.file.read_text()) == kept


def test_a_password_on_the_command_line_is_warned_of(client, guarded):
    done = client("login", "-u", "bob", "-p", PASSWORDS["bob"], guarded.host)
    assert done.stdout == SUCCESS
    warning, *_ = done.stderr.splitlines()
    assert warning == "WARNING! Using --password via the CLI is insecure. Use --password-stdin."
    assert PASSWORDS["bob"] not in done.stderr


def test_on_a_terminal_login_asks_and_the_password_does_not_show(client, guarded):
    with terminal((COMMAND, "login", guarded.host), env=client.environment) as opened:
        opened.expect("Username: ")
        opened.type("alice\n")
        opened.expect("Password: ")
        opened.type(PASSWORDS["alice"] + "\n")
        assert opened.ended() == 0
        assert opened.restored
        assert "Login Succeeded" in opened.shown and "wonder" not in opened.shown
    assert list(client.auths()) == [guarded.host]


def test_an_interrupted_login_leaves_the_terminal_as_it_was(client):
    with terminal((COMMAND, "login", "-u", "alice", "x.invalid"), env=client.environment) as opened:
        opened.expect("Password: ")
        opened.type("half a pass\x03")
        assert opened.ended() == 130
        assert opened.restored and "half" not in opened.shown


def test_search_lists_what_a_registry_has(client, guarded):
    assert "no basic auth credentials" in complaint(client("search", f"{guarded.host}/app"), 1)
    client.knows("alice", guarded.host)
    header, row = client("search", f"{guarded.host}/APP", check=True).stdout.splitlines()
    assert header.split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert row.split() == [f"{guarded.host}/team/app", "0"]
    one = client("search", "--filter", "stars=0", "--format", "json", f"{guarded.host}/", check=True).stdout
    assert json.loads(one) == {
        "Description": "", "IsOfficial": "false", "Name": f"{guarded.host}/team/app", "StarCount": "0",
    }  # fmt: skip


def test_search_asks_the_index_of_a_registry_that_lists_nothing(client):
    found = {"name": "team/app", "description": "An app", "star_count": 7, "is_official": True, "is_automated": False}
    with adversary() as server:
        server.behave(only("/v1/search", answer(json.dumps({"results": [found]}).encode())))
        done = client("search", "--filter", "is-automated=false", f"{server.host}/app", check=True)
        assert done.stdout.splitlines()[1].split() == [f"{server.host}/team/app", "An", "app", "7", "[OK]"]
        assert done.stderr.startswith('WARNING: the "is-automated" filter is deprecated')
        assert server.asked("/v1/search")[0].query == {"q": "app", "n": "25"}
        server.behave()
        assert "404" in complaint(client("search", f"{server.host}/app"), 1)


def test_a_manifest_is_shown_as_the_registry_has_it(client, guarded):
    client.knows("alice", guarded.host)
    name = f"{guarded.host}/team/app:v1"
    content, media_type = guarded.manifest("team/app", "v1")
    assert json.loads(client("manifest", "inspect", name, check=True).stdout) == json.loads(content)
    shown = json.loads(client("manifest", "inspect", "-v", name, check=True).stdout)
    assert shown["Ref"] == name
    assert base64.b64decode(shown["Raw"]) == content
    assert (shown["Descriptor"]["mediaType"], shown["Descriptor"]["size"]) == (media_type, len(content))
    assert shown["Descriptor"]["platform"]["os"] == "linux"
    missing = client("manifest", "inspect", f"{guarded.host}/team/app:v2")
    assert complaint(missing, 1) == f"no such manifest: {guarded.host}/team/app:v2"
