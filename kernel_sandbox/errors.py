"""Every error a user can meet.

SandboxError                     exit code 1: the command failed
├── UsageError                   125: a flag, a reference or a document is written wrongly
├── NotFound                     1 (125 from `run`): no such image, container, file
├── Conflict                     1 (125 from `run`): a name is taken, an object is in use or in the wrong state
├── HostError                    125: the machine cannot do it; the message says what to change
│   └── StoreError               125: the store cannot be read or written (full, not writable)
├── CorruptContent               1: content does not match its digest or breaks its specification
├── RegistryError                1: a registry cannot be reached, or refused
│   └── Unauthorized             1: it wants to know who asks, or somebody else to ask
└── ContainerStartError          125, 126, 127: the container could not be started

A message is one line: what failed, on what, what to do. Nothing here imports anything.
"""


class SandboxError(Exception):
    """What a user's command ended with; ``str()`` is the one line that is shown.

    It may quote an image, a registry or a container, which is neither to give orders to a terminal nor to add lines of
    its own: what is no text is escaped.
    """

    exit_code = 1

    def __str__(self) -> str:
        return presentable(super().__str__())


def presentable(text: str, allowed: str = "") -> str:
    """The text with every character escaped that is neither printable nor *allowed*.

    Without a codec, which a process inside a container could not import any more.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in allowed else f"\\u{ord(each):04x}" for each in text)


class UsageError(SandboxError):
    """The request is written wrongly: mend the flag, reference or document that the message names."""

    exit_code = 125


class NotFound(SandboxError):
    """The named image, container or file does not exist: list them and name another."""


class Conflict(SandboxError):
    """The object is in use, already there, or in a state that forbids the operation."""


class HostError(SandboxError):
    """This machine or this user cannot do what was asked: the message says what to change on it."""

    exit_code = 125


class StoreError(HostError):
    """The store cannot be read or written: free space, or point KERNEL_SANDBOX_HOME elsewhere."""


class CorruptContent(SandboxError):
    """Content does not match its digest, exceeds a limit or breaks its specification: fetch it again."""


class RegistryError(SandboxError):
    """A registry cannot be reached or refused what was asked of it.

    *status* is that of its HTTP answer, 0 without one; *code* the first of its error codes, such as ``NAME_UNKNOWN``.
    """

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Unauthorized(RegistryError):
    """The registry does not let this user do it, or does not know who asks: log in."""


class ContainerStartError(SandboxError):
    """The container's process could not be started.

    ``exit_code`` is 125 for our own failure, 126 when the command cannot be invoked, 127 when it is not found.
    """

    def __init__(self, message: str, exit_code: int = 125) -> None:
        super().__init__(message)
        self.exit_code = exit_code
