"""``rmi`` with the digests that registries know images by, which the scenarios beside Docker do not have."""

from pathlib import Path

import pytest

from kernel_sandbox.engine import image_names
from kernel_sandbox.engine.image_removal import Removed, remove
from kernel_sandbox.errors import Conflict, NotFound, UsageError
from kernel_sandbox.spec import reference
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.options import ContainerOptions
from kernel_sandbox.storage.images import Image, Layer
from kernel_sandbox.storage.state import Container, State

PULLED = Digest.of(b"a registry's")
ID = Digest.of(b"id of x")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.at(str(tmp_path / "state.db"))


def add(state: State, content: str = "x", *names: str, parent: str = "") -> Image:
    """An image of one layer; names with a digest are what registries know it by."""
    written = [reference.parse(name) for name in names]
    id_ = Digest.of(f"id of {content}".encode())
    state.images.add(
        Image(
            id=id_,
            manifest=Digest.of(f"manifest of {content}".encode()),
            manifest_size=1,
            created=1,
            size=1,
            layers=(Layer(Digest.of(b"blob"), Digest.of(content.encode()), 1),),
            tags=tuple(str(name) for name in written if name.tag),
            digests=tuple(str(name) for name in written if name.digest),
            parent=parent,
        )
    )
    return state.images.by_id(id_.hex)[0]


def rmi(state: State, name: str, force: bool = False) -> Removed:
    return remove(state, image_names.find(state.images, name), name, force)


def container_of(state: State, image: Image) -> Container:
    return state.add_container("c" * 64, "made", image.id, 0, ContainerOptions("x"))


def test_a_repositorys_last_tag_takes_its_digest_along(state: State) -> None:
    image = add(state, "x", "app:1", "app:2", f"app@{PULLED}", "other:1", f"other@{PULLED}")
    assert rmi(state, "app:1").untagged == ("app:1",)
    assert rmi(state, "app:2").untagged == ("app:2", f"app@{PULLED}")
    assert state.images.all()[0].digests == (f"docker.io/library/other@{PULLED}",)
    assert rmi(state, "other:1") == Removed(("other:1", f"other@{PULLED}"), (ID, image.layers[0].chain_id), (ID,))


def test_a_digest_can_be_taken_away_by_itself(state: State) -> None:
    add(state, "x", "app:1", f"app@{PULLED}")
    assert rmi(state, f"app:1@{PULLED}") == Removed((f"app@{PULLED}",))
    assert [image.tags for image in state.images.all()] == [("docker.io/library/app:1",)]


def test_an_image_with_a_digest_alone_goes_with_it(state: State) -> None:
    add(state, "x", f"app@{PULLED}")
    assert rmi(state, f"app@{PULLED}").images == (ID,)
    assert state.images.all() == ()


def test_one_repositorys_tag_and_digest_go_by_id_without_force(state: State) -> None:
    add(state, "x", "app:1", f"app@{PULLED}")
    assert rmi(state, ID.hex[:12]).untagged == ("app:1", f"app@{PULLED}")


def test_a_digest_of_another_repository_asks_for_force(state: State) -> None:
    add(state, "x", "app:1", f"other@{PULLED}")
    with pytest.raises(Conflict, match=r"must be forced\) - image is referenced in multiple repositories"):
        rmi(state, ID)
    assert rmi(state, ID, force=True).untagged == ("app:1", f"other@{PULLED}")


def test_an_image_without_a_registry_is_known_by_its_manifest(state: State) -> None:
    image = add(state, "x", "app:1")
    name = f"app@{image.manifest}"
    assert [each.familiar() for each in image_names.digests(image)] == [name]
    assert image_names.find(state.images, name) == image_names.find(state.images, f"app:9@{image.manifest}") == image
    with pytest.raises(NotFound, match=f"No such image: other@{image.manifest}"):
        image_names.find(state.images, f"other@{image.manifest}")
    assert rmi(state, name) == Removed(("app:1",), (ID, image.layers[0].chain_id), (ID,))


def test_what_a_registry_knows_is_told_instead(state: State) -> None:
    image = add(state, "x", "app:1", "other:1", f"app@{PULLED}")
    assert [str(each) for each in image_names.digests(image)] == [
        f"docker.io/library/app@{PULLED}",
        f"docker.io/library/other@{image.manifest}",
    ]


def test_force_takes_the_image_of_a_container_that_has_ended_out_of_sight_until_this_goes(state: State) -> None:
    image = add(state, "x", "app:1", "other:1")
    container = container_of(state, image)
    with pytest.raises(Conflict, match=r"must be forced\) - image is referenced in multiple repositories"):
        rmi(state, ID)
    assert rmi(state, ID, force=True) == Removed(("app:1", "other:1"), (ID,), (ID,))
    with pytest.raises(NotFound):
        rmi(state, ID, force=True)
    assert state.images.all() == ()
    assert [each.layers for each in state.images.all(hidden=True)] == [image.layers]
    assert state.remove_container(container)
    assert state.images.all(hidden=True) == ()


def test_a_hidden_image_that_comes_again_shows_and_stays_with_its_container(state: State) -> None:
    container = container_of(state, add(state, "x", "app:1"))
    assert rmi(state, "app:1", force=True).images == (ID,)
    assert add(state, "x", "new:1").tags == ("docker.io/library/new:1",)
    assert not state.remove_container(container)
    assert rmi(state, "new:1").images == (ID,)


def test_force_leaves_the_image_of_a_running_container_without_a_name(state: State) -> None:
    container = container_of(state, add(state, "x", "app:1"))
    state.set_paused(container, False)
    assert rmi(state, "app:1", force=True) == Removed(("app:1",))
    with pytest.raises(Conflict, match=r"cannot be forced\) - image is being used by running container cccccccccccc"):
        rmi(state, ID, force=True)
    assert [each.tags for each in state.images.all()] == [()]


def test_a_parent_that_a_container_has_is_not_removed_by_force(state: State) -> None:
    base = add(state, "base", parent="")
    container_of(state, base)
    add(state, "top", "top", parent=base.id)
    assert len(rmi(state, "top", force=True).images) == 1
    assert [image.id for image in state.images.all()] == [base.id]


def test_parents_without_a_name_go_along_up_to_one_that_is_needed(state: State) -> None:
    named = add(state, "named", "base")
    nameless = add(state, "nameless", parent=named.id)
    add(state, "top", "top", parent=nameless.id)
    assert len(rmi(state, "top").images) == 2
    assert [image.id for image in state.images.all()] == [named.id]


def test_a_parent_stays_without_a_name(state: State) -> None:
    base = add(state, "base", "base")
    add(state, "top", "top", parent=base.id)
    assert rmi(state, "base") == Removed(("base:latest",))
    with pytest.raises(Conflict, match=r"cannot be forced\) - image has dependent child images"):
        rmi(state, base.id, force=True)


@pytest.mark.parametrize("name", ["Upper", "", "a b", "x:", "x@sha256:12"])
def test_what_is_no_reference_is_said_so(state: State, name: str) -> None:
    with pytest.raises(UsageError, match="invalid reference format"):
        rmi(state, name)


@pytest.mark.parametrize(
    ("name", "repeated"),
    [("nosuch", "nosuch:latest"), (ID.hex, ID), (ID, ID), ("sha256:12", "sha256:12"), ("abcdef", "abcdef:latest")],
)
def test_what_is_not_here_is_named_in_full(state: State, name: str, repeated: str) -> None:
    with pytest.raises(NotFound) as refusal:
        rmi(state, name)
    assert str(refusal.value) == f"No such image: {repeated}"
