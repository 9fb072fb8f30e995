import os
import subprocess
import threading

import pytest
from support.worlds import SINGLE

from kernel_sandbox.errors import Conflict
from kernel_sandbox.linux import syscalls
from kernel_sandbox.storage.tree import files_size, remove_tree


def make_deep(path, depth):
    path.mkdir()
    fd = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)


def test_a_tree_is_removed_with_everything_in_it(world, tmp_path):
    tree = tmp_path / "tree"
    for number in range(300):
        directory = tree / str(number % 7) / str(number)
        directory.mkdir(parents=True)
        (directory / "file").write_text("content")
        (directory / "link").symlink_to("/")
    os.mkfifo(tree / "fifo")
    world.run(remove_tree, tree)
    assert not tree.exists()


def test_what_is_not_there_is_removed_already(tmp_path):
    remove_tree(tmp_path / "nothing" / "here")
    remove_tree(tmp_path / "nothing")


def test_a_file_is_removed_too(tmp_path):
    (tmp_path / "file").touch()
    remove_tree(tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_links_are_removed_and_not_followed(world, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(outside)
    (tmp_path / "root").symlink_to(outside)
    world.run(remove_tree, tmp_path / "tree")
    world.run(remove_tree, tmp_path / "root")
    assert (outside / "kept").exists()
    assert os.listdir(tmp_path) == ["outside"]


def test_directories_nobody_may_enter_are_removed(world, tmp_path):
    (tmp_path / "tree" / "work" / "work").mkdir(parents=True)
    (tmp_path / "tree" / "work" / "work" / "file").touch()
    (tmp_path / "tree" / "work" / "work").chmod(0)
    (tmp_path / "tree" / "work").chmod(0o500)
    world.run(remove_tree, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_directories_nobody_may_enter_are_removed_by_an_ordinary_user(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root enters every directory")
    (tmp_path / "tree" / "closed").mkdir(parents=True)
    (tmp_path / "tree" / "closed" / "file").touch()
    (tmp_path / "tree" / "closed").chmod(0)
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_a_path_longer_than_the_kernel_takes_is_measured(tmp_path):
    make_deep(tmp_path / "deep", 2_500)
    assert files_size(tmp_path / "deep") >= 0
    remove_tree(tmp_path / "deep")


def test_a_tree_of_four_thousand_levels_is_removed(tmp_path):
    make_deep(tmp_path / "deep", 4_000)
    remove_tree(tmp_path / "deep")
    assert not (tmp_path / "deep").exists()


def test_a_tree_that_is_being_filled_is_removed_all_the_same(tmp_path):
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    for number in range(500):
        (tree / "sub" / f"old{number}").touch()
    started = threading.Event()

    def fill():
        started.set()
        for number in range(200):
            try:
                (tree / "sub" / f"new{number}").mkdir()
            except FileNotFoundError:
                return

    filler = threading.Thread(target=fill)
    filler.start()
    started.wait()
    remove_tree(tree)
    filler.join()
    assert not tree.exists()


def _remove_with_a_mount(tree):
    syscalls.unshare(syscalls.CLONE_NEWNS)
    subprocess.run(["mount", "-t", "tmpfs", "none", tree / "mounted"], check=True)
    (tree / "mounted" / "kept").touch()
    try:
        remove_tree(tree)
    finally:
        assert (tree / "mounted" / "kept").exists()


def test_nothing_is_removed_across_a_mount(tmp_path):
    (tmp_path / "tree" / "mounted").mkdir(parents=True)
    with pytest.raises(Conflict, match="mounted"):
        SINGLE.run(_remove_with_a_mount, tmp_path / "tree")


def test_size_counts_what_files_hold_and_a_file_of_two_names_once(tmp_path):
    empty = files_size(tmp_path)
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    os.link(tmp_path / "file", tmp_path / "again")
    with open(tmp_path / "sparse", "wb") as sparse:
        sparse.truncate(1 << 30)
    (tmp_path / "link").symlink_to("/usr")
    assert files_size(tmp_path) == empty + (1 << 20) + (1 << 30) + len("/usr")
