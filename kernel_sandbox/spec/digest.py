"""Content digests and the identities made of them.

Here: the digest grammar (image-spec descriptor.md, "Digests"), restricted to the registered algorithms that
can be verified, and the chain id of a stack of layers (image-spec config.md, "Layer ChainID").
Not here: reading the content that a digest names.
"""

import re
from collections.abc import Iterable

from kernel_sandbox.errors import CorruptContent

_GRAMMAR = r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+"
_LOWER_HEX = "0123456789abcdef"
HEX_LENGTH = {"sha256": 64, "sha512": 128}
"""The registered algorithms, each with the number of hexadecimal characters of its digests."""


class Digest(str):
    """``algorithm:hex``, checked when it is made; a string in every other way, and safe as a file name.

    Raises CorruptContent, in the words of Docker's digest library, for anything else.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Digest":
        algorithm, _, encoded = text.partition(":")
        if len(encoded) != HEX_LENGTH.get(algorithm) or encoded.strip(_LOWER_HEX):
            raise CorruptContent(f"{_complaint(text)}: {text[:160]!r}")
        return super().__new__(cls, text)

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """The digest that ``text`` spells; raises CorruptContent."""
        return cls(text)

    @classmethod
    def of(cls, content: bytes) -> "Digest":
        """The SHA-256 digest of ``content``."""
        import hashlib

        return cls("sha256:" + hashlib.sha256(content).hexdigest())

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """As much of ``hex`` as tables and messages show."""
        return self.hex[:12]


def _complaint(text: str) -> str:
    """What is wrong with a text that is no digest."""
    algorithm, _, encoded = text.partition(":")
    if re.fullmatch(_GRAMMAR, text) and algorithm not in HEX_LENGTH:
        return "unsupported digest algorithm"
    if re.fullmatch(_GRAMMAR, text) and len(encoded) != HEX_LENGTH[algorithm]:
        return "invalid checksum digest length"
    return "invalid checksum digest format"


def chain_ids(diff_ids: Iterable[Digest]) -> tuple[Digest, ...]:
    """The identity of each layer together with all below it, bottom first."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)
