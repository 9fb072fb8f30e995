import pytest

from kernel_sandbox.errors import SandboxError, UsageError
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.reference import Reference, parse, parse_any, parse_tag

HEX = "dbcc1c35ac38df41fd2f5e4130b32ffdb93ebae8b3dbe638c23575912276fc9c"
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("docker.io/foo", "docker.io/library/foo:latest", "foo:latest"),
        ("index.docker.io/fooo/bar", "docker.io/fooo/bar:latest", "fooo/bar:latest"),
        ("index.docker.io/foo", "docker.io/library/foo:latest", "foo:latest"),
        ("library/foo/bar", "docker.io/library/foo/bar:latest", "library/foo/bar:latest"),
        ("localhost/python:3.11", "localhost/python:3.11", "localhost/python:3.11"),
        ("127.0.0.1:8000/private/x", "127.0.0.1:8000/private/x:latest", "127.0.0.1:8000/private/x:latest"),
        ("test:5000/repo:tag", "test:5000/repo:tag", "test:5000/repo:tag"),
        ("test.com:5000", "docker.io/library/test.com:5000", "test.com:5000"),
        ("Foo/bar", "Foo/bar:latest", "Foo/bar:latest"),
        ("test_com/foo", "docker.io/test_com/foo:latest", "test_com/foo:latest"),
        ("[2001:db8::1]:5000/repo", "[2001:db8::1]:5000/repo:latest", "[2001:db8::1]:5000/repo:latest"),
        ("docker.io/localhost/x", "docker.io/localhost/x:latest", "docker.io/localhost/x:latest"),
        (f"redis@{DIGEST}", f"docker.io/library/redis@{DIGEST}", f"redis@{DIGEST}"),
        (f"redis:7@{DIGEST}", f"docker.io/library/redis:7@{DIGEST}", f"redis:7@{DIGEST}"),
        (HEX[:-1], f"docker.io/library/{HEX[:-1]}:latest", f"{HEX[:-1]}:latest"),
        (f"docker.io/{HEX}", f"docker.io/library/{HEX}:latest", f"{HEX}:latest"),
    ],
)
def test_short_names_mean_what_they_mean_to_docker(text: str, canonical: str, familiar: str) -> None:
    reference = parse(text)
    assert str(reference) == canonical
    assert reference.familiar() == familiar


def test_the_parts_of_a_reference_can_be_asked_for() -> None:
    reference = parse(f"example.com:8000/a/b:tag@{DIGEST}")
    assert reference == Reference("example.com:8000", "a/b", "tag", Digest.parse(DIGEST))
    assert reference.name == reference.familiar_name == "example.com:8000/a/b"


@pytest.mark.parametrize(
    "text",
    [
        "docker-rules/docker",
        "docker---rules/docker",
        "dock__er/docker",
        "jess/t",
        "192.168.0.1",
        "thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev",
        "lowercase:Uppercase",
        "xn--n3h.com/myimage:xn--n3h.com",
        "xn--7o8h.com/myimage:xn--7o8h.com@sha512:" + "f" * 128,
        "b.gcr.io/test.example.com/my-app:test.example.com",
        "[fc00:1:2:3:4:5:6:7]:5000/library/debian",
        "[fc00:1:2::6:7]/debian",
        "Uppercase.com/lowercase:tag",
        "foo.com:0/bar",
        "a.b.c.d.e/f",
        "127.0.0.1/x",
        "aa-a/a",
        "a--a/a",
        "foo_bar/baz",
        "x/foo__bar.baz-qux",
        "0/0",
        "test:5000/repo@sha256:" + "f" * 64,
        "test.com/repo:tag@sha512:" + "0" * 128,
        "x:_",
        "x:a.b-c_D",
        "localhost/x/y/z:1",
        "a/" * 127 + "a:" + "t" * 128,
    ],
)
def test_the_grammar_allows(text: str) -> None:
    assert str(parse(text)).startswith(("docker.io/", text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":justtag",
        f"@{DIGEST}",
        "https://github.com/docker/docker",
        "-docker",
        "-docker.io/docker/docker",
        "docker-/docker",
        "docker///docker",
        "docker/",
        "/docker",
        "____/____",
        "_docker/_docker",
        "dock..er/docker",
        "dock_.er/docker",
        "dock-.er/docker",
        "[fc00::1]",
        "[fc00::1]:5000",
        "fc00::1:5000/debian",
        "[fe80::1%eth0]:5000/debian",
        "[2001:db8:3:4::192.0.2.33]:5000/debian",
        "aa/asdf$$^/aa",
        "busybox:",
        "busybox:-x",
        "busybox:" + "t" * 129,
        "busybox@",
        "busybox@sha256:abc",
        "busybox ",
        "busybox\n",
        "busybox:tag\n",
        "büsybox",
        "busybox:٣",
        "../etc",
        "foo_bar.com:8080/x",
        "test:5000/",
        "test:/x",
        "test:port/x",
        "-foo.com/x",
        "foo-.com/x",
        "foo..com/x",
        ".foo.com/x",
        "[::1/x",
        "[]/x",
        "x--/y",
        "a___b/c",
        "a._b/c",
        "a/.b",
        "x:.tag",
        "x:tag:tag",
        "x@sha256",
        "x@:" + "f" * 64,
        "x@sha256:" + "g" * 64,
        "x@sha256:" + "f" * 31,
        "x@sha256:" + "f" * 64 + "@sha256:" + "f" * 64,
        "x@sha256:" + "f" * 64 + ":tag",
        " x",
        "x\t",
        "x\x00",
        "x/\ufeffy",
        "x?y",
        "x#y",
        "x%20y",
        "x y",
    ],
)
def test_the_grammar_refuses(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse(text)
    assert str(refusal.value) == "invalid reference format"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Foo", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("docker/Docker:x", "invalid reference format: repository name (docker/Docker) must be lowercase"),
        ("test:5000/Up/low:tag", "invalid reference format: repository name (Up/low) must be lowercase"),
        (HEX, f"invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        ("a/" * 128 + "a:tag", "repository name must not be more than 255 characters"),
        ("repo@sha256:" + "f" * 34, "invalid checksum digest length"),
        ("repo@sha256:" + "F" * 64, "invalid checksum digest format"),
        ("validname@invaliddigest:" + "f" * 64, "unsupported digest algorithm"),
    ],
)
def test_what_is_wrong_is_said_in_dockers_words(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse(text)
    assert str(refusal.value).startswith(message)


def test_a_repository_can_be_told_from_an_image_in_it() -> None:
    assert parse("busybox", None) == Reference("docker.io", "library/busybox")
    assert parse("busybox", None).familiar() == "busybox"
    assert parse("busybox:1", None).tag == "1"


def test_where_an_id_may_stand_a_digest_is_one() -> None:
    assert parse_any(HEX) == parse_any(DIGEST) == Digest(DIGEST)
    assert parse_any(f"redis@{DIGEST}") == parse(f"redis@{DIGEST}")
    assert parse_any(HEX[:12]) == parse(HEX[:12])
    assert parse_any(f"sha256:{HEX[:12]}") == parse(f"sha256:{HEX[:12]}")
    with pytest.raises(UsageError):
        parse_any("Upper")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"x@{DIGEST}", "refusing to create a tag with a digest reference"),
        (f"x:1@{DIGEST}", "refusing to create a tag with a digest reference"),
        ("sha256", "refusing to create an ambiguous tag using digest algorithm as name"),
        ("docker.io/library/sha256:1", "refusing to create an ambiguous tag using digest algorithm as name"),
        ("Upper", "invalid reference format: repository name (library/Upper) must be lowercase"),
    ],
)
def test_no_image_gets_a_name_that_could_be_content(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_tag(text)
    assert str(refusal.value) == message


def test_names_with_such_words_elsewhere_are_fine() -> None:
    assert parse_tag("team/sha256").familiar() == "team/sha256:latest"
    assert parse_tag("localhost:5000/sha256:1").familiar() == "localhost:5000/sha256:1"


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("busybox", True),
        ("busybox:1.*", True),
        ("busybox:*", True),
        ("busy*", True),
        ("*", True),
        ("busybox:2", False),
        ("library/busybox", False),
        ("docker.io/library/busybox:1.36", False),
        ("*/*", False),
    ],
)
def test_patterns_are_of_names_as_people_type_them(pattern: str, fits: bool) -> None:
    assert parse("docker.io/library/busybox:1.36").matches(pattern) is fits


def test_what_is_no_pattern_is_refused() -> None:
    with pytest.raises(SandboxError, match="syntax error in pattern"):
        parse("busybox").matches("[a")


def test_a_hostile_reference_costs_no_time() -> None:
    for text in ("a-" * 200_000 + "!", "a" * 400_000 + "!", "A" + "a-" * 200_000 + "!/b"):
        with pytest.raises(UsageError):
            parse(text)
