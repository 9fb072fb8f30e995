"""``images``, ``history`` and ``rmi`` as nobody compares them with Docker: the tree, digests, what is ours alone."""

import re

import pytest
from support.containers import complaint, inspected
from support.store import temporary_store
from support.tar_files import Entry, tar_of

pytestmark = pytest.mark.same_for_every_user


@pytest.fixture(scope="module")
def filled():
    """A store with ``base``, and ``left`` and a nameless image made from containers of it, one of which is there."""
    with temporary_store() as store:
        archive = tar_of([Entry("file", content="x" * 1000, mode=0o755)])
        store.cli("import", "-c", 'CMD ["/file"]', "-", "base", input=archive, text=False, check=True)
        for name in ("left", ""):
            store.cli("create", "--name", "kept", "base", check=True)
            store.cli("commit", *(("-m", "a note", "kept", name) if name else ("kept",)), check=True)
            store.cli("rm", "kept", check=True)
        store.cli("create", "--name", "kept", "left", check=True)
        yield store


def test_the_tree_shows_one_layer_of_three_images(filled):
    header, trunk, _, last = filled.cli("images", "--tree", check=True).stdout.splitlines()
    assert header.split("  ")[0] == "LAYER"
    assert re.match(r"─ [0-9a-f]{12} +1kB +1kB +3 images +base:latest; left:latest; <none> ", trunk)
    assert last.startswith("3 images, ") and last.endswith("on the disk instead of 3kB.")
    assert "not supported with --tree" in complaint(filled.cli("images", "--tree", "-q"), 1)


def test_an_image_is_known_by_the_digest_that_is_told(filled):
    name = inspected(filled, "base")["RepoDigests"][0]
    assert name in filled.cli("images", "--digests", "--format", "{{.Repository}}@{{.Digest}}", check=True).stdout
    tagged = name.replace("@", ":whatever@")
    assert inspected(filled, tagged)["Id"] == inspected(filled, "base")["Id"]
    made = filled.cli("create", tagged, check=True).stdout.strip()
    assert inspected(filled, made)["Config"]["Image"] == tagged
    filled.cli("rm", made, check=True)


def test_a_parent_is_told(filled):
    assert inspected(filled, "left")["Parent"] == inspected(filled, "base")["Id"]
    ids = [inspected(filled, name)["Id"][7:19] for name in ("left", "base")]
    assert filled.cli("history", "-q", "left", check=True).stdout.split() == ids


def test_prune_leaves_what_a_container_uses_with_all_its_names(filled):
    filled.cli("tag", "left", "left:2", check=True)
    pruned = filled.cli("image", "prune", "-af", check=True).stdout.splitlines()
    assert pruned[0] == "Deleted Images:" and pruned[-1].startswith("Total reclaimed space: ")
    assert "untagged: base:latest" in pruned
    assert filled.cli("images", "--format", "{{.Repository}}:{{.Tag}}", check=True).stdout.split() == [
        "left:2",
        "left:latest",
    ]
    assert filled.cli("start", "-a", "kept").returncode != 125
