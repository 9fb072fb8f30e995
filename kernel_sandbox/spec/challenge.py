"""What a server asks for before it answers: the header ``WWW-Authenticate`` (RFC 9110, sections 11.2 to 11.6.1).

Here: its grammar, in every form. Not here: how a challenge is met.

    WWW-Authenticate := [challenge] (',' [challenge])*
    challenge        := scheme [SP (token68 | [parameter] (',' [parameter])*)]
    parameter        := token '=' (token | '"' ... '"')         spaces may stand around '='

A comma ends a parameter or a challenge: what follows is a parameter if it has a ``=`` and a value.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from kernel_sandbox.errors import CorruptContent

MAX_LENGTH = 16 << 10
"""Characters of all challenges of one answer together."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 (a word of the grammar)
_SEPARATORS = re.compile(r"[ \t,]*")
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|\Z)")
_TOKEN68 = re.compile(r"[ \t]+([A-Za-z0-9\-._~+/]+=*)[ \t]*(?=,|\Z)")
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")[ \t]*(?=,|\Z)', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


class Challenge(msgspec.Struct, frozen=True):
    """A way to prove who asks. *scheme* and the parameters' names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = {}
    token68: str = ""


def parse(values: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges in all fields of this name, in their order; raises CorruptContent for what is none."""
    text = ",".join(values)
    if len(text) > MAX_LENGTH:
        raise CorruptContent(f"invalid WWW-Authenticate: more than {MAX_LENGTH} characters")
    challenges = []
    position = _after_separators(text, 0)
    while position < len(text):
        challenge, position = _challenge(text, position)
        challenges.append(challenge)
    return tuple(challenges)


def _challenge(text: str, position: int) -> tuple[Challenge, int]:
    named = _SCHEME.match(text, position)
    if not named:
        raise CorruptContent(f"invalid WWW-Authenticate: no scheme at {text[position : position + 40]!r}")
    scheme = named[1].lower()
    if token68 := _TOKEN68.match(text, named.end()):
        return Challenge(scheme, token68=token68[1]), _after_separators(text, token68.end())
    parameters: dict[str, str] = {}
    position = _after_separators(text, named.end())
    while parameter := _PARAMETER.match(text, position):
        name, token, quoted = parameter.groups()
        parameters.setdefault(name.lower(), _QUOTED_PAIR.sub(r"\1", quoted) if token is None else token)
        position = _after_separators(text, parameter.end())
    return Challenge(scheme, parameters), position


def _after_separators(text: str, position: int) -> int:
    separators = _SEPARATORS.match(text, position)
    return separators.end() if separators else position
