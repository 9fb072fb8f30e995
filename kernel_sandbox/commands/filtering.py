"""``--filter``, as every command that lists or removes has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from kernel_sandbox.commands import flags
from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import filters

F = TypeVar("F", bound=Callable[..., object])


class _Pair(click.ParamType):  # type: ignore[type-arg]
    """``name=value``."""

    name = "filter"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return filters.parse(value)
        except UsageError as error:
            raise flags.invalid(value, param, error) if param else error from None


def filter_option(*names: str) -> Callable[[F], F]:
    """A repeatable flag of these names; the command's parameter ``filters`` gets ``Filters``."""
    return click.option(
        *names, "filters", multiple=True, type=_Pair(), metavar="NAME=VALUE", callback=_collected,
        help="Only those that have this: see the reference for names.",
    )  # fmt: skip


def _collected(context: click.Context, parameter: click.Parameter, value: tuple[tuple[str, str], ...]) -> Any:
    return filters.Filters.of(value)
