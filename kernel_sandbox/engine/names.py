"""Names for what was given none. A container's are an adjective and a scientist of operating systems, as Docker's."""

from __future__ import annotations

import os

_ADJECTIVES = """
    able agile bold brave bright calm clever cool cosmic crisp curious daring eager early easy epic exact fair
    fast fine fond frank free fresh gentle glad grand happy honest jolly keen kind lively lucid lucky merry mild
    modest neat nice nimble noble patient plain polite prime proud quick quiet rapid ready serene sharp shiny
    silent smart snug solid steady sunny swift tidy tiny true vivid warm wise witty
"""
_PEOPLE = """
    allen babbage backus bartik boole cerf church codd cohen dijkstra engelbart estrin floyd goldberg haskell
    hamilton hoare holberton hopper iverson johnson kay keller kernighan kildall kleene knuth lamport lampson
    liskov lovelace mccarthy mcilroy milner minsky moore naur neumann nygaard perlis perlman postel rabin ritchie
    rossum shannon shaw sutherland tarjan thompson torvalds turing wilkes wirth zuse
"""


def random_name() -> str:
    """For a container, for example ``calm_lamport``."""
    return f"{_any(_ADJECTIVES.split())}_{_any(_PEOPLE.split())}"


def volume_name() -> str:
    """A name for a volume that was given none: 64 hexadecimal digits that no other has."""
    return os.urandom(32).hex()


def _any(words: list[str]) -> str:
    return words[int.from_bytes(os.urandom(4)) % len(words)]
