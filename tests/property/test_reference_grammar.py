import re

from hypothesis import example, given
from hypothesis import strategies as st

from kernel_sandbox.errors import CorruptContent, UsageError
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.reference import Reference, parse

_component = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
_host = st.from_regex(
    r"([a-z0-9]{1,5}(-[a-z0-9]{1,3})?\.){1,2}[a-zA-Z]{2,4}|localhost|\[[0-9a-f]{1,4}::[0-9a-f]{0,4}\]",
    fullmatch=True,
)
_port = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
_digests = st.binary(max_size=8).map(Digest.of)
_references = st.builds(
    Reference,
    domain=st.one_of(st.just("docker.io"), st.builds(str.__add__, _host, _port)),
    path=st.lists(_component, min_size=2, max_size=4).map("/".join),
    tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True),
    digest=st.none() | _digests,
)
_alphabet = st.text(alphabet="abcZ019./:@-_[]\n ", max_size=24)


@given(_references)
def test_a_reference_is_what_its_spelling_means(reference: Reference) -> None:
    assert parse(str(reference)) == reference
    assert parse(reference.familiar()) == reference


@given(st.one_of(_alphabet, st.text(max_size=40)))
@example("localhost/localhost")
@example("docker.io/docker.io/docker.io")
@example("library/library/library")
@example("index.docker.io/index.docker.io/x")
def test_any_text_is_a_reference_with_a_fixed_point_or_a_usage_error(text: str) -> None:
    try:
        reference = parse(text)
    except UsageError as error:
        assert str(error)
        return
    assert parse(str(reference)) == reference
    assert parse(reference.familiar()) == reference
    assert re.fullmatch(r"[a-z0-9._/-]+", reference.path)


@given(st.one_of(st.text(max_size=80), st.from_regex(r"(sha256|sha512|md5):[0-9a-fA-F/.]{60,130}")))
def test_any_text_is_a_digest_that_makes_a_safe_file_name_or_corrupt(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except CorruptContent:
        return
    assert str(digest) == text
    assert re.fullmatch(r"[0-9a-f]+", digest.hex)
