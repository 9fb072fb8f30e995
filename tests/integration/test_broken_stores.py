"""A store that cannot be written, is full or is damaged: one clear line, the right code, nothing half-made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.adversary import adversary
from support.blobs import remote_image
from support.containers import IS_ROOT, complaint
from support.store import COMMAND, SCRATCH, Store
from support.tar_files import Entry

pytestmark = pytest.mark.same_without_root

RUN = ("run", "--rm", "busybox", "true")


def inside_new_mounts(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root of a mount namespace of its own, in a user namespace where that is needed."""
    flags = ("-m",) if IS_ROOT else ("-r", "-m")
    # Root of a user namespace has no way into the machine's own /run.
    prepare = "" if IS_ROOT else "mount -t tmpfs none /run\n"
    return subprocess.run(
        ["unshare", *flags, "sh", "-ec", prepare + script],
        env={**os.environ, "KS": COMMAND, "PYTHON": sys.executable, **environment},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [("ps",), ("images",), RUN, ("bootstrap", "busybox")], ids=" ".join)
def test_a_store_that_cannot_be_made_is_named(tmp_path, arguments):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file/store")
    done = store.cli(*arguments)
    message = complaint(done, done.returncode)
    assert done.returncode in (1, 125)
    assert str(tmp_path) in message


def test_a_store_that_is_not_writable_is_named(tmp_path):
    home = tmp_path / "readonly"
    home.mkdir()
    if IS_ROOT:
        script = f"mount -t tmpfs -o ro none {home}; KERNEL_SANDBOX_HOME={home}/s $KS run busybox true"
        done = inside_new_mounts(script)
    else:
        home.chmod(0o555)
        done = Store(home / "s").cli("run", "busybox", "true")
    assert str(home) in complaint(done, 125)
    assert not list(home.iterdir())


def test_a_store_that_has_become_read_only_is_named(store):
    store.bootstrap("busybox")
    script = f"mount --bind {store.home} {store.home}; mount -o remount,ro,bind {store.home}; $KS run busybox true"
    if not IS_ROOT:
        pytest.skip("root's mounts alone can take a store away from its owner")
    assert complaint(inside_new_mounts(script, KERNEL_SANDBOX_HOME=str(store.home)), 125)
    assert store.cli(*RUN).returncode == 0


def test_a_runtime_directory_that_cannot_be_made_is_named(store):
    store.bootstrap("busybox")
    script = "mount -t tmpfs -o ro none /run; $KS run --rm busybox true"
    done = inside_new_mounts(script, KERNEL_SANDBOX_HOME=str(store.home), XDG_RUNTIME_DIR="")
    assert done.returncode == 0 or "/run" in complaint(done, 125)


@pytest.mark.parametrize("size", ["300k", "1m", "2m"])
def test_a_full_disk_is_told_and_nothing_half_made_stays(tmp_path, size):
    script = f"""
        mount -t tmpfs -o size={size} none {tmp_path}
        export KERNEL_SANDBOX_HOME={tmp_path}/s
        set +e
        $KS bootstrap busybox; echo "status $?"
        $KS images -q; cd $KERNEL_SANDBOX_HOME; ls -A layers staging oci/blobs/sha256
    """
    done = inside_new_mounts(script)
    status, *rest = done.stdout.splitlines()
    assert status in ("status 1", "status 125")
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("kernel-sandbox: ")]
    assert len(errors) == 1, done.stderr
    assert "no space left" in errors[0].lower()
    assert [line for line in rest if line and not line.endswith(":")] == []


def test_a_disk_that_fills_up_in_a_container_is_the_containers_matter(tmp_path):
    script = f"""
        mount -t tmpfs -o size=8m none {tmp_path}
        export KERNEL_SANDBOX_HOME={tmp_path}/s
        $KS bootstrap busybox > /dev/null
        set +e
        $KS run --rm busybox sh -c 'head -c 20000000 /dev/zero > /big || echo full'
        echo "status $?"; $KS ps -aq; $KS run --rm busybox echo works again
    """
    done = inside_new_mounts(script)
    if "user.overlay" in done.stderr or "xattr" in done.stderr:
        pytest.skip("a tmpfs before Linux 6.6 has no user xattrs, which overlayfs needs here")
    assert done.stdout.splitlines() == ["full", "status 0", "works again"], done.stderr


def test_a_commit_on_a_full_disk_leaves_no_image(tmp_path):
    script = f"""
        mount -t tmpfs -o size=8m none {tmp_path}
        export KERNEL_SANDBOX_HOME={tmp_path}/s
        $KS bootstrap busybox > /dev/null
        $KS run --name big busybox sh -c 'head -c 3000000 /dev/urandom > /big'
        set +e
        $KS commit big new:image; echo "status $?"; $KS images -q | wc -l; ls -A $KERNEL_SANDBOX_HOME/staging
        $KS rm -f big; $KS ps -aq
    """
    done = inside_new_mounts(script)
    lines = done.stdout.splitlines()
    assert lines[0] in ("status 1", "status 125"), done.stderr
    assert lines[1:] == ["1", "big"]
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("bytes_", [bytes(30 << 20), os.urandom(7 << 20)], ids=["when unpacked", "on its way"])
def test_a_pull_that_fills_the_disk_gives_all_of_it_back(tmp_path, bytes_):
    with adversary() as remote:
        name = remote.put(remote_image([Entry("small")], [Entry("large", content=bytes_)]))
        small = remote.put(remote_image([Entry("small")]), "small")
        script = f"""
            mount -t tmpfs -o size=8m none {tmp_path}
            export KERNEL_SANDBOX_HOME={tmp_path}/s
            set +e
            $KS pull -q {name}; echo "status $?"; $KS images -q
            ls -A $KERNEL_SANDBOX_HOME/layers $KERNEL_SANDBOX_HOME/staging $KERNEL_SANDBOX_HOME/oci/blobs/sha256
            $KS pull -q {small}
        """
        done = inside_new_mounts(script)
    status, *left, last = done.stdout.splitlines()
    assert (status, last) == ("status 1", small), done.stderr
    assert [line for line in left if line and not line.endswith(":")] == []
    assert "no space left" in complaint(done, 0)


@pytest.mark.parametrize("command", ["rmi busybox another", "image prune -af"])
def test_images_can_be_removed_from_a_full_disk(tmp_path, command):
    script = f"""
        mount -t tmpfs -o size=12m none {tmp_path}
        export KERNEL_SANDBOX_HOME={tmp_path}/s
        $KS bootstrap busybox > /dev/null; $KS tag busybox another
        dd if=/dev/zero of={tmp_path}/fill bs=4k || true
        $KS {command} > /dev/null; echo "status $?"
        $KS images -aq; cd $KERNEL_SANDBOX_HOME; ls -A layers staging adding oci/blobs/sha256
    """
    done = inside_new_mounts(script)
    left = [line for line in done.stdout.splitlines() if line and not line.endswith(":")]
    assert left == ["status 0"], done.stderr


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100], ids=["empty", "not a database"])
def test_a_damaged_database_is_told_in_one_line(store, content):
    store.cli("ps", check=True)
    for path in store.home.glob("state.db*"):
        path.unlink()
    (store.home / "state.db").write_bytes(content)
    done = store.cli("ps")
    if content:
        assert str(store.home) in complaint(done, done.returncode)
        assert done.returncode in (1, 125)
        shutil.rmtree(store.home)
    else:
        assert done.returncode == 0


def test_a_damaged_blob_is_noticed_when_it_is_unpacked(store):
    store.bootstrap("busybox")
    for layer in (store.home / "layers").iterdir():
        subprocess.run(["chmod", "-R", "u+w", layer], check=True)
        shutil.rmtree(layer)
    for path in (store.home / "oci/blobs/sha256").iterdir():
        if path.stat().st_size > 100_000:
            path.chmod(0o600)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 0xFF
            path.write_bytes(data)
    assert complaint(store.cli(*RUN), 125)
    assert not list((store.home / "layers").iterdir())
    assert not list((store.home / "staging").glob("*"))


def test_a_lost_layer_is_unpacked_again(store):
    store.bootstrap("busybox")
    for layer in (store.home / "layers").iterdir():
        subprocess.run(["chmod", "-R", "u+w", layer], check=True)
        shutil.rmtree(layer)
    assert store.cli("run", "--rm", "busybox", "echo", "here").stdout == "here\n"


def test_a_store_in_a_very_deep_directory_works(store):
    deep = Path(SCRATCH) / store.home.name / ("d" * 100) / ("e" * 100)
    inner = Store(deep)
    inner.bootstrap("busybox")
    assert inner.cli(*RUN).returncode == 0
    inner.remove()


def test_a_store_with_strange_characters_in_its_path_works(store):
    inner = Store(store.home / "a b:c,d\\e=f'\"ü")
    inner.bootstrap("busybox")
    assert inner.cli("run", "--rm", "busybox", "echo", "works").stdout == "works\n"
    inner.remove()


@pytest.mark.parametrize("arguments", [("ps",), RUN, ("bootstrap", "busybox")], ids=" ".join)
def test_a_store_whose_path_is_not_utf8_works_or_is_told_in_one_line(store, arguments):
    done = Store(store.home / "\udcff").cli(*arguments)
    assert done.returncode in (0, 1, 125)
    assert len(done.stderr.splitlines()) <= 1 or done.returncode == 0


def test_help_needs_no_store(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file/store")
    for arguments in (("--help",), ("run", "--help"), ("image", "ls", "--help"), ()):
        done = store.cli(*arguments)
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: kernel-sandbox")
