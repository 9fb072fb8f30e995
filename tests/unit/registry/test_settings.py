"""Where settings and certificates are found, and what is said of those that cannot be used."""

import json
import ssl
import subprocess

import pytest
from support.certificates import certificates, client_certificate

from kernel_sandbox.errors import SandboxError
from kernel_sandbox.registry.settings import Certificates, Settings

HOST = "registry.example:5000"


@pytest.fixture
def place(tmp_path):
    """Write a file below ``XDG_CONFIG_HOME``; its path."""

    def write(path: str, content: object = ""):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(file)

    return write


@pytest.fixture
def environment(tmp_path):
    return {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path / "home")}


def test_settings_are_the_users_own(place, environment):
    assert not Settings.open(environment).is_insecure(HOST)
    place("kernel-sandbox/registries.json", {"insecure-registries": [HOST], "max-concurrent-uploads": 2})
    found = Settings.open(environment)
    assert found.is_insecure(HOST)
    assert (found.downloads, found.uploads) == (3, 2)


def test_a_variable_names_another_file_and_no_other_counts(place, environment):
    place("kernel-sandbox/registries.json", {"insecure-registries": [HOST]})
    other = place("other.json", {"registry-mirrors": ["https://mirror.example"]})
    found = Settings.open({**environment, "KERNEL_SANDBOX_REGISTRIES": other})
    assert not found.is_insecure(HOST)
    assert found.mirrors("docker.io") == ("https://mirror.example",)


def test_a_wrong_file_is_named_with_its_key(place, environment):
    path = place("kernel-sandbox/registries.json", {"max-concurrent-downloads": "many"})
    with pytest.raises(SandboxError) as caught:
        Settings.open(environment)
    assert str(caught.value) == f"cannot use {path}: max-concurrent-downloads: Expected `int`, got `str`"


def test_a_file_that_is_named_and_is_not_there_is_missed(tmp_path, environment):
    missing = str(tmp_path / "missing.json")
    with pytest.raises(SandboxError, match="KERNEL_SANDBOX_REGISTRIES"):
        Settings.open({**environment, "KERNEL_SANDBOX_REGISTRIES": missing})


def test_one_registry_can_be_insecure_for_once(environment):
    found = Settings.open(environment).with_insecure(HOST)
    assert found.is_insecure(HOST) and not found.is_insecure("registry.example")


def test_certificates_lie_in_a_directory_of_the_registrys_name(place, environment):
    ca = place(f"kernel-sandbox/certs.d/{HOST}/ca.crt")
    other = place(f"docker/certs.d/{HOST}/other.crt")
    certificate, key = (place(f"docker/certs.d/{HOST}/me.{kind}") for kind in ("cert", "key"))
    place("docker/certs.d/registry.example/wrong.crt")
    assert Settings.open(environment).tls(HOST) == Certificates((ca, other), ((certificate, key),))
    assert Settings.open(environment).tls("elsewhere") == Certificates()
    assert Settings.open(environment).tls("..") == Certificates()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("me.cert", "missing key me.key for client certificate me.cert"),
        ("me.key", "missing client certificate me.cert"),
    ],
)
def test_half_a_certificate_is_refused(place, environment, name, complaint):
    place(f"docker/certs.d/{HOST}/{name}")
    with pytest.raises(SandboxError, match=complaint):
        Settings.open(environment).tls(HOST)


def test_what_is_no_certificate_is_named(place, environment):
    path = place(f"docker/certs.d/{HOST}/ca.crt", "hello")
    with pytest.raises(SandboxError, match=f"cannot use the certificate {path}"):
        Settings.open(environment).ssl_context(HOST)
    with pytest.raises(SandboxError, match=f"cannot use the certificate {path}.missing"):
        Settings.open({**environment, "SSL_CERT_FILE": f"{path}.missing"}).ssl_context("elsewhere")


def test_a_key_that_is_locked_or_another_is_named_and_nobody_asked_for_a_password(place, environment, tmp_path):
    certificates(tmp_path)
    other, (certificate, key) = tmp_path / "server.key", client_certificate(tmp_path)
    locked = tmp_path / "locked.key"
    lock = ("openssl", "ec", "-aes128", "-passout", "pass:word", "-in", str(key), "-out", str(locked))
    subprocess.run(lock, check=True, capture_output=True)
    place(f"docker/certs.d/{HOST}/me.cert", certificate.read_text())
    for wrong, complaint in ((locked, "it is none, or locked by a password"), (other, "key values mismatch")):
        place(f"docker/certs.d/{HOST}/me.key", wrong.read_text())
        with pytest.raises(SandboxError, match=f"me.cert with me.key: {complaint}"):
            Settings.open(environment).ssl_context(HOST)


def test_only_an_insecure_registrys_certificate_goes_unchecked(environment):
    found = Settings.open(environment)
    assert found.ssl_context(HOST).verify_mode.name == "CERT_REQUIRED"
    assert found.ssl_context(HOST).check_hostname
    assert found.ssl_context("localhost:5000").verify_mode.name == "CERT_NONE"


def test_a_machine_without_authorities_has_those_that_httpx_comes_with(environment, monkeypatch):
    nothing = ssl.get_default_verify_paths()._replace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda context, purpose: None)
    context = Settings.open(environment).ssl_context(HOST)
    assert context.cert_store_stats()["x509_ca"] > 50
    assert context.verify_mode == ssl.CERT_REQUIRED
