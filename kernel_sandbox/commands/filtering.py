"""``--filter``, as every command that lists or removes has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kernel_sandbox.commands import flags, syntax
from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import filters

F = TypeVar("F", bound=Callable[..., object])


class _Pair:
    """``name=value``."""

    name = "filter"

    def convert(self, value: str, parameter: syntax.Parameter) -> Any:
        try:
            return filters.parse(value)
        except UsageError as error:
            raise flags.invalid(value, parameter, error) from None


def filter_option(*names: str) -> Callable[[F], F]:
    """A repeatable flag of these names; the command's parameter ``filters`` gets ``Filters``."""
    return syntax.option(
        *names, "filters", multiple=True, type=_Pair(), metavar="NAME=VALUE", callback=filters.Filters.of,
        help="Only those that have this: see the reference for names.",
    )  # fmt: skip
