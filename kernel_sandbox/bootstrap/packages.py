"""The installed distributions that a requirement needs, and their files.

Follows the core metadata, the RECORD file and the entry points of packaging.python.org. Only what this interpreter
has installed: nothing is fetched.
"""

import csv
import os
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution
from posixpath import isabs, join

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kernel_sandbox.bootstrap.interpreter import Interpreter, module
from kernel_sandbox.bootstrap.rootfs import Entry, Text
from kernel_sandbox.errors import HostError

_OMITTED = re.compile(
    # Caches and test suites; what other systems than Linux load; what only a compiler reads.
    r"(?:.*/)?(?:__pycache__|tests?)/"
    r"|.*\.(?:pyc|dll|dylib|exe|lib|pdb|a|c|cpp|h|pxd|pyx)\Z"
    # Large, and of no use here: type stubs of libraries that are not installed, sources of the debugger's helpers.
    r"|jedi/third_party/(?:django-stubs|typeshed/stubs)/"
    r"|debugpy/_vendored/pydevd/pydevd_attach_to_process/(?:linux_and_mac|winappdbg|windows)/"
)
_SCRIPT = """\
#!/{program}
import sys

from {module} import {attribute}

sys.exit({call}())
"""


def closure(name: str) -> tuple[Distribution, ...]:
    """The distribution ``name`` and all that it requires on this interpreter, sorted by name.

    Raises HostError if one of them is not installed, or does not say what its files are.
    """
    found: dict[str, Distribution] = {}
    pending: list[tuple[str, frozenset[str]]] = [(name, frozenset())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        wanted, extras = pending.pop()
        if (wanted, extras) in seen:
            continue
        seen.add((wanted, extras))
        found[wanted] = found.get(wanted) or _installed(wanted, name)
        for requirement in map(Requirement, found[wanted].requires or ()):
            if _applies(requirement, extras):
                pending.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return tuple(found[wanted] for wanted in sorted(found))


def optional(name: str) -> tuple[Distribution, ...]:
    """The distribution ``name`` alone where it is installed with a record of its files, or nothing."""
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return ()
    return (package,) if package.read_text("RECORD") else ()


def entries(package: Distribution, python: Interpreter) -> Iterator[Entry]:
    """The distribution's modules, data and metadata, and its console scripts; not what it put elsewhere."""
    directory = os.path.abspath(str(package.locate_file("")))
    for file in _recorded(package):
        if not (isabs(file) or ".." in file.split("/") or _OMITTED.match(file)):
            yield from module(join(python.packages, file), join(directory, file))
    for script in package.entry_points:
        if script.group == "console_scripts":
            yield Text(join(python.scripts, script.name), _script(script, python), 0o755)


def _recorded(package: Distribution) -> Iterator[str]:
    # Distribution.files makes a path object of each name, which takes longer than all the rest of a plan.
    for row in csv.reader((package.read_text("RECORD") or "").splitlines()):
        yield from row[:1]


def _installed(name: str, user: str) -> Distribution:
    try:
        package = distribution(name)
    except PackageNotFoundError as error:
        raise HostError(f"{user} needs {name}, which is not installed: run `pip install {user}`") from error
    if not package.read_text("RECORD"):
        raise HostError(f"{name} has no record of its files: install {user} with pip in a virtual environment")
    return package


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (extras or ("",)))


def _script(script: EntryPoint, python: Interpreter) -> bytes:
    return _SCRIPT.format(
        program=python.program,
        module=script.module,
        attribute=script.attr.partition(".")[0],
        call=script.attr,
    ).encode()
