"""An image is a stranger's: its links, names and programs reach nothing of the host."""

import subprocess

import pytest
from support.containers import complaint
from support.store import COMMAND
from support.tar_files import Entry, directory, link, tar_of

pytestmark = pytest.mark.same_without_root

BUSYBOX_AT = "bin/busybox"


@pytest.fixture(scope="module")
def busybox_program(shared_store) -> bytes:
    """The static program that is inside the busybox image."""
    done = shared_store.cli("run", "--rm", "busybox", "cat", "/bin/busybox", text=False, check=True)
    return done.stdout


@pytest.fixture
def image(shared_store, busybox_program, request):
    """Make an image of busybox at /bin and the given entries; removed afterwards."""
    reference = "hostile:test"

    def make(*entries: Entry, program: str = BUSYBOX_AT, changes: tuple[str, ...] = ()) -> str:
        parts = (Entry(program, content=busybox_program, mode=0o755), *entries)
        flags = [word for change in changes for word in ("-c", change)]
        shared_store.cli("import", *flags, "-", reference, input=tar_of(parts), text=False, check=True)
        return reference

    yield make
    shared_store.cli("rmi", "-f", reference)


@pytest.fixture
def target(tmp_path):
    """A directory of the host's that nothing may change, with what mount points are called."""
    for name in ("hosts", "hostname", "resolv.conf"):
        (tmp_path / name).write_text("the host's\n")
    (tmp_path / "sub").mkdir()
    yield tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hostname", "hosts", "resolv.conf", "sub"]
    assert {(tmp_path / name).read_text() for name in ("hosts", "hostname", "resolv.conf")} == {"the host's\n"}
    assert not list((tmp_path / "sub").iterdir())


def outcome(cli, reference: str, *flags: str) -> str:
    """Run a shell there: what it wrote, or the single line that refuses the image."""
    done = cli("run", "--rm", *flags, reference, "/bin/busybox", "echo", "ran")
    if done.returncode:
        assert done.returncode in (125, 126, 127)
        return complaint(done, done.returncode)
    return done.stdout


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "etc", "dev/shm", "sys/fs/cgroup"])
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "upwards"])
def test_a_link_where_a_filesystem_is_mounted_leads_nowhere(cli, image, target, name, relative):
    away = f"{'../' * 12}{str(target)[1:]}/sub" if relative else f"{target}/sub"
    parents = [directory(name.rpartition("/")[0])] if "/" in name else []
    outcome(cli, image(*parents, link(name, away)))


@pytest.mark.parametrize("name", ["hosts", "hostname", "resolv.conf"])
def test_a_link_where_a_file_is_mounted_leads_nowhere(cli, image, target, name):
    outcome(cli, image(directory("etc"), link(f"etc/{name}", f"{target}/{name}")))
    outcome(cli, image(directory("etc"), link(f"etc/{name}", f"{target}/new-{name}")))


def test_proc_of_the_host_is_never_what_is_seen(cli, image):
    done = cli("run", "--rm", image(directory("real"), link("proc", "real")), "/bin/busybox", "ls", "/proc")
    assert done.returncode in (0, 125)
    assert "1" in done.stdout.split() or done.returncode == 125


def test_a_volumes_target_is_resolved_inside(cli, image, target, tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    (source / "x").touch()
    reference = image(link("data", str(target)), link("up", f"{'../' * 12}{str(target)[1:]}"))
    for inside in ("/data/sub", "/data", "/up/sub", "/data/made/deep"):
        outcome(cli, reference, "-v", f"{source}:{inside}")


@pytest.mark.parametrize("place", ["dev", "/dev", "proc", "sys", "proc/sys", "proc/self/fd"])
def test_a_volume_that_a_link_puts_over_the_masks_is_refused(cli, image, tmp_path, place):
    # CVE-2025-31133: masked paths are covered with /dev/null, which whoever owns /dev could replace.
    secret, volume = tmp_path / "secret", tmp_path / "volume"
    secret.write_text("the host's secret\n")
    secret.chmod(0o600)
    volume.mkdir()
    for name in ("null", "interrupts"):
        (volume / name).symlink_to(secret)
    script = "/bin/busybox cat /proc/interrupts /proc/keys; echo broken > /proc/interrupts; echo broken > /dev/null"
    reference = image(link("data", place))
    for target in ("/data", f"/{place.strip('/')}"):
        done = cli("run", "--rm", "-v", f"{volume}:{target}", reference, "/bin/busybox", "sh", "-c", script)
        assert "that is in /proc" in complaint(done, 125)
        assert secret.read_text() == "the host's secret\n"
    assert sorted(path.name for path in volume.iterdir()) == ["interrupts", "null"]


@pytest.mark.parametrize("root", ["/", "..", "etc/.."])
def test_a_volume_that_a_link_puts_over_the_root_is_refused(cli, image, target, root):
    reference = image(link("data", root), directory("etc"))
    done = cli("run", "--rm", "-v", f"{target}:/data", reference, "/bin/busybox", "ls", "/..")
    assert "of the root" in complaint(done, 125)


@pytest.mark.parametrize("inside", ["/proc/self/fd", "/proc/self/exe", "/proc/self/root", "/proc/1/root/tmp"])
def test_a_volume_over_a_magic_link_is_refused_or_harmless(cli, target, inside):
    done = cli("run", "--rm", "-v", f"{target}/sub:{inside}", "busybox", "echo", "ran")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize("number", [3, 5, 7, 8])
def test_a_working_directory_that_is_a_leaked_descriptor_is_refused(cli, number):
    # CVE-2024-21626: a descriptor of the host's, open while the working directory is entered.
    done = cli(
        "run", "--rm", "-w", f"/proc/self/fd/{number}", "busybox", "sh", "-c", "ls ../../../../root/../etc/shadow"
    )
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1


def test_a_working_directory_is_not_made_through_a_descriptor_of_the_caller(shared_store, target):
    script = f'exec 9< {target}/sub; exec {COMMAND} run --rm -w "$0" busybox true'
    for number in range(3, 12):
        command = ["sh", "-c", script, f"/proc/self/fd/{number}/evil"]
        done = subprocess.run(command, env=shared_store.environ(), capture_output=True, text=True, timeout=30)
        complaint(done, 125)


def test_a_working_directory_made_by_a_link_stays_inside(cli, image, target):
    reference = image(link("cwd", f"{target}/sub"), link("fd", "/proc/self/fd/7"))
    for directory_ in ("/cwd", "/cwd/new", "/fd"):
        outcome(cli, reference, "-w", directory_)


@pytest.mark.parametrize("first", ["#!/proc/self/exe\n", "#!/proc/self/exe -c\n", "#!/proc/1/exe\n"])
def test_an_entrypoint_that_asks_for_our_own_program_gets_nothing_of_it(cli, image, first):
    # CVE-2019-5736: the interpreter of a script is opened by the process that execve(2) replaces.
    script = f"{first}import os\nprint('the host python ran', os.listdir('/'))\n"
    reference = image(Entry("attack", content=script, mode=0o755), directory("tmp"))
    done = cli("run", "--rm", reference, "/attack")
    assert done.returncode != 0
    assert "the host python ran" not in done.stdout
    assert "Traceback" not in done.stderr


def test_the_program_behind_a_link_to_our_own_is_not_ours(cli, image):
    reference = image(link("self", "/proc/self/exe"))
    done = cli("run", "--rm", reference, "/self", "-c", "print('the host python ran')")
    assert done.returncode != 0
    assert "the host python ran" not in done.stdout


def test_accounts_behind_links_are_not_the_hosts(cli, image, tmp_path):
    (tmp_path / "passwd").write_text("intruder:x:0:0::/:/bin/sh\n")
    (tmp_path / "group").write_text("intruders:x:0:\n")
    tmp_path.chmod(0o755)
    reference = image(
        directory("etc"), link("etc/passwd", f"{tmp_path}/passwd"), link("etc/group", f"{'../' * 9}{tmp_path}/group")
    )
    assert "intruder" in complaint(cli("run", "--rm", "-u", "intruder", reference, "/bin/busybox", "true"), 125)
    assert cli("run", "--rm", "-u", "0:intruders", reference, "/bin/busybox", "true").returncode == 125


def test_an_image_without_mount_points_runs(cli, image):
    script = "cat /proc/1/comm; ls /dev/null; hostname | cmp - /etc/hostname && echo same"
    done = cli("run", "--rm", image(), "/bin/busybox", "sh", "-c", script.replace("cat", "/bin/busybox cat"))
    assert done.returncode in (0, 1, 127)
    assert cli("run", "--rm", image(), "/bin/busybox", "ls", "/").stdout.split() == ["bin", "dev", "etc", "proc", "sys"]


@pytest.mark.parametrize(
    "entries",
    [
        (directory("etc"), link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")),
        (directory("etc"), link("etc/resolv.conf", "/var/run/resolv.conf"), link("var", "private/var")),
        (link("etc", "usr/etc"),),
    ],
    ids=["a missing directory", "a link on the way", "etc itself"],
)
def test_links_to_what_is_not_there_yet_are_followed_inside(cli, image, entries):
    # Debian's and Ubuntu's resolv.conf leads to a file that systemd-resolved makes later.
    reference = image(*entries)
    assert outcome(cli, reference) == "ran\n"
    script = "/bin/busybox cat /etc/resolv.conf && /bin/busybox hostname | /bin/busybox cmp - /etc/hostname"
    cli("run", "--rm", reference, "/bin/busybox", "sh", "-c", script, check=True)


def test_a_link_to_itself_is_told_in_one_line(cli, image):
    done = cli("run", "--rm", image(directory("etc"), link("etc/hosts", "hosts")), "/bin/busybox", "true")
    assert "/etc/hosts" in complaint(done, 125)


@pytest.mark.parametrize("change", [r'CMD ["/bin/busybox", "a\u0000b"]', r'ENTRYPOINT ["\u0000"]'])
def test_a_command_with_a_zero_byte_is_a_failure_that_is_told(cli, image, change):
    complaint(cli("run", "--rm", image(changes=(change,))), 125)


def test_files_where_directories_are_wanted_are_told_in_one_line(cli, image):
    for name in ("proc", "dev", "etc"):
        message = outcome(cli, image(Entry(name, content="a file")))
        assert message


@pytest.mark.parametrize(
    "entry",
    [
        Entry("../escaped", content="x"),
        Entry("/../escaped", content="x"),
        Entry("a/../../escaped", content="x"),
        Entry("escaped", "hard", "../../../../../../etc/hostname"),
    ],
    ids=["upwards", "absolute and upwards", "up and down", "hard link"],
)
def test_names_in_an_archive_stay_beneath_its_root(cli, image, shared_store, entry):
    done = cli("import", "-", "hostile:test", input=tar_of([entry]), text=False)
    assert len(done.stderr.splitlines()) == (1 if done.returncode else 0)
    escaped = [path for path in shared_store.home.rglob("escaped") if "/layers/" not in str(path)]
    assert not escaped


def test_a_member_below_a_link_of_the_archive_stays_inside(cli, image, target):
    done = cli("import", "-", "hostile:test", text=False, input=tar_of([link("x", str(target)), Entry("x/new")]))
    assert len(done.stderr.splitlines()) == (1 if done.returncode else 0)
