"""``%container`` and ``%%container``: a line in, Docker's verb carried out, its result shown or handed over.

A mistake of the user's is one line and a failed cell, without a traceback. A container's own exit status is no mistake:
it stays in ``_exit_code``, as that of ``!command`` does.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError as OneLineError
from IPython.core.magic import no_var_expand

from kernel_sandbox.errors import SandboxError
from magics.arguments import words
from magics.caller import keeps_value
from magics.interrupts import Interrupted
from magics.session import Session

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_INTERRUPTED = 130


class ContainerMagic:
    """Run a container, or any other of Docker's verbs.

    ::

        %container run --rm busybox echo hello      its output shows while it runs
        %container ps -a                            a table
        rows = %container images                    the table's rows as objects: rows[0].repository
        text = %container run busybox cat /etc/passwd
        text.stdout, text.stderr, text.exit_code

        %%container run --rm -i busybox sh          the body of the cell is the standard input
        echo $HOME

    ``$name``, ``{name}``, ``{name.attribute}`` and ``{name[0]}`` in the line are Python's variables, where there are
    such; all else reaches the command as it is written. Interrupting the cell ends the container.
    ``%container --help`` lists the commands.
    """

    needs_local_scope = True  # so that IPython passes local_ns, a function's variables

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        self._shell = shell
        self.session = session
        no_var_expand(self)

    def __call__(self, line: str, cell: str | None = None, local_ns: Mapping[str, object] | None = None) -> Any:
        from kernel_sandbox.commands import Context, invoke
        from magics.bars import telling
        from magics.delivery import Delivery
        from magics.questions import ask

        keep = keeps_value()
        with self._failing_in_one_line(), _standard_input(cell or "") as stdin:
            context = Context(
                self.session.engine, stdin, program="%container", ask=ask, telling=lambda: telling(sys.stderr)
            )
            result = invoke(words(line, self._variables(local_ns)), context)
            delivery = Delivery(stdin, keep)
            value, status = delivery.deliver(result)
            self._set_exit_code(status)
            return value

    def _variables(self, local_ns: Mapping[str, object] | None) -> Mapping[str, object]:
        """The caller's variables, without what IPython keeps beside the user's own (``_``, ``exit``)."""
        hidden = self._shell.user_ns_hidden
        own = {
            name: value
            for name, value in self._shell.user_ns.items()
            if not name.startswith("_") and not (name in hidden and hidden[name] is value)
        }
        return own if local_ns is None or local_ns is self._shell.user_ns else {**own, **local_ns}

    @contextmanager
    def _failing_in_one_line(self) -> Iterator[None]:
        try:
            yield
        except SandboxError as error:
            self._set_exit_code(error.exit_code)
            raise OneLineError(str(error)) from None
        except KeyboardInterrupt as error:
            self._set_exit_code(_INTERRUPTED)
            raise Interrupted(str(error) or "interrupted") from None

    def _set_exit_code(self, status: int) -> None:
        self._shell.user_ns["_exit_code"] = status


@contextmanager
def _standard_input(body: str) -> Iterator[int]:
    """A descriptor that yields a cell's body."""
    with tempfile.TemporaryFile() as file:
        file.write(body.encode(errors="surrogateescape"))
        file.seek(0)
        yield file.fileno()
