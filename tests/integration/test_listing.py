"""``ps``: which containers it lists, and what it says of them."""

import json
import re
import uuid
from collections.abc import Callable, Iterator

import pytest
from support.containers import complaint
from support.store import Store

pytestmark = pytest.mark.same_for_every_user

Make = Callable[..., str]


@pytest.fixture
def make(shared_store: Store) -> Iterator[Make]:
    """``make("old", "-l", "a=b")`` creates a container whose name ends so; all are removed afterwards."""
    stem = f"t{uuid.uuid4().hex[:8]}"
    made: list[str] = []

    def create(name: str, *flags: str, image: str = "busybox", command: tuple[str, ...] = ("sleep", "100")) -> str:
        full = f"{stem}-{name}"
        shared_store.cli("create", "--name", full, "-l", f"test={stem}", *flags, image, *command, check=True)
        made.append(full)
        return full

    create.stem = stem  # type: ignore[attr-defined]
    yield create
    shared_store.cli("rm", "-f", *made)


def listed(store: Store, make: Make, *flags: str) -> list[str]:
    """The ends of the names of the test's own containers that a ``ps`` lists, in its order."""
    stem = make.stem  # type: ignore[attr-defined]
    done = store.cli("ps", "--filter", f"label=test={stem}", "--format", "{{.Names}}", *flags, check=True)
    return [name.removeprefix(f"{stem}-") for name in done.stdout.split()]


def test_containers_are_listed_newest_first_and_by_their_state(shared_store: Store, make: Make) -> None:
    for name in ("one", "two", "three"):
        make(name)
    shared_store.cli("start", make.stem + "-two", check=True)  # type: ignore[attr-defined]
    assert listed(shared_store, make) == ["two"]
    assert listed(shared_store, make, "-a") == ["three", "two", "one"]
    assert listed(shared_store, make, "-f", "status=created") == ["three", "one"]
    assert listed(shared_store, make, "-f", "status=created", "-f", "status=running") == ["three", "two", "one"]
    assert listed(shared_store, make, "-n", "2") == ["three", "two"]
    assert listed(shared_store, make, "-l") == ["three"]
    assert listed(shared_store, make, "-l", "-f", "status=running") == ["two"]
    assert listed(shared_store, make, "-n", "-1") == ["two"]


def test_filters_mean_what_they_mean_to_docker(shared_store: Store, make: Make) -> None:
    first = make("first", "-l", "colour=red", "--network", "none")
    second = make("second", "-l", "colour=blue", "-l", "big", "-v", "/usr/share:/data:ro")
    stem = make.stem  # type: ignore[attr-defined]
    id_ = shared_store.cli("inspect", "-f", "{{.Id}}", first, check=True).stdout.strip()
    image = shared_store.cli("inspect", "-f", "{{.Image}}", first, check=True).stdout.strip()

    def found(*filters: str) -> list[str]:
        return listed(shared_store, make, "-a", *(word for text in filters for word in ("-f", text)))

    both = ["second", "first"]
    assert found(f"name={stem}") == found("name=^/t") == found(f"name=^{stem}-") == both
    assert found(f"name=/{first}$") == found(f"id={id_[:20]}") == found(f"id=^{id_}$") == ["first"]
    assert found("name=[") == []
    assert found("label=colour") == both
    assert found("label=colour=red") == ["first"]
    assert found("label=colour", "label=big") == ["second"]
    assert found("ancestor=busybox") == found("ancestor=busybox:latest") == found(f"ancestor={image[7:19]}") == both
    assert found("ancestor=nosuch") == []
    assert found(f"before={second}") == ["first"]
    assert found(f"since={id_[:12]}") == ["second"]
    assert found("volume=/data") == found("volume=/usr/share") == ["second"]
    assert found("network=none") == both
    assert found("network=host") == found("publish=80") == found("expose=80/tcp") == found("is-task=true") == []
    assert found("health=none", "isolation=default", "is-task=false") == both
    shared_store.cli("start", "-a", make("ended", command=("sh", "-c", "exit 3")))
    assert found("exited=3") == ["ended"]
    assert found("exited=0") == []  # what was never started has not exited


@pytest.mark.parametrize(
    ("filter_", "said", "status"),
    [
        ("colour=red", "Invalid filter 'colour'", 1),
        ("status=bogus", "Invalid filter 'status=bogus'", 1),
        ("exited=x", 'strconv.Atoi: parsing "x": invalid syntax', 1),
        ("before=nosuch", "no such container nosuch", 1),
        ("health=bogus", "Unrecognised filter value for health: bogus", 1),
        ("is-task=maybe", "Invalid filter 'is-task=[maybe]'", 1),
    ],
)
def test_a_wrong_filter_is_named(shared_store: Store, filter_: str, said: str, status: int) -> None:
    assert complaint(shared_store.cli("ps", "-f", filter_), status) == said


def test_a_filter_without_a_value_is_a_wrong_flag(shared_store: Store) -> None:
    refused = shared_store.cli("ps", "--filter", "bogus")
    assert refused.returncode == 125
    assert 'invalid argument "bogus" for "-f, --filter" flag: bad format of filter' in refused.stderr


def test_descendants_of_an_image_have_it_as_their_ancestor(shared_store: Store, make: Make) -> None:
    parent = make("parent")
    tag = f"child-{uuid.uuid4().hex[:8]}"
    shared_store.cli("commit", parent, tag, check=True)
    try:
        make("child", image=tag)
        assert listed(shared_store, make, "-a", "-f", "ancestor=busybox") == ["child", "parent"]
        assert listed(shared_store, make, "-a", "-f", f"ancestor={tag}") == ["child"]
    finally:
        shared_store.cli("rmi", "-f", tag)


def test_every_field_of_a_template(shared_store: Store, make: Make) -> None:
    name = make("x", "-l", "b.c=d", "-v", "/usr/share/zoneinfo:/data:ro", command=("sh", "-c", 'echo "a b"'))
    fields = ("ID", "Image", "Command", "CreatedAt", "RunningFor", "Ports", "State", "Status", "Names", "Mounts",
              "Networks", "LocalVolumes", 'Label "b.c"')  # fmt: skip
    template = "\t".join(f"{{{{.{field}}}}}" for field in fields)
    line = shared_store.cli("ps", "-af", f"name={name}", "--format", template, check=True).stdout.rstrip("\n")
    id_, image, command, created, running, *rest = line.split("\t")
    assert re.fullmatch("[0-9a-f]{12}", id_)
    assert (image, command) == ("busybox", r'''"sh -c 'echo \"a b\"'"''')
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} \w+", created)
    assert running.endswith(" ago")
    assert rest == ["", "created", "Created", name, "/usr/share/zon…", "none", "0", "d"]
    whole = shared_store.cli("ps", "-af", f"name={name}", "--no-trunc", "--format", "{{.ID}} {{.Mounts}}").stdout
    assert re.fullmatch("[0-9a-f]{64} /usr/share/zoneinfo\n", whole)


def test_a_table_takes_its_heads_from_the_template(shared_store: Store, make: Make) -> None:
    name = make("x", "-l", "com.my-label=v")
    template = r'table {{.Names}}\t{{.Label "com.my-label"}}\t{{.LocalVolumes}}'
    head, row = shared_store.cli("ps", "-af", f"name={name}", "--format", template, check=True).stdout.splitlines()
    assert re.split(r"\s{2,}", head) == ["NAMES", "my label", "LOCAL VOLUMES"]
    assert row.split() == [name, "v", "0"]


def test_json_and_raw(shared_store: Store, make: Make) -> None:
    name = make("x")
    row = json.loads(shared_store.cli("ps", "-af", f"name={name}", "--format", "json", check=True).stdout)
    assert list(row) == sorted(row)
    assert (row["Names"], row["State"], row["Size"], row["Labels"].count("test=")) == (name, "created", "0B", 1)
    raw = shared_store.cli("ps", "-asf", f"name={name}", "--format", "raw", check=True).stdout.splitlines()
    keys = [line.partition(":")[0] for line in raw if line]
    assert keys == [
        "container_id", "image", "command", "created_at", "state", "status", "names", "labels", "ports", "size",
    ]  # fmt: skip
    assert "state: created" in raw


def test_quiet_lists_ids_and_says_that_a_format_is_ignored(shared_store: Store, make: Make) -> None:
    name = make("x")
    quiet = shared_store.cli("ps", "-aqf", f"name={name}", "--no-trunc", "--format", "{{.Names}}", check=True)
    assert re.fullmatch("[0-9a-f]{64}\n", quiet.stdout)
    assert "WARNING: Ignoring custom format, because both --format and --quiet are set." in quiet.stderr


def test_size_counts_what_a_container_has_written(shared_store: Store, make: Make) -> None:
    name = make("x", command=("sh", "-c", "head -c 3000 /dev/zero > /file; ln /file /other"))
    shared_store.cli("start", "-a", name, check=True)
    head, row = shared_store.cli("ps", "-asf", f"name={name}", check=True).stdout.splitlines()
    assert head.split()[-1] == "SIZE"
    assert re.search(r" 3kB \(virtual [0-9.]+MB\)$", row)
    assert shared_store.cli("ps", "-af", f"name={name}", "--format", "{{.Size}}").stdout.startswith("3kB (virtual")


def test_an_image_whose_name_has_moved_is_listed_by_its_id(shared_store: Store, make: Make) -> None:
    tag = f"moving-{uuid.uuid4().hex[:8]}"
    shared_store.cli("tag", "busybox", tag, check=True)
    name = make("x", image=tag)
    shared_store.cli("commit", name, tag, check=True)
    try:
        shown = shared_store.cli("ps", "-af", f"name={name}", "--format", "{{.Image}}", check=True).stdout.strip()
        assert re.fullmatch("[0-9a-f]{12}", shown)
    finally:
        shared_store.cli("rmi", "-f", tag)


def test_the_same_list_under_every_name(shared_store: Store, make: Make) -> None:
    name = make("x")
    lists = {
        shared_store.cli(*words, "-aqf", f"name={name}", check=True).stdout
        for words in (("ps",), ("container", "ls"), ("container", "list"), ("container", "ps"))
    }
    assert len(lists) == 1
    assert lists != {""}


def test_a_name_can_be_changed(shared_store: Store, make: Make) -> None:
    name = make("x")
    shared_store.cli("rename", name, f"{name}-new", check=True)
    try:
        assert listed(shared_store, make, "-a") == ["x-new"]
    finally:
        shared_store.cli("container", "rename", f"{name}-new", name, check=True)


def test_no_port_is_published(shared_store: Store, make: Make) -> None:
    name = make("x")
    assert shared_store.cli("port", name, check=True).stdout == ""
    assert complaint(shared_store.cli("port", name, "80/tcp"), 1) == f"No public port '80/tcp' published for {name}"
    assert complaint(shared_store.cli("port", "nosuch"), 1) == "No such container: nosuch"
