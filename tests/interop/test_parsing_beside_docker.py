"""How Docker's client and ours read command lines: what both refuse, in the same words, and what both take.

What is refused needs no daemon: the client does it. Since Docker 20.10 some sentences have lost a word or changed
their quotes; these are compared without them.
"""

import re
import shlex

import pytest
from support import peers
from support.peers import Peer, Unavailable
from support.side_by_side import Pair
from support.store import Store
from support.waiting import unavailable

REFUSED = """
    --nonsense
    --nonsense ps
    -z
    -z ps
    run
    run --rm
    run --rm=T
    run --
    run -z image true
    run -dz image
    run -iz image
    run -it -e
    run -it=maybe image
    run -=x image
    run -e
    run -h
    run -h=name
    run --name
    run --cap-add
    run --nonsense image true
    run --nonsense=1 image true
    run --nam x image true
    run ---x image
    run --=x image
    run --= image
    run --rm=maybe image true
    run --rm= image true
    run --rm=true=false image
    run -d=maybe image true
    run --sig-proxy=no image
    run --pids-limit x image true
    run --pids-limit= image true
    run --pids-limit 99999999999999999999 image true
    run -m bad image true
    run --memory bad image true
    run --stop-timeout x image
    run --oom-score-adj x image
    run --cpu-shares x image
    run --network
    create
    create -d image
    create --detach image
    container run -z image
    stop
    stop -t
    stop -t x c
    kill
    kill -s
    kill --signal
    kill -9 c
    kill -KILL c
    rm
    rm -q c
    rm -fz c
    logs
    logs a b
    logs --nonsense a
    logs --tail
    logs -n
    ps extra
    ps --nonsense
    ps --al
    ps -z
    ps -a=
    ps --all=
    ps --all=yes
    ps -aq=x
    ps -n x
    ps --last x
    ps --format
    container ls extra
    exec
    exec a
    exec -z a true
    exec -e
    attach
    attach a b
    rename a
    rename a b c
    commit
    commit a b c
    tag a
    wait
    top
    diff a b
    cp a
    inspect
    inspect -f
    inspect -z x
    export
    export a b
    rmi
    images a b
    images -z
    update
    update --restart
    info x
    version x
    events x
    events --nonsense
"""

UNKNOWN = ("nosuch", "container nosuch", "image nosuch")

TAKEN = """
    run --rm -it=false pair echo hi
    run --rm=true -i=false -t=0 pair echo hi
    run --rm=1 -eA=1 -e=B=2 -e C=3 --env=D=4 pair sh -c 'env | grep ^[A-D]='
    run --rm --name one --name parse-two -h=first -h second pair cat /etc/hostname
    run --rm -- pair echo -- hi
    run --rm pair echo -- --rm -x -e
    run --rm --pids-limit 0x40 --pids-limit=0b1000000 pair echo hi
    run --rm --pids-limit -1 pair echo hi
    run --rm --sig-proxy=false --sig-proxy pair echo hi
    run --rm=false --rm --name=parse-three pair echo hi
    ps -aq=false -q
    ps --all --quiet=true --
    images nosuch --quiet
    images --quiet nosuch
"""


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


@pytest.fixture(scope="module")
def client() -> Peer:
    """Docker's client without a daemon."""
    try:
        peers.require("docker")
    except Unavailable as reason:
        unavailable(str(reason))
    return Peer("docker", ("docker", "--config", "/nonexistent", "--host", "unix:///nonexistent"))


SEE = r"\.?; see 'kernel-sandbox.* --help'$"


def _comparable(text: str) -> str:
    """The first line, without what calls the speaker or has changed since Docker 20.10."""
    first = next(iter(text.splitlines()), "")
    first = re.sub(r"^(docker|kernel-sandbox): ", "", first)
    first = re.sub(SEE, "", first)
    first = re.sub(r"""["'](?:docker|kernel-sandbox) ([a-z ]+)["'](?= requires| accepts)""", r"\1", first)
    return first.replace("requires exactly ", "requires ").replace('"-t, --timeout"', '"-t, --time"').rstrip(".")


@pytest.mark.parametrize("line", _lines(REFUSED))
def test_both_refuse_it_in_the_same_words(client: Peer, home: Store, line: str) -> None:
    docker, ours = client.cli(*shlex.split(line)), home.cli(*shlex.split(line))
    assert (ours.returncode, _comparable(ours.stderr)) == (docker.returncode, _comparable(docker.stderr))
    assert ours.stdout == ""
    assert re.search(SEE, ours.stderr)


@pytest.mark.parametrize("line", UNKNOWN)
def test_both_refuse_a_command_that_they_do_not_have(client: Peer, home: Store, line: str) -> None:
    docker, ours = client.cli(*shlex.split(line)), home.cli(*shlex.split(line))
    assert ours.returncode == docker.returncode == 1
    assert "'nosuch' is not a kernel-sandbox" in ours.stderr


@pytest.mark.parametrize(
    "line", ["--help", "-h", "run --help", "run --rm --help image", "container", "container --help"]
)
def test_both_give_help(client: Peer, home: Store, line: str) -> None:
    docker, ours = client.cli(*shlex.split(line)), home.cli(*shlex.split(line))
    assert ours.returncode == docker.returncode == 0
    assert "Usage:" in ours.stdout


@pytest.mark.parametrize("line", _lines(TAKEN))
def test_both_take_it_and_do_the_same(pair: Pair, line: str) -> None:
    assert pair.agree(line).status == 0
