"""Lists of variables as processes get them: ``NAME=value`` entries. Not here: how a flag or a file tells of them."""

from __future__ import annotations

from collections.abc import Iterable


def merged_env(base: Iterable[str], over: Iterable[str]) -> tuple[str, ...]:
    """``NAME=value`` entries of *base*, each replaced in its place where *over* has the name, then the rest."""
    merged = {entry.partition("=")[0]: entry for entry in base}
    merged.update((entry.partition("=")[0], entry) for entry in over)
    return tuple(merged.values())
