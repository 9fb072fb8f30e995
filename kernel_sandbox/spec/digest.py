"""Content digests and the identities made of them.

Here: the digest grammar (image-spec descriptor.md, "Digests"), restricted to the registered algorithms that
can be verified, and the chain id of a stack of layers (image-spec config.md, "Layer ChainID").
Not here: reading the content that a digest names.
"""

import hashlib
import re
from collections.abc import Iterable

from kernel_sandbox.errors import CorruptContent

_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_LOWER_HEX = re.compile(r"[a-f0-9]+")
HEX_LENGTH = {"sha256": 64, "sha512": 128}
"""The registered algorithms, each with the number of hexadecimal characters of its digests."""


class Digest(str):
    """``algorithm:hex``, checked when it is made; a string in every other way, and safe as a file name.

    Raises CorruptContent, in the words of Docker's digest library, for anything else.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Digest":
        shown = repr(text[:160])
        if not _GRAMMAR.fullmatch(text):
            raise CorruptContent(f"invalid checksum digest format: {shown}")
        algorithm, _, encoded = text.partition(":")
        if algorithm not in HEX_LENGTH:
            raise CorruptContent(f"unsupported digest algorithm: {shown}")
        if len(encoded) != HEX_LENGTH[algorithm]:
            raise CorruptContent(f"invalid checksum digest length: {shown}")
        if not _LOWER_HEX.fullmatch(encoded):
            raise CorruptContent(f"invalid checksum digest format: {shown}")
        return super().__new__(cls, text)

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """The digest that ``text`` spells; raises CorruptContent."""
        return cls(text)

    @classmethod
    def of(cls, content: bytes) -> "Digest":
        """The SHA-256 digest of ``content``."""
        return cls("sha256:" + hashlib.sha256(content).hexdigest())

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]


def chain_ids(diff_ids: Iterable[Digest]) -> tuple[Digest, ...]:
    """The identity of each layer together with all below it, bottom first."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)
