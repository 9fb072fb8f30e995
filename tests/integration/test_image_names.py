"""Names of images: given, taken away, and what goes with the last of them."""

import json

import pytest
from support.containers import complaint, inspected
from support.tar_files import Entry, tar_of

pytestmark = pytest.mark.same_for_every_user


@pytest.fixture
def image(store):
    """Make a small image under a name, in a store of the test's own; returns its id."""

    def make(*references: str, content: str = "x") -> str:
        archive = tar_of([Entry("file", content=content, mode=0o755)])
        first, *others = references or ("",)
        done = store.cli("import", "-c", 'CMD ["/file"]', "-", *filter(None, (first,)), input=archive, text=False)
        assert done.returncode == 0, done.stderr
        id_ = done.stdout.decode().strip()
        for other in others:
            store.cli("tag", id_, other, check=True)
        return id_

    return make


def names(store) -> set[str]:
    """What ``images`` lists, as repository:tag."""
    return {":".join(line.split()[:2]) for line in store.cli("images").stdout.splitlines()[1:]}


def stored(store) -> tuple[int, int]:
    """How many layers and blobs are on disk."""
    return len(list((store.home / "layers").iterdir())), len(list((store.home / "oci/blobs/sha256").iterdir()))


def test_tag_gives_one_more_name_to_the_same_image(store, image):
    id_ = image("first")
    store.cli("tag", "first", "other/repository:v1", check=True)
    assert names(store) == {"first:latest", "other/repository:v1"}
    assert inspected(store, "other/repository:v1")["Id"] == id_
    assert inspected(store, id_)["RepoTags"] == ["first:latest", "other/repository:v1"]


def test_a_name_moves_to_another_image(store, image):
    old = image("moving", content="old")
    new = image("moving", content="new")
    assert inspected(store, "moving")["Id"] == new != old
    assert names(store) == {"moving:latest", "<none>:<none>"}


@pytest.mark.parametrize("target", ["Upper", "a b", "x@sha256:" + "0" * 64, "a:" + "t" * 129])
def test_a_bad_name_is_refused(store, image, target):
    image("first")
    assert complaint(store.cli("tag", "first", target), 1)
    assert names(store) == {"first:latest"}


def test_rmi_of_one_name_of_several_only_takes_the_name(store, image):
    image("first", "second")
    assert store.cli("rmi", "first", check=True).stdout == "Untagged: first:latest\n"
    assert names(store) == {"second:latest"}
    assert stored(store)[0] == 1


def test_rmi_of_the_last_name_deletes_everything(store, image):
    id_ = image("first")
    lines = store.cli("rmi", "first", check=True).stdout.splitlines()
    assert lines[:2] == ["Untagged: first:latest", f"Deleted: {id_}"]
    assert lines[2].startswith("Deleted: sha256:")
    assert stored(store) == (0, 0)
    assert names(store) == set()
    assert json.loads((store.home / "oci/index.json").read_text())["manifests"] == []


def test_rmi_by_id_of_several_names_wants_force(store, image):
    id_ = image("first", "second")
    assert "must be forced" in complaint(store.cli("rmi", id_), 1)
    store.cli("rmi", "-f", id_, check=True)
    assert stored(store) == (0, 0)


def test_rmi_by_the_start_of_an_id_works(store, image):
    id_ = image("first")
    store.cli("rmi", id_.partition(":")[2][:12], check=True)
    assert stored(store) == (0, 0)


def test_an_image_in_use_is_kept(store, image):
    id_ = image("first")
    container = store.cli("create", "first", check=True).stdout.strip()
    assert container[:12] in complaint(store.cli("rmi", "first"), 1)
    assert "must be forced" in complaint(store.cli("rmi", id_), 1)
    assert store.cli("rmi", "-f", "first", check=True).stdout == f"Untagged: first:latest\nDeleted: {id_}\n"
    assert names(store) == set()
    assert "No such image" in complaint(store.cli("image", "inspect", id_), 1)
    assert stored(store)[0] == 1
    assert store.cli("ps", "-aq", "--no-trunc", check=True).stdout.strip() == container
    made = store.cli("commit", container, "again", check=True).stdout.strip()
    store.cli("rmi", made, check=True)
    store.cli("rm", container, check=True)
    assert stored(store) == (0, 0)


def test_several_are_removed_at_once_and_failures_told(store, image):
    image("first")
    image("second", content="y")
    done = store.cli("rmi", "first", "unknown", "second")
    assert "unknown" in complaint(done, 1)
    assert names(store) == set()


def test_a_layer_goes_with_the_last_image_that_has_it(store, image):
    first = image("first", content="same")
    store.cli(
        "import", "-c", "ENV A=1", "-", "second", input=tar_of([Entry("file", content="same", mode=0o755)]), text=False
    )
    assert inspected(store, "second")["Id"] != first
    assert stored(store)[0] == 1
    store.cli("rmi", "first", check=True)
    assert stored(store)[0] == 1
    store.cli("rmi", "second", check=True)
    assert stored(store) == (0, 0)


def test_images_shows_dockers_columns(store, image):
    id_ = image("localhost:5000/team/first:v1.0")
    header, row = store.cli("images").stdout.splitlines()
    assert header.replace("IMAGE ID", "ID").split() == ["REPOSITORY", "TAG", "ID", "CREATED", "SIZE"]
    repository, tag, short, *created, size = row.split()
    assert (repository, tag, short) == ("localhost:5000/team/first", "v1.0", id_[7:19])
    assert created[-1] == "ago" and size.endswith("B")
    assert store.cli("images", "-q", "--no-trunc").stdout == f"{id_}\n"
    assert store.cli("images", "localhost:5000/team/first", "-q").stdout == f"{id_[7:19]}\n"
    assert store.cli("images", "nothing-of-that-name").stdout.count("\n") == 1


def test_inspect_of_an_image_has_dockers_shape(store, image):
    id_ = image("first")
    document = inspected(store, "first")
    assert document["Id"] == id_
    assert document["RepoTags"] == ["first:latest"]
    assert document["Os"] == "linux"
    assert document["RootFS"]["Type"] == "layers" and len(document["RootFS"]["Layers"]) == 1
    assert document["Config"]["Cmd"] == ["/file"]
    assert isinstance(document["Size"], int)


def test_an_ambiguous_start_of_an_id_is_refused(store, image):
    first = [image(content=str(number))[7] for number in range(2)]
    while len(set(first)) == len(first):
        first.append(image(content=str(len(first)))[7])
    assert "start of 2" in complaint(store.cli("inspect", first[-1]), 1)


def test_the_layout_lists_what_the_store_has(store, image):
    image("first", "second:v2")
    index = json.loads((store.home / "oci/index.json").read_text())
    listed = {
        entry["annotations"]["org.opencontainers.image.ref.name"].rpartition("/")[2] for entry in index["manifests"]
    }
    assert listed == {"first:latest", "second:v2"}
    for entry in index["manifests"]:
        path = store.home / "oci/blobs" / entry["digest"].replace(":", "/")
        assert path.stat().st_size == entry["size"]
