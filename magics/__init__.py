"""The IPython front end: ``%load_ext magics`` gives ``%container`` and ``%%container``.

Here are the extension's two hooks; reading a line, running it and showing what comes of it are in the modules
beside. What the commands mean is ``kernel_sandbox.commands``' business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from magics.completion import IDENTIFIER, completion
from magics.magic import ContainerMagic
from magics.session import Session

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_NAME = "container"


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add the magics and their completion to the shell, and warm the engine up behind its back."""
    if isinstance(shell.find_line_magic(_NAME), ContainerMagic):
        return
    session = Session()
    session.start()
    shell.register_magic_function(ContainerMagic(shell, session), "line_cell", _NAME)
    shell.Completer.custom_matchers.append(completion(_NAME, session))


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take both out of the shell again. Containers in the background go on."""
    magic = shell.find_line_magic(_NAME)
    if not isinstance(magic, ContainerMagic):
        return
    for kind in ("line", "cell"):
        del shell.magics_manager.magics[kind][_NAME]
    matchers = shell.Completer.custom_matchers
    matchers[:] = (each for each in matchers if getattr(each, "matcher_identifier", "") != IDENTIFIER)
    magic.session.close()
