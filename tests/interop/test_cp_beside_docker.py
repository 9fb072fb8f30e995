"""``cp`` on a real Docker engine and on ours: the same files in the same places, the same words when it refuses.

Every case copies within a directory of its own, made from one tree; all of them use one container on each side, and the
outcomes are compared afterwards. Errors must be the same word for word, but for paths of Docker's own.

Every third case is tried; all of them with ``KS_EVERY_STEP=1`` in the environment.
"""

import io
import os
import re
import shlex
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.peers import busybox_rootfs
from support.side_by_side import Pair, members

IMAGE = "trees"
STRIDE = 1 if os.environ.get("KS_EVERY_STEP") else 3

# Inside a container, where HERE is the case's own directory.
INSIDE = """
    dir d 755; file d/f 640 hi; dir d/sub 700; file d/sub/s 600 s; link d/l f; link d/up ../one
    file one 644 one; file sp\\ ace 644 x; link dl HERE/d; link rel d; link fl HERE/d/f; link dang nowhere
    link deep dl; dir with 755; file with/l 644 in-the-way; dir with/one 755; dir empty 555
    fifo pipe 644; hard d/h d/f
"""
# On the caller's machine.
OUTSIDE = """
    dir l 755; file l/f 751 new; dir l/sub 750; file l/sub/s 600 t; link l/ln f; link ldir l; link lfile l/f
    link ldang none; file one 644 local; file a:b 644 colon; dir there 755; file there/d 644 in-the-way
    dir taken 755; dir taken/f 755; file file 644 old; link tofile file; link todir there; dir d2 700; fifo lpipe 600
    link todang absent; hard l/h l/f
"""

INWARD = """
    l HERE/;              l HERE/d;            l/ HERE/d;           l/. HERE/d;          l HERE/new
    l HERE/new/;          l HERE/new/.;        l/. HERE/new;        l/. HERE/new/;       l HERE/no/new
    l HERE/d/f;           l HERE/d/f/;         l/. HERE/d/f;        l HERE/dl;           l HERE/dl/
    l/. HERE/dl;          l/. HERE/rel/;       l/. HERE/deep;       l HERE/fl;           l HERE/dang
    l/. HERE/dang;        l HERE/with;         l/. HERE/with;       l HERE/empty
    ldir HERE/d;          ldir/ HERE/d;        ldir/. HERE/d;       ldir HERE/new;       ldir HERE/new/
    lfile HERE/d;         lfile HERE/d/f;      lfile HERE/new;      ldang HERE/d;        ldang/ HERE/d
    one HERE/;            one HERE/d;          one HERE/d/;         one HERE/d/.;        one HERE/new
    one HERE/new/;        one HERE/new/.;      one HERE/no/new;     one HERE/one;        one HERE/one/
    one HERE/d/f;         one HERE/dl;         one HERE/dl/;        one HERE/fl;         one HERE/fl/
    one HERE/dang;        one HERE/rel;        one HERE/with;       one HERE/pipe;       one HERE/d/sub/../f
    one/ HERE/d;          one/. HERE/d;        nosuch HERE/d;       nosuch/ HERE/d;      no/such HERE/d
    a:b HERE/d;           ./a:b HERE/d;        lpipe HERE/d;        -L ldir HERE/d;      -L ldir HERE/new
    -L lfile HERE/d;      -L lfile HERE/new;   -L ldang HERE/d;     -L ldir/. HERE/d;    -L l HERE/d
    -a l HERE/d;          -a one HERE/new;     . HERE/new;          ./l HERE/d;          ../CASE/one HERE/d
    l/../one HERE/d;      there HERE/d/f;      one HERE;            'one' 'HERE/sp ace'; --archive one HERE/d
"""
OUTWARD = """
    HERE/d .;             HERE/d there;        HERE/d there/;       HERE/d taken;        HERE/d new
    HERE/d new/;          HERE/d new/.;        HERE/d no/new;       HERE/d no/;          HERE/d file
    HERE/d file/;         HERE/d tofile;       HERE/d todir;        HERE/d todang;       HERE/d d2
    HERE/d/ .;            HERE/d/ new;         HERE/d/. .;          HERE/d/. new;        HERE/d/sub/. d2
    HERE/d/. taken;       HERE/d/. file;       HERE/d/. no/new;     HERE/d/. todang;     HERE/dl .
    HERE/dl/ .;           HERE/dl/sub/. d2;        HERE/dl new;         HERE/rel new;        HERE/rel/ new
    HERE/fl .;            HERE/fl new;         HERE/fl file;        HERE/fl/ new;        HERE/dang .
    HERE/one .;           HERE/one new;        HERE/one new/;       HERE/one d2;         HERE/one d2/.
    HERE/one file;        HERE/one file/;      HERE/one tofile;     HERE/one todir;      HERE/one todang
    HERE/one no/new;      HERE/one no/;        HERE/one/ new;       HERE/one/. new;      HERE/d/f taken
    HERE/d/f there;       HERE/nosuch new;     HERE/no/such new;    HERE/one/x new;      HERE/pipe new
    HERE/empty new;       HERE/d/sub/.. new;   HERE/d/../one new
    -L HERE/dl .;         -L HERE/dl new;      -L HERE/fl .;        -L HERE/fl new;      -L HERE/dang new
    -L HERE/d new;        -L HERE/d/l .;       -L HERE/d/up new;    -L HERE/deep .;      -a HERE/d new
    HERE/one /dev/null;   HERE/d /dev/null;    HERE/one lpipe;      HERE/proc/x new;     'HERE/sp ace' new
    HERE/one ./a:b;       HERE/one ../CASE/n;  HERE/with there;     HERE/d/sub l;        HERE/d/l l
"""
STREAMED = """
    HERE/d;  HERE/d/;  HERE/d/.;  HERE/dl;  HERE/dl/;  HERE/dl/.;  HERE/one;  HERE/fl;  HERE/dang;  HERE/d/sub
    -L HERE/dl;  -L HERE/fl;  -L HERE/dang;  -L HERE/dl/;  HERE/nosuch;  HERE/one/;  HERE/pipe;  HERE/empty;  HERE/rel/
"""
REFUSED = """
    cp l l | must specify at least one container source
    cp - - | must specify at least one container source
    cp c1:/x c2:/y | copying between containers is not supported
    cp '' c1:/x | source can not be empty
    cp c1:/x '' | destination can not be empty
    cp c1:/x | requires
    cp | requires
    cp --nonsense c1:/x y | unknown flag: --nonsense
    cp nosuch:/x y | No such container: nosuch
    cp one nosuch:/x | No such container: nosuch
    cp nosuch nosuch:/x | no such file or directory
    diff | requires
    diff nosuch | No such container: nosuch
    diff a b | requires
"""


def _cases(table: str) -> list[str]:
    return [" ".join(case.split()) for case in re.split(r"[;\n]", table) if case.strip()]


def _furnish(top: Path, plan: str, here: str) -> None:
    """Make the tree that a plan describes; owners and times are whoever's and whenever's."""
    for step in re.split(r"[;\n]", plan):
        if not step.strip():
            continue
        kind, name, *rest = shlex.split(step)
        path = top / name
        match kind:
            case "dir":
                path.mkdir()
            case "file":
                path.write_text(rest[1])
            case "fifo":
                os.mkfifo(path)
            case "link":
                path.symlink_to(rest[0].replace("HERE", here))
            case "hard":
                path.hardlink_to(top / rest[0])
        if kind in ("dir", "file", "fifo"):
            path.chmod(int(rest[0], 8))


def _said(stderr: str | bytes) -> str:
    """The first line that is meant for the user, without the paths that are the system's or the engine's own."""
    text = stderr if isinstance(stderr, str) else stderr.decode()
    lines = [line for line in text.splitlines() if not line.startswith("time=")]
    said = re.sub(r"^(?:docker: |Error: |Error response from daemon: |kernel-sandbox: )+", "", "".join(lines[:1]))
    said = re.sub(r"^l?stat \S+: ", "lstat: ", said.replace("Error processing tar file(exit status 1): ", ""))
    said = "not a directory" if said == "lstat: not a directory" else said
    return re.sub(r"/\S+/(?:docker|ours)(?=/\d)", "", re.sub(r"(?<=the file )\S+", "PATH", said))


INS, OUTS, STREAMS = _cases(INWARD), _cases(OUTWARD), _cases(STREAMED)


class Session:
    """Both engines, with a container each in which the case number N has the directory /w/N."""

    def __init__(self, pair: Pair, directory: Path) -> None:
        self.pair = pair
        self.directory = directory

    def both(self, words: list[str], number: int, **options: Any) -> list[subprocess.CompletedProcess[Any]]:
        """One command on both, each in its own copy of the caller's directory."""
        with ThreadPoolExecutor(2) as threads:
            engines = (("docker", self.pair.docker.cli), ("ours", self.pair.store.cli))
            started = [threads.submit(cli, *words, cwd=self.place(side, number), **options) for side, cli in engines]
            return [each.result() for each in started]

    def place(self, side: str, number: int) -> Path:
        return self.directory / side / str(number)


def _words(case: str, number: int, directory: str = "") -> list[str]:
    """The command line of a case."""
    here = f"cc:/w/{directory or number}"
    return ["cp", *(word.replace("HERE", here).replace("CASE", str(number)) for word in shlex.split(case))]


def _by_case(archive: bytes) -> list[dict[str, tuple[object, ...]]]:
    """What /w holds, for each case."""
    found: list[dict[str, tuple[object, ...]]] = [{} for _ in range(max(len(INS), len(OUTS)))]
    for name, member in members(archive).items():
        _, number, path = (*name.split("/", 2), "", "")[:3]
        if number:
            found[int(number)][path] = member
    return found


def _tree(top: Path) -> dict[str, tuple[object, ...]]:
    """Every file below a directory: type and mode, owner, whether it has other names, link target or content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        linked = stat.S_ISREG(status.st_mode) and status.st_nlink > 1
        found[str(path.relative_to(top))] = (stat.filemode(status.st_mode), status.st_uid, linked, content)
    return found


@pytest.fixture(scope="module")
def session(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Both engines with one image of these trees; its container ``cc`` runs nothing."""
    directory = tmp_path_factory.mktemp("cp")
    root = busybox_rootfs(directory / "rootfs")
    for number in range(max(len(INS), len(OUTS))):
        (root / "w" / str(number)).mkdir(parents=True)
        _furnish(root / "w" / str(number), INSIDE, f"/w/{number}")
        for side in ("docker", "ours"):
            (directory / side / str(number)).mkdir(parents=True)
            _furnish(directory / side / str(number), OUTSIDE, "")
    with tarfile.open(directory / "image.tar", "w") as archive:
        archive.add(root, arcname=".")
    pair.raw(f"import {directory / 'image.tar'} {IMAGE}")
    pair.raw(f"create --name cc {IMAGE} true")
    yield Session(pair, directory)
    pair.forget("cc")
    pair.raw(f"rmi {IMAGE}")


CHANGES = """
    cd /w/0; echo >> one; busybox chmod 600 d/f; rm 'sp ace'; rm -r with; mkdir with; echo > with/new; touch d/sub
    rm -r empty; echo > empty; rm one; mkdir one; echo > one/in; mkdir -p new/er; busybox ln -s x new/link
    busybox mv dl moved; rm rel; touch -c fl; cat d/h; rm -r d/sub; mkdir d/sub; rm /bin/ps; mkdir /empty
"""


def test_the_changes_of_a_container_are_the_same(session: Session) -> None:
    """Docker 20.10 lists what is deleted in a directory last, and the rest of it in no order at all."""
    script = "; ".join(line.strip() for line in CHANGES.strip().splitlines())
    session.pair.raw(f"run --name changed {IMAGE} sh -c {shlex.quote(script)}")
    docker, ours = session.pair.raw("diff changed")
    session.pair.forget("changed")
    assert len(docker.stdout.splitlines()) > 20
    assert sorted(ours.stdout.splitlines()) == sorted(docker.stdout.splitlines())


def _answers(done: list[subprocess.CompletedProcess[Any]]) -> list[tuple[int, str]]:
    return [(each.returncode, _said(each.stderr)) for each in done]


@pytest.mark.parametrize("number", range(len(STREAMS)), ids=STREAMS)
def test_as_an_archive(session: Session, number: int) -> None:
    done = session.both([*_words(STREAMS[number], 0), "-"], 0, text=False)
    docker, ours = _answers(done)
    assert ours == docker
    dockers, own = (members(each.stdout) if each.stdout else {} for each in done)
    assert own == dockers


@pytest.mark.parametrize("number", range(0, len(OUTS), STRIDE), ids=OUTS[::STRIDE])
def test_out_of_a_container(session: Session, number: int) -> None:
    docker, ours = _answers(session.both(_words(OUTS[number], number, "0"), number))
    assert ours == docker
    dockers, own = (_tree(session.place(side, number)) for side in ("docker", "ours"))
    assert own == dockers


@pytest.mark.parametrize("number", range(0, len(INS), STRIDE), ids=INS[::STRIDE])
def test_into_a_container(session: Session, number: int) -> None:
    docker, ours = _answers(session.both(_words(INS[number], number), number))
    assert ours == docker


def test_what_went_into_the_container_is_the_same(session: Session) -> None:
    """After all the cases above, each in its own directory."""
    archives = session.pair.raw("cp cc:/w -", text=False)
    dockers, own = (_by_case(archive.stdout) for archive in archives)
    different = {case: (dockers[n], own[n]) for n, case in enumerate(INS) if dockers[n] != own[n]}
    assert not different


@pytest.mark.parametrize("case", [line.strip() for line in REFUSED.strip().splitlines()])
def test_a_mistake_has_the_same_exit_code_and_is_named(session: Session, case: str) -> None:
    line, _, words = map(str.strip, case.rpartition(" | "))
    docker, ours = session.both(shlex.split(line), 0)
    assert ours.returncode == docker.returncode
    assert words in docker.stderr, "the table quotes Docker"
    assert words in ours.stderr


def test_without_a_files_inside_belong_to_root(session: Session) -> None:
    """Docker's reference says so too; its engine keeps the numbers with ``-a`` and without."""
    for side in ("docker", "ours"):
        os.chown(session.place(side, 0) / "file", 1234, 567)
    session.both(["cp", "file", "cc:/tmp/plain"], 0)
    session.both(["cp", "-a", "file", "cc:/tmp/kept"], 0)
    dockers, own = (members(each.stdout) for each in session.pair.raw("cp cc:/tmp -", text=False))
    assert dockers["tmp/kept"] == dockers["tmp/plain"] == own["tmp/kept"]
    assert dockers["tmp/kept"][2:4] == (1234, 567)
    assert own["tmp/plain"][2:4] == (0, 0)


def test_no_right_to_become_another_user_comes_out_of_a_container(session: Session) -> None:
    """What its root made set-user-id would become so for the caller."""
    session.both(["cp", "-", "cc:/tmp"], 0, input=_set_user_id(), text=False)
    session.both(["cp", "cc:/tmp/suid", "suid"], 0)
    docker, ours = (stat.S_IMODE((session.place(side, 0) / "suid").stat().st_mode) for side in ("docker", "ours"))
    assert (docker, ours) == (0o4755, 0o755)


def _set_user_id() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("suid")
        info.mode = 0o4755
        archive.addfile(info)
    return buffer.getvalue()


def test_a_link_that_leads_out_of_the_destination_is_copied_as_it_is(session: Session) -> None:
    """Docker takes it for an attempt to break out; ours follows no link while it copies."""
    docker, ours = session.both(["cp", "cc:/w/0/d/.", "d2"], 0)
    assert (docker.returncode, ours.returncode) == (1, 0)
    assert "invalid symlink" in docker.stderr
    assert os.readlink(session.place("ours", 0) / "d2" / "up") == "../one"
