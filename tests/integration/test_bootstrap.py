"""``bootstrap`` makes an image from this machine, once, whoever asks and however many ask at once."""

import pytest
from support.containers import complaint, inspected
from support.store import PYTHON

pytestmark = pytest.mark.same_with_more_ids


def test_busybox_is_made_and_runs(shared_store):
    assert shared_store.cli("run", "--rm", "busybox", "sh", "-c", "echo hi | tr a-z A-Z").stdout == "HI\n"
    document = inspected(shared_store, "busybox")
    assert document["RepoTags"] == ["busybox:latest"]
    assert document["Config"]["Cmd"] == ["sh"]


def test_a_second_call_finds_it_up_to_date(shared_store):
    before = inspected(shared_store, "busybox")["Id"]
    done = shared_store.cli("bootstrap", "busybox", check=True)
    assert "up to date" in done.stdout
    assert inspected(shared_store, "busybox")["Id"] == before


def test_two_stores_have_the_same_digest(store, shared_store):
    store.bootstrap("busybox")
    assert inspected(store, "busybox")["Id"] == inspected(shared_store, "busybox")["Id"]


def test_of_three_at_once_one_makes_it_and_the_others_wait(store):
    processes = [store.start("bootstrap", "busybox") for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert sorted("made" in output.decode() for output, _ in outputs) == [False, False, True]
    assert len(list((store.home / "layers").iterdir())) == 1
    assert not list((store.home / "staging").glob("*"))


def test_an_unknown_image_is_refused(cli):
    assert "nonsense" in complaint(cli("bootstrap", "nonsense"), 1)


def test_python_runs_with_what_a_kernel_needs(cli, python_image):
    modules = "ssl, sqlite3, ctypes, lzma, bz2, zlib, hashlib, ipykernel, IPython, zmq"
    program = f"import sys, {modules}; print(sys.version_info[:2])"
    done = cli("run", "--rm", python_image, "python3", "-c", program, check=True)
    assert done.stdout.strip() == str(tuple(map(int, PYTHON.rpartition(":")[2].split("."))))


def test_python_is_small(shared_store, python_image):
    assert inspected(shared_store, python_image)["Size"] < 200_000_000


def test_python_has_a_shell_and_tools_accounts_and_certificates(cli, python_image):
    script = """
        set -e
        ls / | wc -l; id -un; date +%Z; cat /etc/os-release | grep -c .; test -s /etc/ssl/certs/ca-certificates.crt
        echo abc | sed s/b/x/; printf 'b\\na\\n' | sort | head -n1; grep -q root /etc/passwd
        test -w /tmp; ls -ld /tmp | cut -c1-10; command -v python; command -v python3
    """
    lines = cli("run", "--rm", python_image, "sh", "-c", script, check=True).stdout.split()
    assert lines[1:3] == ["root", "UTC"]
    assert lines[4:7] == ["axc", "a", "drwxrwxrwt"]
    assert [line.rpartition("/")[2] for line in lines[7:]] == ["python", "python3"]


def test_python_is_the_images_command(shared_store, python_image):
    assert inspected(shared_store, python_image)["Config"]["Cmd"] == ["python3"]
    done = shared_store.cli("run", "--rm", "-i", python_image, input="print(6 * 7)\n", check=True)
    assert done.stdout == "42\n"


def test_nothing_of_the_hosts_home_is_in_it(cli, python_image):
    script = "import sys; print(sys.prefix, *sys.path, sep='\\n')"
    paths = cli("run", "--rm", python_image, "python3", "-c", script, check=True).stdout.splitlines()
    assert not [path for path in paths if path.startswith(("/root/", "/home/", "/var/tmp"))]


def test_a_removed_image_is_made_again_and_is_the_same(store):
    store.bootstrap("busybox")
    before = inspected(store, "busybox")["Id"]
    store.cli("rmi", "busybox", check=True)
    store.bootstrap("busybox")
    assert inspected(store, "busybox")["Id"] == before
