"""Images and archives made to do harm: a root replaced, accounts that are no files, devices, bombs.

Links at mount points and names that lead upwards are in ``test_hostile_images``; what a single archive may hold is in
``tests/unit/storage`` and ``tests/property``.
"""

import gzip
import io
import resource
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.containers import complaint, ids_inside
from support.store import COMMAND
from support.tar_files import Entry, directory, link, tar_of

pytestmark = pytest.mark.same_without_root

REFERENCE = "threat:test"
SECONDS = 20  # in which every hostile image is refused or run
CAP_SYS_ADMIN_EP = "01000002" + "00002000" + "00000000" * 3  # struct vfs_cap_data, little-endian
DOCKERS = 0xA80425FB
NODES = {"mem": (1, 1), "kmsg": (1, 11), "console": (5, 1), "zero": (1, 5)}


@pytest.fixture(scope="module")
def busybox_program(shared_store) -> bytes:
    """The static program that is inside the busybox image."""
    return shared_store.cli("run", "--rm", "busybox", "cat", "/bin/busybox", text=False, check=True).stdout


@pytest.fixture
def image(shared_store, busybox_program) -> Iterator[Callable[..., str]]:
    """Make an image of busybox at /bin and the given members; removed afterwards."""

    def make(*members: tarfile.TarInfo | Entry, changes: tuple[str, ...] = ()) -> str:
        plain = [member for member in members if isinstance(member, Entry)]
        buffer = io.BytesIO(tar_of((Entry("bin/busybox", content=busybox_program, mode=0o755), *plain)))
        with tarfile.open(fileobj=buffer, mode="a") as archive:
            for member in members:
                if isinstance(member, tarfile.TarInfo):
                    archive.addfile(member, io.BytesIO(busybox_program))
        flags = [word for change in changes for word in ("-c", change)]
        shared_store.cli("import", *flags, "-", REFERENCE, input=buffer.getvalue(), text=False, check=True)
        return REFERENCE

    yield make
    shared_store.cli("rmi", "-f", REFERENCE)


@pytest.fixture
def target(tmp_path) -> Iterator[Path]:
    """A directory of the host's that nothing may change."""
    (tmp_path / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (tmp_path / "sub").mkdir()
    yield tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["passwd", "sub"]
    assert not list((tmp_path / "sub").iterdir())


def node(name: str, kind: bytes, major: int = 0, minor: int = 0) -> tarfile.TarInfo:
    """A device or a fifo that everybody may use."""
    member = tarfile.TarInfo(name)
    member.type, member.devmajor, member.devminor, member.mode = kind, major, minor, 0o666
    return member


@pytest.mark.parametrize(
    ("name", "kind"), [(".", "link"), ("./", "link"), ("/", "link"), ("a/..", "hard"), (".", "file")]
)
def test_the_root_of_a_layer_is_replaced_by_nothing(cli, target, name, kind):
    # CVE-2021-29136: umoci followed a link in the place of the root, and wrote the rest of the layer behind it.
    entries = [Entry(name, kind, str(target)), Entry("sub/new", content="x"), directory("made"), link("l", "x")]
    done = cli("import", "-", REFERENCE, input=tar_of(entries), text=False)
    assert len(done.stderr.splitlines()) == (1 if done.returncode else 0)
    cli("rmi", "-f", REFERENCE)


ACCOUNTS = {
    "a fifo": node("etc/passwd", tarfile.FIFOTYPE),
    "a device without end": node("etc/passwd", tarfile.CHRTYPE, 1, 5),
    "a link to one of the host's": link("etc/passwd", "/dev/zero"),
    "a link through /proc": link("etc/passwd", "/proc/self/root/etc/passwd"),
    "a directory": directory("etc/passwd"),
    "a link in circles": link("etc/passwd", "passwd"),
    "sixty million lines": None,
}


@pytest.mark.parametrize("accounts", ACCOUNTS.values(), ids=ACCOUNTS)
def test_accounts_that_are_no_file_neither_hang_nor_fill_memory(cli, image, accounts):
    # CVE-2024-9676: a link at /etc/passwd made the engine read what never ends, or a file of the host's.
    huge = Entry("etc/passwd", content=b"x:x:1:1::/:\n" * (1 << 20))
    reference = image(directory("etc"), accounts or huge)
    done = cli("run", "--rm", "-u", "intruder", reference, "/bin/busybox", "true", timeout=SECONDS)
    assert "intruder" in complaint(done, 125)


def test_a_device_of_an_image_opens_nothing(cli, image):
    kinds = {name: node(f"d/{name}", tarfile.CHRTYPE, *numbers) for name, numbers in NODES.items()}
    reference = image(directory("d"), *kinds.values(), node("d/disk", tarfile.BLKTYPE, 8, 0))
    script = "for name in /d/*; do /bin/busybox head -c 1 $name > /dev/null 2>&1 && echo $name; done; true"
    assert cli("run", "--rm", reference, "/bin/busybox", "sh", "-c", script, check=True).stdout.split() in (
        [],
        # With a single id a device cannot be made at all: an empty file stands for it, and reads as nothing.
        [f"/d/{name}" for name in ("console", "disk", "kmsg", "mem", "zero")],
    )
    read = cli(
        "run", "--rm", reference, "/bin/busybox", "sh", "-c", "/bin/busybox head -c 9 /d/zero | /bin/busybox wc -c"
    )
    assert read.stdout == "0\n"


def test_capabilities_of_a_file_of_an_image_are_not_more_than_the_containers(cli, shared_store, image, busybox_program):
    # CVE-2022-27649 and kin: what a file or an ancestor hands on is no way around the bounding set.
    gift = tarfile.TarInfo("gift/busybox")
    gift.mode, gift.size = 0o755, len(busybox_program)
    gift.pax_headers = {"SCHILY.xattr.security.capability": bytes.fromhex(CAP_SYS_ADMIN_EP).decode()}
    user = "0" if ids_inside(shared_store) == 1 else "1000"
    reference = image(directory("gift"), gift)
    done = cli("run", "--rm", "-u", user, reference, "/gift/busybox", "grep", "^Cap", "/proc/self/status")
    if done.returncode == 126:
        return  # the kernel refuses a program that asks for more than it can have (execve(2), EPERM)
    masks = {name: int(mask, 16) for name, mask in (line.split() for line in done.stdout.splitlines())}
    assert masks["CapInh:"] == masks["CapAmb:"] == 0
    assert not (masks["CapEff:"] | masks["CapPrm:"]) & ~DOCKERS


@pytest.mark.parametrize("workdir", ["/cwd/made", "/up/made", "/proc/self/fd/7/made"])
def test_a_working_directory_of_an_image_is_made_inside(cli, image, target, workdir):
    # CVE-2024-21626, CVE-2026-55686: WORKDIR through a link made directories on the host.
    away = f"{'../' * 12}{str(target)[1:]}/sub"
    reference = image(link("cwd", f"{target}/sub"), link("up", away), changes=(f"WORKDIR {workdir}",))
    done = cli("run", "--rm", reference, "/bin/busybox", "pwd")
    assert done.returncode == 0 or len(done.stderr.splitlines()) == 1


def test_variables_of_an_image_reach_its_command_alone(cli, image):
    names = ("LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "GCONV_PATH")
    reference = image(changes=tuple(f"ENV {name}=/nothing" for name in names))
    done = cli("run", "--rm", reference, "/bin/busybox", "sh", "-c", f"echo ${' $'.join(names)}", check=True)
    assert (done.stdout.split(), done.stderr) == (["/nothing"] * len(names), "")


def test_an_image_gives_no_orders_to_a_terminal(cli, image, name):
    # CVE-2003-0063 and kin: control sequences in names that are shown.
    orders = r"\u001b]0;title\u0007\u001b[31m\n"
    reference = image(changes=(f'CMD ["/bin/{orders}", "{orders}"]', f'LABEL "a"="{orders}"'))
    refused = cli("run", "--name", name, reference)
    assert len(refused.stderr.splitlines()) == 1
    shown = (("ps", "-a", "--no-trunc"), ("images",), ("inspect", name), ("inspect", reference), ("ps", "-a"))
    for text in (refused.stderr, *(cli(*command, check=True).stdout for command in shown)):
        assert not {"\x1b", "\x07"} & set(text)


def test_a_bomb_is_unpacked_in_bounded_memory(shared_store):
    # 240 MB of zeros in 240 KB; whoever holds them in memory at once does not fit into the limit.
    member = tarfile.TarInfo("zeros")
    member.size = 240 << 20
    packed = io.BytesIO()
    with gzip.open(packed, "wb", compresslevel=9) as stream:
        stream.write(member.tobuf())
        for _ in range(240):
            stream.write(bytes(1 << 20))
        stream.write(bytes(1024))
    memory = 220 << 20
    done = subprocess.run(
        [COMMAND, "import", "-", REFERENCE],
        input=packed.getvalue(),
        env=shared_store.environ(),
        capture_output=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),
    )
    assert done.returncode == 0, done.stderr
    shared_store.cli("rmi", "-f", REFERENCE, check=True)


def test_a_bomb_beyond_the_cap_is_refused_before_it_is_written(cli, shared_store):
    member = tarfile.TarInfo("huge")
    member.size = 1 << 50
    done = cli(
        "import", "-", REFERENCE, input=member.tobuf(tarfile.GNU_FORMAT) + bytes(1024), text=False, timeout=SECONDS
    )
    assert b"more than" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not [path for path in (shared_store.home / "staging").iterdir() if path.is_dir()]
