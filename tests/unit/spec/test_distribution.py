"""What registries answer, beside manifests: nothing that they may write surprises."""

import pytest

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec.distribution import (
    MAX_ANSWER,
    Catalog,
    Failures,
    SearchResults,
    TagList,
    TokenAnswer,
    decode,
    next_page,
)


def test_errors_read_as_docker_has_them():
    answer = (
        b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no such", "detail": {"x": [1]}}, {"code": "DENIED"}]}'
    )
    assert [str(each) for each in decode(Failures, answer).errors] == ["manifest unknown: no such", "denied"]


@pytest.mark.parametrize("cls", [Failures, TagList, Catalog, SearchResults])
@pytest.mark.parametrize("member", ["errors", "tags", "repositories", "results"])
def test_nothing_is_as_good_as_an_empty_list(cls, member):
    assert decode(cls, b'{"%s": null, "unknown": {}}' % member.encode()) is not None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"tags": [1]}', b'{"tags": {"a": "b"}}', b'{"tags": ["\xff"]}', b'{"tags":' + b"[" * 100_000],
    ids=lambda content: content[:20].decode(errors="replace"),
)
def test_another_shape_is_refused_in_one_line(content):
    with pytest.raises(CorruptContent, match=r"^invalid TagList: .*$"):
        decode(TagList, content)


def test_a_large_answer_is_refused():
    with pytest.raises(CorruptContent, match="more than"):
        decode(TagList, b" " * MAX_ANSWER + b"{}")


def test_a_token_is_not_shown():
    assert "secret" not in repr(
        decode(TokenAnswer, b'{"token": "secret", "refresh_token": "secret", "expires_in": 300}')
    )


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        (['</v2/_catalog?last=b&n=2>; rel="next"'], "/v2/_catalog?last=b&n=2"),
        (["</first>; rel=first, </next>;rel=next;title=x"], "/next"),
        (['<https://x/?a=1,2>; title="a, b"; REL="prev Next"'], "https://x/?a=1,2"),
        (["</first>; rel=first", "</next>; rel=next"], "/next"),
        (["</x>; rel=nextish"], ""),
        (["</x>"], ""),
        (["rel=next"], ""),
        ([], ""),
        (["<" * 9000], ""),
    ],
)
def test_the_next_page_is_where_its_link_leads(fields, target):
    assert next_page(fields) == target
