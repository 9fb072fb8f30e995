"""WWW-Authenticate: what is written by its grammar is read, whatever else is refused in one line."""

from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec.challenge import Challenge, parse

_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_token = st.text(_TOKEN, min_size=1, max_size=8)
_parameters = st.dictionaries(
    _token, st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12), max_size=4
)
_token68 = st.from_regex(r"[A-Za-z0-9._~+/-]{1,12}={0,2}", fullmatch=True)
_challenges = st.lists(
    st.one_of(
        st.builds(Challenge, scheme=_token, parameters=_parameters),
        st.builds(Challenge, scheme=_token, token68=_token68),
    ),
    max_size=4,
)


def _written(challenge: Challenge, space: str, separator: str) -> str:
    def value(text: str) -> str:
        if text and all(each in _TOKEN for each in text):
            return text
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    pairs = separator.join(f"{name}{space}={space}{value(text)}" for name, text in challenge.parameters.items())
    return f"{challenge.scheme} {challenge.token68 or pairs}".rstrip()


@given(_challenges, st.sampled_from(["", " ", "\t "]), st.sampled_from([",", ", ", " ,, "]), st.booleans())
def test_challenges_are_read_as_they_were_written(
    challenges: list[Challenge], space: str, separator: str, apart: bool
) -> None:
    written = [_written(each, space, separator) for each in challenges]
    assert list(parse(written if apart else [separator.join(written)])) == challenges


@given(st.lists(st.text(st.characters(max_codepoint=300), max_size=60), max_size=3))
def test_any_header_is_read_or_refused_in_one_line(values: list[str]) -> None:
    try:
        parse(values)
    except CorruptContent as error:
        assert "\n" not in str(error)
