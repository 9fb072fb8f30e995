"""How a command is declared: the flags and arguments that it takes, and the function that they are handed to.

Here: declarations as values, and decorators that make them. Not here: reading a command line by them (``flags``,
``command``), nor what help says of them (``help_page``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")
_DECLARED = "__parameters__"
_TAKES_INVOCATION = "__takes_invocation__"


class Type(Protocol):
    """What a flag's text means."""

    name: str

    def convert(self, value: str, parameter: Parameter) -> Any:
        """The value that is written so. Raises UsageError."""


class _Unprocessed:
    """Words of another command's: nothing is known of them."""

    name = "text"

    def convert(self, value: str, parameter: Parameter) -> str:
        return value


UNPROCESSED: Type = _Unprocessed()
_NAMES = {str: "text", int: "integer", bool: "boolean"}


class Parameter:
    """What a command takes. ``name`` is that of the function's argument which gets its value.

    ``type`` is str, int, bool or a ``Type``; ``metavar`` is what help calls the value. What is not given is taken from
    the environment's *envvar*, if any, else it is the *default*; a text is read as if it had been given. *callback*
    makes of the value what the function gets, unless the value is of no interest to it: not *expose_value*.
    """

    opts: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        type: type[Any] | Type = str,
        default: Any = None,
        metavar: str | None = None,
        callback: Callable[[Any], Any] | None = None,
        expose_value: bool = True,
        envvar: str | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.metavar = metavar
        self.expose_value = expose_value
        self._default = default
        self._callback = callback
        self._envvar = envvar

    @property
    def type_name(self) -> str:
        """What its values are called where ``metavar`` does not tell."""
        return _NAMES[self.type] if isinstance(self.type, type) else self.type.name

    def value(self, texts: Sequence[str]) -> Any:
        """What the function gets where these *texts* were given, none or several. Raises UsageError."""
        value = self._read(texts)
        return self._callback(value) if self._callback else value

    def _read(self, texts: Sequence[str]) -> Any:
        found = texts[-1] if texts else os.environ.get(self._envvar or "") or self._default
        return self.converted(found) if isinstance(found, str) else found

    def converted(self, text: str) -> Any:
        """The value that is written so. Raises UsageError."""
        if self.type is bool:
            return text == "true"
        if isinstance(self.type, type):
            return self.type(text)
        return self.type.convert(text, self)


class Option(Parameter):
    """A flag: *names* are its spellings, and perhaps the name of the function's argument, else made of the longest.

    A flag that ``is_flag`` is false unless it is given; one of type bool has a default of its own. One that is
    *multiple* may be given several times, and is a tuple.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        help: str = "",
        is_flag: bool = False,
        multiple: bool = False,
        hidden: bool = False,
        show_default: bool = False,
        **settings: Any,
    ) -> None:
        self.opts = [name for name in names if name.startswith("-")]
        own = [name for name in names if not name.startswith("-")]
        name = own[0] if own else max(self.opts, key=_dashes).lstrip("-").replace("-", "_")
        if is_flag:
            settings = {"type": bool, "default": False, **settings}
        super().__init__(name, **settings)
        self.is_flag = is_flag
        self.hidden = hidden
        self._multiple = multiple
        self.help = f"{help}  [default: {self._default}]" if show_default else help

    def _read(self, texts: Sequence[str]) -> Any:
        return tuple(map(self.converted, texts)) if self._multiple else super()._read(texts)


class Argument(Parameter):
    """A word that is no flag; with ``nargs`` -1 all that are left, as a tuple. Unless ``required`` it may be absent."""

    def __init__(self, names: Sequence[str], *, nargs: int = 1, required: bool | None = None, **settings: Any) -> None:
        super().__init__(names[0], **settings)
        self.nargs = nargs
        self.required = (nargs > 0 and self._default is None) if required is None else required

    @property
    def shown(self) -> str:
        """As help and complaints name it."""
        if self.metavar:
            return self.metavar
        return (self.name.upper() if self.required else f"[{self.name.upper()}]") + ("..." if self.nargs < 0 else "")

    def _read(self, texts: Sequence[str]) -> Any:
        return tuple(map(self.converted, texts)) if self.nargs < 0 else super()._read(texts)


def _dashes(name: str) -> int:
    return len(name) - len(name.lstrip("-"))


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """Declare a flag of the decorated function's command; settings are those of ``Option``."""
    return _declaring(Option(names, **settings))


def argument(name: str, **settings: Any) -> Callable[[F], F]:
    """Declare an argument of the decorated function's command; settings are those of ``Argument``."""
    return _declaring(Argument((name,), **settings))


def _declaring(parameter: Parameter) -> Callable[[F], F]:
    def declare(function: F) -> F:
        setattr(function, _DECLARED, [parameter, *getattr(function, _DECLARED, ())])
        return function

    return declare


def pass_invocation(function: F) -> F:
    """Hand the decorated function the ``Invocation`` first."""
    setattr(function, _TAKES_INVOCATION, True)
    return function


def command(
    cls: Callable[..., C], name: str | None = None, params: Sequence[Parameter] = (), **settings: Any
) -> Callable[[Callable[..., Any]], C]:
    """Make a command of the decorated function, whose documentation is its help; settings are those of *cls*."""

    def make(function: Callable[..., Any]) -> C:
        declared = (*params, *getattr(function, _DECLARED, ()))
        return cls(name or function.__name__, function, declared, **settings)

    return make


def takes_invocation(function: Callable[..., Any]) -> bool:
    """Whether it is to be handed the ``Invocation``, not its front end's ``Context``."""
    return getattr(function, _TAKES_INVOCATION, False)
