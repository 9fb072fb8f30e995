"""Image references: ``[domain/]path[:tag][@digest]``.

Here: the grammar of distribution/reference, and Docker's normalisation of what people type (``busybox`` means
``docker.io/library/busybox:latest``). Not here: ids of images, which are looked up before references.

    reference  := [domain '/'] path [':' tag] ['@' digest]
    domain     := host [':' port]
    host       := label ('.' label)* | '[' IPv6 address ']'
    path       := component ('/' component)*        lower case, at most 255 characters
    tag        := [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
"""

from __future__ import annotations

import re

import msgspec

from kernel_sandbox.errors import CorruptContent, UsageError
from kernel_sandbox.spec.digest import Digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DEFAULT_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_ALGORITHM_OF_IDS = "sha256"
_MAX_PATH = 255

_IDENTIFIER = r"[a-f0-9]{64}"
_LABEL = r"[a-zA-Z0-9]+(?:-+[a-zA-Z0-9]+)*"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_REMAINDER = (
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    rf"(?::(?P<tag>{TAG}))?"
    rf"(?:@(?P<digest>{_DIGEST}))?"
)


class Reference(msgspec.Struct, frozen=True):
    """A normalised reference: a repository, and which of its images by a tag, a digest, or both.

    ``str()`` is the full canonical form, which parses to the same value.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        return self.name + self._suffix

    @property
    def name(self) -> str:
        """The repository in full: ``docker.io/library/busybox``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as Docker's tables show it: ``busybox``.

        The domain stays where what is left would name another one: ``docker.io/localhost/x``.
        """
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        official = self.path.removeprefix(_OFFICIAL)
        short = self.path if "/" in official else official
        return short if _split_domain(short) == (self.domain, self.path) else self.name

    def familiar(self) -> str:
        """The reference as people type it: ``busybox:latest``."""
        return self.familiar_name + self._suffix

    def by_digest(self, digest: Digest) -> Reference:
        """What has this digest in the same repository."""
        return Reference(self.domain, self.path, digest=digest)

    def matches(self, pattern: str) -> bool:
        """Whether the reference or its repository, as people type them, fit a pattern of ``spec.patterns``.

        Raises SandboxError for a pattern that is none.
        """
        from kernel_sandbox.spec import patterns

        return patterns.matches(pattern, self.familiar()) or patterns.matches(pattern, self.familiar_name)

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str, tag: str | None = DEFAULT_TAG) -> Reference:
    """The reference that ``text`` means to Docker; one without tag and digest gets *tag*.

    Raises UsageError, in Docker's words.
    """
    if re.fullmatch(_IDENTIFIER, text):
        raise UsageError(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, remainder = _split_domain(text)
    repository = remainder.partition(":")[0]
    if repository != repository.lower():
        raise UsageError(f"invalid reference format: repository name ({repository}) must be lowercase")
    match = re.fullmatch(_REMAINDER, remainder)
    if not match or not re.fullmatch(_DOMAIN, domain):
        raise UsageError("invalid reference format")
    if len(match["path"]) > _MAX_PATH:
        raise UsageError(f"repository name must not be more than {_MAX_PATH} characters")
    digest = _parse_digest(match["digest"]) if match["digest"] else None
    return Reference(domain, match["path"], match["tag"] or (None if digest else tag), digest)


def parse_any(text: str) -> Reference | Digest:
    """What ``text`` means where an image's full id may stand, too: that, or the reference. Raises UsageError."""
    try:
        return Digest(f"{_ALGORITHM_OF_IDS}:{text}" if re.fullmatch(_IDENTIFIER, text) else text)
    except CorruptContent:
        return parse(text)


def parse_tag(text: str) -> Reference:
    """The reference with a tag that an image may be given. Raises UsageError for one that tells of content."""
    parsed = parse(text)
    if parsed.digest:
        raise UsageError("refusing to create a tag with a digest reference")
    if parsed.familiar_name == _ALGORITHM_OF_IDS:
        raise UsageError("refusing to create an ambiguous tag using digest algorithm as name")
    return parsed


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    domain, remainder = DEFAULT_DOMAIN, text
    if slash and names_a_domain(first):
        domain, remainder = first, rest
    if domain == _LEGACY_DEFAULT_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder


def names_a_domain(first: str) -> bool:
    return first == "localhost" or "." in first or ":" in first or first != first.lower()


def _parse_digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except CorruptContent as error:
        raise UsageError(str(error).partition(":")[0]) from None
