"""Volumes hold files that outlive containers: shared, filled from the image, removed when asked."""

import io
import json
import os
import tarfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.containers import IS_ROOT, complaint, ids_inside, inspected


@pytest.fixture
def volume(cli):
    """A volume's name that nobody else has; the volume is removed at the end if it was made."""
    name = f"volume-{uuid.uuid4().hex[:12]}"
    yield name
    cli("volume", "rm", "-f", name, check=True)


@pytest.fixture(scope="module")
def busybox(shared_store, tmp_path_factory):
    """The busybox image's root filesystem as an archive."""
    archive = tmp_path_factory.mktemp("busybox") / "rootfs.tar"
    container = shared_store.cli("create", "busybox", check=True).stdout.strip()
    shared_store.cli("export", "-o", archive, container, check=True)
    shared_store.cli("rm", container, check=True)
    return archive.read_bytes()


@pytest.fixture
def image(cli, busybox):
    """Makes images of a few files: ``image({"data/file": "content"}, VOLUME="/data")``; all are removed at the end."""
    made = []

    def make(files, links=(), owners=(), **instructions):
        archive = io.BytesIO(busybox)
        with tarfile.open(fileobj=archive, mode="a") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o640
                member.uid, member.gid = dict(owners).get(name, (0, 0))
                tar.addfile(member, io.BytesIO(content.encode()))
            for name, target in links:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = tarfile.SYMTYPE, target
                tar.addfile(member)
        name = f"volumes-{uuid.uuid4().hex[:12]}"
        flags = [flag for key, value in instructions.items() for flag in ("-c", f"{key} {value}")]
        cli("import", *flags, "-", name, input=archive.getvalue(), text=False, check=True)
        made.append(name)
        return name

    yield make
    for name in made:
        cli("rmi", "-f", name, check=True)


def volumes(cli, *flags):
    return set(cli("volume", "ls", "-q", *flags, check=True).stdout.split())


def mounts(store, name):
    return {mount["Destination"]: mount for mount in inspected(store, name)["Mounts"]}


def sh(cli, script, *flags, image="busybox"):
    return cli("run", "--rm", *flags, image, "sh", "-c", script, check=True).stdout


def test_what_is_written_to_a_volume_outlives_the_container(cli, volume):
    sh(cli, "echo kept > /data/file", "-v", f"{volume}:/data")
    assert sh(cli, "cat /elsewhere/file", "-v", f"{volume}:/elsewhere:ro") == "kept\n"
    assert volumes(cli) >= {volume}


def test_owners_in_a_volume_are_the_same_in_every_container(shared_store, cli, volume):
    if ids_inside(shared_store) == 1:
        pytest.skip("this user's containers have a single id")
    sh(cli, "touch /data/file; chown 12:34 /data/file; chmod 4755 /data/file", "-v", f"{volume}:/data")
    assert sh(cli, "stat -c '%u:%g %a' /data/file", "-v", f"{volume}:/data") == "12:34 4755\n"


def test_roots_volumes_have_their_owners_on_the_host_too(cli, volume):
    if not IS_ROOT:
        pytest.skip("an ordinary user's volumes belong to subordinate ids")
    sh(cli, "touch /data/file; chown 12:34 /data/file", "-v", f"{volume}:/data")
    status = os.stat(Path(cli("volume", "inspect", "-f", "{{.Mountpoint}}", volume).stdout.strip(), "file"))
    assert (status.st_uid, status.st_gid) == (12, 34)


def test_two_running_containers_share_a_volume(cli, volume, name):
    cli("run", "-d", "--name", name, "-v", f"{volume}:/data", "busybox", "sh", "-c",
        "until [ -e /data/go ]; do sleep 0.05; done; echo seen > /data/answer", check=True)  # fmt: skip
    script = "touch /data/go; until [ -s /data/answer ]; do sleep 0.05; done; cat /data/answer"
    assert sh(cli, script, "-v", f"{volume}:/data") == "seen\n"
    assert cli("wait", name, check=True).stdout == "0\n"


def test_a_read_only_volume_refuses_writes(cli, volume):
    done = cli("run", "--rm", "-v", f"{volume}:/data:ro", "busybox", "touch", "/data/file")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


def test_an_empty_volume_gets_what_the_image_has(cli, volume, image):
    made = image({"data/file": "image\n", "data/sub/more": "more\n"}, links=[("data/link", "sub/more")])
    look = "cd /data; cat file sub/more; readlink link; stat -c %a file"
    assert sh(cli, look, "-v", f"{volume}:/data", image=made) == "image\nmore\nsub/more\n640\n"
    assert sh(cli, "cat /else/file", "-v", f"{volume}:/else") == "image\n"


def test_a_filled_volume_has_the_images_owners(shared_store, cli, volume, image):
    made = image({"data/file": "image\n"}, owners=[("data/file", (5, 6))])
    inside = "5:6" if ids_inside(shared_store) > 1 else "0:0"
    assert sh(cli, "stat -c %u:%g /data/file", "-v", f"{volume}:/data", image=made).strip() == inside


def test_a_read_only_volume_is_filled_too(cli, volume, image):
    made = image({"data/file": "image\n"})
    assert sh(cli, "cat /data/file", "-v", f"{volume}:/data:ro", image=made) == "image\n"


def test_nocopy_leaves_a_volume_empty(cli, volume, image):
    made = image({"data/file": "image\n"})
    assert sh(cli, "ls -A /data", "-v", f"{volume}:/data:nocopy", image=made) == ""


def test_a_volume_with_something_in_it_is_not_filled(cli, volume, image):
    sh(cli, "touch /data/own", "-v", f"{volume}:/data")
    made = image({"data/file": "image\n"})
    assert sh(cli, "ls -A /data", "-v", f"{volume}:/data", image=made) == "own\n"


def test_a_volume_is_filled_once(cli, volume, name, image):
    made = image({"data/file": "image\n"})
    script = "ls -A /data; rm -f /data/file"
    cli("create", "--name", name, "-v", f"{volume}:/data", made, "sh", "-c", script, check=True)
    outputs = [cli("start", "-a", name, check=True).stdout for _ in range(2)]
    assert outputs == ["file\n", ""]
    cli("rm", name, check=True)


def test_volumes_inside_volumes_are_filled_each_from_the_image(cli, volume, image):
    made = image({"data/file": "outer\n", "data/sub/file": "inner\n"})
    look = "cat /data/file /data/sub/file; rm /data/sub/file"
    assert sh(cli, look, "-v", f"{volume}:/data", "-v", "/data/sub", image=made) == "outer\ninner\n"
    assert sh(cli, "cat /data/sub/file", "-v", f"{volume}:/data") == "inner\n"


def test_containers_that_start_at_once_fill_a_volume_with_one_image(cli, volume, image):
    made = [image({f"data/{kind}{number}": kind for number in range(300)}) for kind in ("a", "b")]
    flags = ("--rm", "-v", f"{volume}:/data")
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda each: cli("run", *flags, each, "sh", "-c", "ls /data | wc -l"), made * 3))
    assert [each.stdout.strip() for each in done] == ["300"] * 6, [each.stderr for each in done]
    kinds = {name[0] for name in sh(cli, "ls /data", "-v", f"{volume}:/data").split()}
    assert len(kinds) == 1


@pytest.mark.parametrize("link", ["/etc", "../../../../../../etc", "/proc/1/root/etc", "/proc/self/root/etc"])
def test_an_image_cannot_have_the_hosts_files_copied_into_a_volume(cli, volume, image, link):
    made = image({}, links=[("data", link)])
    cli("run", "--rm", "-v", f"{volume}:/data", made, "true")
    names = set(sh(cli, "ls -A /data", "-v", f"{volume}:/data:nocopy").split())
    assert names <= set(sh(cli, "ls -A /etc").split())


def test_a_container_cannot_lead_the_filling_of_a_volume_astray(cli, volume, name, image, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    script = (
        "cd /data; while true; do touch .kernel-sandbox.unfilled; rm -rf sub .kernel-sandbox.half; mkdir sub; "
        f"rm -rf sub; ln -s {outside} sub; ln -s {outside}/half .kernel-sandbox.half; done 2> /dev/null"
    )
    cli("run", "-d", "--name", name, "-v", f"{volume}:/data", "busybox", "sh", "-c", script, check=True)
    made = image({f"data/sub/deep/planted{number}": "planted" for number in range(20)})
    for _ in range(5):
        cli("run", "--rm", "-v", f"{volume}:/data", made, "true")
    cli("rm", "-f", name, check=True)
    assert os.listdir(outside) == []


def test_an_image_cannot_have_a_volume_mounted_over_the_root(cli, volume, image):
    made = image({}, links=[("data", "/")])
    done = cli("run", "--rm", "-v", f"{volume}:/data", made, "true")
    assert "cannot mount" in complaint(done, 125)


def test_a_volume_over_a_file_of_the_image_is_refused(cli, volume, image):
    made = image({"data": "a file"})
    done = cli("run", "--rm", "-v", f"{volume}:/data", made, "true")
    assert complaint(done, 125) == "cannot mount volume over existing file, file exists /data"


def test_an_anonymous_volume_goes_with_its_container_when_asked(shared_store, cli, name, image):
    made = image({"data/file": "image\n"}, VOLUME="/data")
    before = volumes(cli)
    cli("create", "--name", name, "-v", "/mine", made, "true", check=True)
    found = mounts(shared_store, name)
    new = volumes(cli) - before
    assert {found[target]["Name"] for target in ("/data", "/mine")} == new
    assert all(len(each) == 64 and int(each, 16) for each in new)
    cli("rm", "-v", name, check=True)
    assert volumes(cli) == before


def test_an_anonymous_volume_stays_when_nothing_is_said(shared_store, cli, name):
    before = volumes(cli)
    cli("run", "--name", name, "-v", "/data", "busybox", "touch", "/data/file", check=True)
    cli("rm", name, check=True)
    [left] = volumes(cli) - before
    assert left in volumes(cli, "--filter", "dangling=true")
    assert cli("volume", "rm", left, check=True).stdout == f"{left}\n"


def test_an_anonymous_volume_goes_with_rm_and_a_named_one_stays(cli, volume):
    before = volumes(cli)
    sh(cli, "touch /data/file /named/file", "-v", "/data", "-v", f"{volume}:/named")
    assert volumes(cli) == before | {volume}


def test_rm_v_keeps_named_volumes_and_those_that_others_have(shared_store, cli, volume, name):
    cli("create", "--name", name, "-v", f"{volume}:/named", "-v", "/data", "busybox", "true", check=True)
    anonymous = mounts(shared_store, name)["/data"]["Name"]
    other = cli("create", "--volumes-from", name, "busybox", "true", check=True).stdout.strip()
    cli("rm", "-v", name, check=True)
    assert volumes(cli) >= {volume, anonymous}
    cli("rm", "-v", other, check=True)
    assert anonymous not in volumes(cli)


def test_an_explicit_mount_takes_the_place_of_the_images_volume(shared_store, cli, volume, name, image):
    made = image({"data/file": "image\n"}, VOLUME="/data")
    cli("create", "--name", name, "-v", f"{volume}:/data/", made, "true", check=True)
    assert {target: mount["Name"] for target, mount in mounts(shared_store, name).items()} == {"/data": volume}
    cli("rm", name, check=True)


def test_volumes_from_shares_all_mounts(cli, volume, name, tmp_path):
    (tmp_path / "file").write_text("host\n")
    script = "echo named > /named/file; echo anonymous > /data/file"
    flags = ("-v", f"{volume}:/named", "-v", "/data", "-v", f"{tmp_path}:/host:ro")
    cli("run", "--name", name, *flags, "busybox", "sh", "-c", script, check=True)
    done = sh(cli, "cat /named/file /data/file /host/file; touch /host/x || echo refused", "--volumes-from", name)
    assert done == "named\nanonymous\nhost\nrefused\n"
    done = sh(cli, "touch /named/x || touch /data/x || echo refused", "--volumes-from", f"{name}:ro")
    assert done == "refused\n"
    cli("rm", "-v", name, check=True)


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("nosuch", "No such container: nosuch"),
        ("", "volumes-from specification cannot be an empty string"),
        ("nosuch:bad", "invalid mode: bad"),
    ],
)
def test_wrong_volumes_from_are_refused(cli, source, answer):
    assert complaint(cli("create", "--volumes-from", source, "busybox", "true"), 1) == answer


def test_two_mounts_in_one_place_are_refused_but_for_anonymous_ones(shared_store, cli, volume, name):
    done = cli("create", "-v", f"{volume}:/x", "-v", f"{volume}2:/x/", "busybox")
    assert complaint(done, 1) == "Duplicate mount point: /x"
    cli("create", "--name", name, "-v", "/x", "-v", f"{volume}:/x", "-v", "/x", "busybox", check=True)
    assert mounts(shared_store, name)["/x"]["Name"] == volume
    cli("rm", name, check=True)


@pytest.mark.parametrize("wrong", ["a!", ".hidden", "-v", "a b"])
def test_wrong_names_of_volumes_are_refused(cli, wrong):
    done = cli("create", "-v", f"{wrong}:/x", "busybox")
    assert "includes invalid characters for a local volume name" in complaint(done, 1)


def test_a_volume_in_use_cannot_be_removed(cli, volume, name):
    container = cli("create", "--name", name, "-v", f"{volume}:/x", "busybox", check=True).stdout.strip()
    done = cli("volume", "rm", volume)
    assert complaint(done, 1) == f"remove {volume}: volume is in use - [{container}]"
    assert complaint(cli("volume", "rm", "-f", volume), 1) == f"remove {volume}: volume is in use - [{container}]"
    cli("rm", name, check=True)
    assert cli("volume", "rm", volume, check=True).stdout == f"{volume}\n"
    assert complaint(cli("volume", "rm", volume), 1) == f"get {volume}: no such volume"


def test_a_removed_volume_takes_its_files_along(cli, volume):
    sh(
        cli,
        "mkdir -p /data/a/b; touch /data/a/b/c; chown -R 7:7 /data/a || true; chmod 0 /data/a",
        "-v",
        f"{volume}:/data",
    )
    place = Path(cli("volume", "inspect", "-f", "{{.Mountpoint}}", volume, check=True).stdout.strip())
    cli("volume", "rm", volume, check=True)
    assert not place.parent.exists()
    assert sh(cli, "ls -A /data", "-v", f"{volume}:/data") == ""


def test_volume_create_names_what_it_makes(cli, volume):
    assert cli("volume", "create", "--label", "a=b", "--label", "c", volume, check=True).stdout == f"{volume}\n"
    assert cli("volume", "create", "--label", "other=x", volume, check=True).stdout == f"{volume}\n"
    [document] = json.loads(cli("volume", "inspect", volume, check=True).stdout)
    place = document.pop("Mountpoint")
    created = document.pop("CreatedAt")
    assert document == {
        "Driver": "local", "Labels": {"a": "b", "c": ""}, "Name": volume, "Options": None, "Scope": "local",
    }  # fmt: skip
    assert created.endswith("Z")
    assert place.endswith(f"/volumes/{volume}/_data")
    assert os.path.isdir(place)


def test_what_the_host_puts_into_a_volume_is_seen_inside(cli, volume):
    cli("volume", "create", volume, check=True)
    place = Path(cli("volume", "inspect", "-f", "{{.Mountpoint}}", volume, check=True).stdout.strip())
    (place / "file").write_text("host\n")
    assert sh(cli, "cat /data/file", "-v", f"{volume}:/data") == "host\n"


def test_volume_ls_filters(cli, volume, name):
    cli("volume", "create", "--label", f"mark={volume}", volume, check=True)
    mine = ("--filter", f"label=mark={volume}")
    assert volumes(cli, *mine) == volumes(cli, "--filter", f"name={volume}") == {volume}
    assert (
        volumes(cli, *mine, "--filter", "dangling=true") == volumes(cli, *mine, "--filter", "driver=local") == {volume}
    )
    cli("create", "--name", name, "-v", f"{volume}:/x", "busybox", check=True)
    assert volumes(cli, *mine, "--filter", "dangling=true") == volumes(cli, *mine, "--filter", "driver=x") == set()
    assert volumes(cli, *mine, "--filter", "dangling=false") == {volume}
    assert cli("volume", "ls", *mine, check=True).stdout == f"DRIVER    VOLUME NAME\nlocal     {volume}\n"
    form = '{{.Name}} {{.Driver}} {{.Scope}} {{.Label "mark"}} {{.Links}} {{.Size}}'
    shown = cli("volume", "ls", *mine, "--format", form, check=True).stdout
    assert shown == f"{volume} local local {volume} N/A N/A\n"
    cli("rm", name, check=True)
    assert complaint(cli("volume", "ls", "--filter", "dangling=x"), 1) == "Invalid filter 'dangling=[x]'"
    assert complaint(cli("volume", "ls", "--filter", "bogus=x"), 1) == "Invalid filter 'bogus'"


def test_prune_removes_unused_anonymous_volumes_and_with_all_the_named_ones(store):
    store.bootstrap("busybox")
    store.cli("volume", "create", "named", check=True)
    store.cli("volume", "create", "--label", "keep", "kept", check=True)
    used = store.cli("create", "-v", "/x", "busybox", check=True).stdout.strip()
    done = store.cli("run", "--name", "gone", "-v", "/x", "busybox", "sh", "-c", "echo 12345 > /x/f", check=True)
    assert done.stdout == ""
    store.cli("rm", "gone", check=True)
    [anonymous] = volumes(store.cli, "--filter", "dangling=true") - {"named", "kept"}
    pruned = store.cli("volume", "prune", "-f", check=True).stdout
    assert pruned == f"Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: 6B\n"
    assert store.cli("volume", "prune", "-f", check=True).stdout == "Total reclaimed space: 0B\n"
    pruned = store.cli("volume", "prune", "-f", "-a", "--filter", "label!=keep", check=True).stdout
    assert pruned == "Deleted Volumes:\nnamed\n\nTotal reclaimed space: 0B\n"
    assert len(volumes(store.cli)) == 2
    store.cli("rm", "-v", used, check=True)
    assert volumes(store.cli) == {"kept"}
    assert complaint(store.cli("volume", "prune", "-f", "--filter", "until=1h"), 1) == "Invalid filter 'until'"


def test_prune_asks_first(store):
    store.bootstrap("busybox")
    store.cli("volume", "create", check=True)
    done = store.cli("volume", "prune", input="n\n", check=True)
    assert done.stdout.startswith(
        "WARNING! This will remove anonymous local volumes not used by at least one container."
    )
    assert len(volumes(store.cli)) == 1
    done = store.cli("volume", "prune", input="y\n", check=True)
    assert "Deleted Volumes:" in done.stdout
    assert volumes(store.cli) == set()


def test_volumes_from_a_mount_flag(cli, volume, image):
    made = image({"data/file": "image\n"})
    flags = ("--mount", f"type=volume,src={volume},dst=/data", "--mount", "type=volume,dst=/other")
    assert sh(cli, "cat /data/file; ls -A /other", *flags, image=made) == "image\n"


def test_a_failed_creation_leaves_no_volume(cli, volume):
    before = volumes(cli)
    cli("create", "-v", f"{volume}:/x", "-v", f"{volume}:/x", "busybox")
    cli("create", "-v", f"{volume}:/x", "-v", "/y", "--name", "!", "busybox")
    cli("create", "--pull", "never", "-v", f"{volume}:/x", "no-such-image")
    assert volumes(cli) == before
