"""``%container cp`` and ``diff`` in IPython."""

import subprocess
import sys
from pathlib import Path

from support.store import Store

CELLS = """
import io, os, tarfile
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
def run(cell):
    assert shell.run_cell(cell).success, cell
run("%load_ext kernel_sandbox")
run("%container cp here {name}:/tmp/there")
run("data = %container cp {name}:/tmp/there -")
print(tarfile.open(fileobj=io.BytesIO(shell.user_ns["data"])).getnames())
run("%container cp {name}:/tmp/there back")
print(open("back").read())
run("%container diff {name}")
sys = __import__("sys")
sys.stdout.flush()
os._exit(0)
"""


def test_a_line_copies_both_ways(shared_store: Store, name: str, tmp_path: Path) -> None:
    shared_store.cli("create", "--name", name, "busybox", "true", check=True)
    (tmp_path / "here").write_text("content")
    command = [sys.executable, "-c", CELLS.replace("{name}", name)]
    env = shared_store.environ({"IPYTHONDIR": str(tmp_path / "ipython")})
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["['there']", "content", "C /tmp", "A /tmp/there"], done.stderr
