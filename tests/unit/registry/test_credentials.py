"""Logins: where they are looked for, where they are kept, and what stays untouched."""

import base64
import json
import os
import stat
import threading

import pytest

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.registry.credentials import Credentials
from kernel_sandbox.registry.helpers import CredentialHelper
from kernel_sandbox.spec.docker_config import HUB_KEY, HelperLogin, Login

ALICE = Login("alice", "wonder:land é")
HOST = "registry.example:5000"

# A helper of the protocol: it keeps what it is given in a directory, a file for each server.
HELPER = """#!/bin/sh
cd "$KEPT" || exit 1
read_server() { server=$(tr / _); }
case $1 in
get) read_server; [ -f "$server" ] && exec cat "$server"; echo "credentials not found in native keychain"; exit 1 ;;
store) cat > new; server=$(sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/' new | tr / _); mv new "$server" ;;
erase) read_server; rm -f "$server" ;;
esac
"""


def auth(login: Login) -> str:
    return base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


@pytest.fixture
def files(tmp_path):
    """An empty home directory, and ``.docker`` in it with what a test says."""

    def write(document, path=".docker/config.json"):
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(document if isinstance(document, str) else json.dumps(document))
        return place

    write.path = tmp_path
    return write


@pytest.fixture
def credentials(files):
    return Credentials({"HOME": str(files.path), "PATH": f"{files.path}/bin:{os.environ['PATH']}"})


def config(files):
    return json.loads((files.path / ".docker/config.json").read_text())


@pytest.fixture
def helper(files):
    """``docker-credential-test`` on the PATH; the directory with what it keeps."""

    def install(script: str = HELPER):
        kept = files.path / "kept"
        kept.mkdir(exist_ok=True)
        program = files("", "bin/docker-credential-test")
        program.write_text(script.replace("$KEPT", str(kept)))
        program.chmod(0o755)
        return kept

    return install


def test_a_login_is_found_again(files, credentials):
    assert credentials.get(HOST) is None
    assert credentials.store(HOST, ALICE) == str(files.path / ".docker/config.json")
    assert credentials.get(HOST) == ALICE
    assert credentials.get("registry.example") is None
    credentials.erase(HOST)
    assert credentials.get(HOST) is None
    assert config(files) == {"auths": {}}


def test_an_identity_token_is_kept_in_place_of_a_password(files, credentials):
    credentials.store(HOST, Login(username="alice", identity_token="t0ken"))
    assert config(files)["auths"][HOST] == {"auth": auth(Login("alice", "")), "identitytoken": "t0ken"}
    assert credentials.get(HOST) == Login("alice", "", "t0ken")


def test_a_login_that_is_kept_already_changes_nothing(files, credentials):
    credentials.store(HOST, ALICE)
    before = (files.path / ".docker/config.json").stat()
    assert credentials.store(HOST, ALICE) == ""
    after = (files.path / ".docker/config.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_only_its_owner_can_read_the_file(files, credentials):
    files({"auths": {}}).chmod(0o644)
    os.chmod(files.path / ".docker", 0o755)
    credentials.store(HOST, ALICE)
    assert stat.S_IMODE((files.path / ".docker/config.json").stat().st_mode) == 0o600
    assert os.listdir(files.path / ".docker") == ["config.json"]


def test_all_else_in_the_file_stays(files, credentials):
    before = {"HttpHeaders": {"X": "é"}, "psFormat": "{{.ID}}", "auths": {"other": {"auth": "YTpi", "x": 1}}, "z": 0.1}
    files(before)
    credentials.store(HOST, ALICE)
    after = config(files)
    assert after["auths"].pop(HOST) == {"auth": auth(ALICE)}
    assert after == before


@pytest.mark.parametrize(
    "key",
    [
        HUB_KEY,
        "docker.io",
        "index.docker.io",
        "https://index.docker.io/v1",
        "registry-1.docker.io",
        "http://docker.io/",
    ],
)
def test_docker_hub_has_many_names(files, credentials, key):
    files({"auths": {key: {"auth": auth(ALICE)}}})
    assert credentials.get("docker.io") == ALICE
    credentials.store("docker.io", Login("bob", "b"))
    assert config(files)["auths"] == {HUB_KEY: {"auth": auth(Login("bob", "b"))}}


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ({f"https://{HOST}": {"auth": auth(ALICE)}}, ALICE),
        ({f"http://{HOST}/v2/": {"auth": auth(ALICE)}}, ALICE),
        ({HOST: {"auth": auth(ALICE)}, f"https://{HOST}": {"auth": "YTpi"}}, ALICE),
        ({f"{HOST}/alices/part": {"auth": auth(ALICE)}}, None),
        ({HOST: {"username": "alice", "password": "wonder:land é"}}, ALICE),
        ({HOST: {"auth": base64.b64encode(b"a:b\0\0").decode()}}, Login("a", "b")),
        ({HOST: {}}, None),
        ({HOST: None}, None),
        (None, None),
    ],
)
def test_entries_are_read_as_docker_reads_them(files, credentials, entries, found):
    files({"auths": entries})
    assert credentials.get(HOST) == found


def test_docker_config_names_another_directory(files):
    files({"auths": {HOST: {"auth": auth(ALICE)}}}, "elsewhere/config.json")
    found = Credentials({"HOME": "/nonexistent", "DOCKER_CONFIG": str(files.path / "elsewhere")})
    assert found.get(HOST) == ALICE


@pytest.mark.parametrize(
    ("path", "variables"),
    [
        ("auth.json", {"REGISTRY_AUTH_FILE": "{}/auth.json"}),
        ("run/containers/auth.json", {"XDG_RUNTIME_DIR": "{}/run"}),
        (".config/containers/auth.json", {}),
    ],
)
def test_podmans_file_is_read_for_what_dockers_does_not_know(files, path, variables):
    files({"auths": {HOST: {"auth": auth(ALICE)}, "docker.io": {"auth": "YTpi"}}}, path)
    files({"auths": {HUB_KEY: {"auth": auth(Login("bob", "b"))}}})
    environment = {name: value.format(files.path) for name, value in variables.items()}
    found = Credentials({"HOME": str(files.path), **environment})
    assert found.get(HOST) == ALICE
    assert found.get("docker.io") == Login("bob", "b")


def test_without_a_home_there_is_no_login_and_none_can_be_kept(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    nobody = Credentials({})
    assert nobody.get(HOST) is None
    with pytest.raises(SandboxError, match="set DOCKER_CONFIG"):
        nobody.store(HOST, ALICE)


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"auths": 3}', '{"auths": {"x": "s3cret"}}', '{"credsStore": 1}', "[" * 100_000, "\xff"]
)
def test_a_file_that_is_none_is_named_and_left_alone(files, credentials, content):
    path = files("")
    path.write_bytes(content.encode("latin-1"))
    for use in (credentials.get, credentials.erase, lambda host: credentials.store(host, ALICE)):
        with pytest.raises(SandboxError) as caught:
            use(HOST)
        assert str(path) in str(caught.value) and "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 + len(str(path))
    assert path.read_bytes() == content.encode("latin-1")


def test_a_link_of_ones_own_is_followed(files, credentials):
    target = files({"auths": {}}, "dotfiles/docker.json")
    (files.path / ".docker").mkdir()
    (files.path / ".docker/config.json").symlink_to(target)
    credentials.store(HOST, ALICE)
    assert (files.path / ".docker/config.json").is_symlink()
    assert HOST in json.loads(target.read_text())["auths"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("whose", ["link", "file"])
def test_a_link_to_somebody_elses_file_is_not_followed(files, credentials, whose):
    target = files("{}", "theirs.json")
    (files.path / ".docker").mkdir()
    link = files.path / ".docker/config.json"
    link.symlink_to(target)
    os.lchown(link if whose == "link" else target, 12345, 12345)
    with pytest.raises(SandboxError, match="belongs to another user"):
        credentials.store(HOST, ALICE)
    assert target.read_text() == "{}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_link_to_somebody_elses_directory_is_not_followed(files, credentials):
    (files.path / "theirs").mkdir()
    (files.path / ".docker").symlink_to(files.path / "theirs")
    os.chown(files.path / "theirs", 12345, 12345)
    with pytest.raises(SandboxError, match="belongs to another user"):
        credentials.store(HOST, ALICE)
    assert not list((files.path / "theirs").iterdir())


def test_logins_at_once_are_all_kept(files, credentials):
    hosts = [f"host{number}.example" for number in range(8)]
    threads = [threading.Thread(target=credentials.store, args=(host, ALICE)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert list(config(files)["auths"]) == hosts


@pytest.mark.parametrize("naming", [{"credsStore": "test"}, {"credHelpers": {HOST: "test"}, "credsStore": "missing"}])
def test_a_helper_keeps_what_it_is_named_for(files, credentials, helper, naming):
    kept = helper()
    files(naming)
    assert credentials.get(HOST) is None
    assert credentials.store(HOST, ALICE) == ""
    assert config(files) == {**naming, "auths": {HOST: {}}}
    assert json.loads((kept / HOST).read_text()) == {
        "Username": "alice", "Secret": "wonder:land é", "ServerURL": HOST,
    }  # fmt: skip
    assert credentials.get(HOST) == ALICE
    credentials.erase(HOST)
    assert not (kept / HOST).exists()
    assert config(files) == {**naming, "auths": {}}


def test_a_helper_knows_docker_hub_by_its_old_address_and_tokens_by_a_mark(files, credentials, helper):
    kept = helper()
    files({"credsStore": "test"})
    credentials.store("docker.io", Login("", "", "t0ken"))
    stored = json.loads((kept / HUB_KEY.replace("/", "_")).read_text())
    assert stored == {"Username": "<token>", "Secret": "t0ken", "ServerURL": HUB_KEY}
    assert credentials.get("docker.io") == Login(identity_token="t0ken")


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("#!/bin/sh\necho the keychain is locked; echo s3cret; exit 1\n", "the keychain is locked"),
        ("#!/bin/sh\nexit 3\n", "no reason given"),
        ("#!/bin/sh\nexec yes 0123456789abcdef0123456789abcdef0123456789abcdef\n", "answers more than"),
        ("#!/nonexistent\n", "cannot run docker-credential-test"),
    ],
)
def test_a_helper_that_fails_is_named_on_login_and_passed_over_on_reading(
    files, credentials, helper, script, complaint
):
    helper(script)
    files({"credsStore": "test"})
    assert credentials.get(HOST) is None
    with pytest.raises(SandboxError, match=complaint) as caught:
        credentials.store(HOST, Login("alice", "s3cret"))
    assert "s3cret" not in str(caught.value)
    assert config(files) == {"credsStore": "test"}


def test_a_helper_that_never_answers_is_ended(files, credentials, helper, monkeypatch):
    monkeypatch.setattr("kernel_sandbox.registry.helpers._PATIENCE", 0.3)
    helper("#!/bin/sh\nexec sleep 60\n")
    files({"credsStore": "test"})
    with pytest.raises(SandboxError, match=r"no answer in 0\.3 seconds"):
        credentials.store(HOST, ALICE)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "-x", "a b", ".", "x" * 65, "a\n"])
def test_a_name_that_leads_elsewhere_is_no_helper(name):
    with pytest.raises(SandboxError, match="invalid name of a credential helper"):
        CredentialHelper(name, {})


def test_a_missing_helper_is_said_to_be_missing(files, credentials):
    files({"credsStore": "missing"})
    assert credentials.get(HOST) is None
    with pytest.raises(SandboxError, match="docker-credential-missing is not in PATH"):
        credentials.store(HOST, ALICE)


def test_secrets_do_not_show():
    for value in (ALICE, Login(identity_token="wonder:land é"), HelperLogin.of(ALICE, HOST)):
        assert "wonder" not in f"{value!r}{value}"
