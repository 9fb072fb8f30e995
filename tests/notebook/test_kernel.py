"""A kernel in its own root filesystem: what it can do, what it cannot see, and what it leaves."""

import os
import re
import threading
from importlib.metadata import files
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from support.kernels import KERNEL, Kernel, kernel, remains
from support.store import Store
from support.waiting import wait_until

from kernel_sandbox.errors import SandboxError

pytestmark = pytest.mark.usefixtures("python_image")


@pytest.fixture(scope="module")
def shared(python_image: str):
    """One kernel for the tests that only look."""
    with kernel() as running:
        yield running


def test_the_installed_package_brings_the_kernelspec() -> None:
    spec = KernelSpecManager().get_kernel_spec(KERNEL)
    assert spec.display_name == "Python 3 (sandbox)"
    installed = [str(path) for path in files("kernel-sandbox") or ()]
    assert any(path.endswith(f"share/jupyter/kernels/{KERNEL}/kernel.json") for path in installed)


def test_it_executes(shared: Kernel) -> None:
    assert shared.run("print(6 * 7)") == "42"


def test_a_file_written_there_is_not_on_the_host(shared: Kernel, tmp_path: Path) -> None:
    target = f"/root/{tmp_path.name}-in-the-sandbox"
    assert shared.run(f"open({target!r}, 'w').write('here'); print(open({target!r}).read())") == "here"
    assert not os.path.exists(target)


def test_it_does_not_see_the_hosts_files(shared: Kernel) -> None:
    assert shared.run(f"import os; print(os.path.exists({__file__!r}))") == "False"


def test_nothing_of_the_servers_environment_leaks(python_image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_TOKEN", "hunter2-token")
    with kernel() as running:
        seen = running.run("print([open(f'/proc/{pid}/environ').read() for pid in ('1', 'self')])")
    assert "HOME=/root" in seen
    assert "hunter2-token" not in seen
    assert os.environ["KERNEL_SANDBOX_HOME"] not in seen


def test_variables_that_are_asked_for_reach_it(python_image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE", "os-101")
    with kernel(env=["COURSE", "ROLE=student", "UNSET"]) as running:
        seen = running.run("import os; print(*(os.environ.get(n) for n in ('COURSE', 'ROLE', 'UNSET')))")
    assert seen == "os-101 student None"


def test_it_has_no_network(shared: Kernel) -> None:
    assert shared.run("print(open('/proc/net/dev').read().count(':'))") == "1"
    assert "OSError" in shared.run("import socket; socket.create_connection(('192.0.2.1', 80), 2)")


def test_tools_and_packages_are_there(shared: Kernel) -> None:
    assert shared.run("!echo from the shell") == "from the shell"
    assert shared.run("import ipykernel, ssl, sqlite3, ctypes; print('ok')") == "ok"


def test_what_is_mounted_is_shared_and_becomes_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lesson").mkdir()
    (tmp_path / "lesson" / "data.csv").write_text("1,2,3")
    monkeypatch.chdir(tmp_path / "lesson")
    with kernel(mounts=[f"{tmp_path}:/work"]) as running:
        assert running.run("import os; print(os.getcwd(), open('data.csv').read())") == "/work/lesson 1,2,3"
        running.run("open('answer.txt', 'w').write('42')")
    answer = tmp_path / "lesson" / "answer.txt"
    assert answer.read_text() == "42"
    assert answer.stat().st_uid == os.getuid()


@pytest.mark.parametrize(
    "code",
    ["import time; time.sleep(100)", "!sleep 100", "import os; os.system('sleep 100')", "%%sh\nsleep 100"],
)
def test_an_interrupt_ends_what_runs_and_not_the_kernel(shared: Kernel, code: str) -> None:
    timer = threading.Timer(1.0, shared.manager.interrupt_kernel)
    timer.start()
    shared.run(code)
    timer.join()
    wait_until(lambda: "sleep 100" not in shared.run("!ps"), timeout=5)
    assert shared.run("print('still here')") == "still here"


def test_orphans_are_reaped(shared: Kernel) -> None:
    shared.run("import subprocess; subprocess.run('sleep 0.1 & sleep 0.1 &', shell=True)")
    zombies = "print(sum('State:\\tZ' in open(p).read() for p in __import__('glob').glob('/proc/[0-9]*/status')))"
    wait_until(lambda: shared.run(zombies) == "0", timeout=5, interval=0.2)


@pytest.mark.parametrize("now", [False, True])
def test_a_restart_keeps_the_files_and_forgets_the_variables(now: bool) -> None:
    with kernel() as running:
        running.run("x = 1; open('/root/kept', 'w').write('kept')")
        running.restart(now)
        assert running.run("print(open('/root/kept').read(), 'x' in globals())") == "kept False"


def test_two_kernels_do_not_see_each_other(shared: Kernel) -> None:
    with kernel() as other:
        other.run("open('/root/of-the-other', 'w').close()")
        assert shared.run("import os; print(os.path.exists('/root/of-the-other'))") == "False"
        assert other.run("!ps").count("ipykernel_launcher -f") == 1


def test_shutdown_leaves_nothing_and_may_come_twice() -> None:
    before = remains()
    with kernel() as running:
        assert remains() - before
        running.run("import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    assert not remains() - before
    running.manager.cleanup_resources()
    assert not running.manager.is_alive()


def test_a_memory_limit_is_kept_and_its_victim_is_named_or_it_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    try:
        with kernel(memory="256m") as running:
            running.client.execute("x = bytearray(2**30)")
            wait_until(lambda: not running.manager.is_alive(), timeout=20)
            wait_until(lambda: "needed more memory than its limit of 256m" in caplog.text)
    except SandboxError as refusal:
        assert os.getuid() != 0
        assert "cgroup" in str(refusal)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"image": "localhost/no-such-image"}, "no-such-image"),
        ({"memory": "lots"}, "lots"),
        ({"mounts": ["/no/such/place:/work"]}, "/no/such/place"),
        ({"image": "busybox"}, "python3"),
    ],
)
def test_a_kernel_that_cannot_start_says_why_in_one_line_and_leaves_nothing(
    settings: dict[str, object], reason: str
) -> None:
    before = remains()
    with pytest.raises(SandboxError) as failure, kernel(**settings):
        pass
    assert reason in str(failure.value)
    assert "\n" not in str(failure.value)
    assert wait_until(lambda: not remains() - before, timeout=5)


def test_a_commit_of_a_kernels_container_makes_an_image(shared_store: Store) -> None:
    def names() -> set[str]:
        return set(re.findall(r"kernel-[0-9a-f]+", shared_store.cli("ps", check=True).stdout))

    before = names()
    with kernel() as running:
        running.run("open('/root/made-here', 'w').write('x')")
        (name,) = names() - before
        shared_store.cli("commit", name, "committed-kernel", check=True)
    try:
        with kernel(image="committed-kernel") as again:
            assert again.run("print(open('/root/made-here').read())") == "x"
    finally:
        shared_store.cli("rmi", "committed-kernel")
