"""A program that compiles Python files: a list on standard input, one .pyc after another on standard output.

It imports nothing of this project, so that it starts in a bare interpreter. Input: the modification time to record,
then for each file its path and the path it is to be known by, all separated by NUL. Output, for each: its size in
SIZE_BYTES bytes, big-endian, and a .pyc file of PEP 552; empty for a file that does not compile.
"""

import marshal
import sys
import warnings
from importlib.util import MAGIC_NUMBER

SIZE_BYTES = 4


def pyc(path: str, name: str, mtime: int) -> bytes:
    """The bytecode of the file at ``path``, which will be at ``name``; empty if it does not compile."""
    with open(path, "rb") as file:
        source = file.read()
    try:
        code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return b""
    fields = (0, mtime, len(source))
    header = MAGIC_NUMBER + b"".join((field & 0xFFFFFFFF).to_bytes(4, "little") for field in fields)
    return header + marshal.dumps(code)


def main() -> None:
    """Compile what standard input lists."""
    warnings.simplefilter("ignore")
    mtime, *fields = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\0")
    for path, name in zip(fields[::2], fields[1::2], strict=True):
        content = pyc(path, name, int(mtime))
        sys.stdout.buffer.write(len(content).to_bytes(SIZE_BYTES, "big") + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
