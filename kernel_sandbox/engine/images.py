"""Images: found, imported, committed, tagged, unpacked and removed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from kernel_sandbox.engine import locks, tasks
from kernel_sandbox.engine.paths import Paths
from kernel_sandbox.errors import Conflict, NotFound, SandboxError, UsageError
from kernel_sandbox.runtime.launcher import Launcher, call
from kernel_sandbox.spec import changes as instructions
from kernel_sandbox.spec import derivation, reference
from kernel_sandbox.spec import image as documents
from kernel_sandbox.spec.derivation import Origin
from kernel_sandbox.spec.digest import Digest, chain_ids
from kernel_sandbox.storage.layout import ImageLayout
from kernel_sandbox.storage.staging import Staging
from kernel_sandbox.storage.state import Container, Image, Layer, State


class Removed(msgspec.Struct, frozen=True):
    """What ``rmi`` did: names taken away, and ids of what was deleted."""

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


class Images:
    """The images of one store."""

    def __init__(self, paths: Paths, state: State, launcher: Launcher) -> None:
        self._paths = paths
        self._state = state
        self._launcher = launcher
        self._layout = ImageLayout(paths.oci, Staging(paths.staging))
        self._configs: dict[Digest, documents.ImageConfig] = {}

    def list(self) -> tuple[Image, ...]:
        """Every image, newest first."""
        return self._state.images()

    def find(self, name: str) -> Image:
        """The image that *name* means: a reference, or an id or the start of one. Raises NotFound."""
        for candidate in (self._by_reference(name), self._by_id(name)):
            if candidate:
                return candidate
        raise NotFound(f"No such image: {_in_full(name)}")

    def _by_reference(self, name: str) -> Image | None:
        try:
            return self._state.image_by_tag(str(reference.parse(name)))
        except UsageError:
            return None

    def _by_id(self, name: str) -> Image | None:
        prefix = name.removeprefix("sha256:")
        if not prefix or not set(prefix) <= set("0123456789abcdef"):
            return None
        found = self._state.images_by_id(prefix)
        if len(found) > 1:
            raise UsageError(f"{name} is the start of {len(found)} images' ids: write more of it")
        return found[0] if found else None

    def find_to_run(self, name: str) -> Image:
        """``find`` for ``run`` and ``create``, in their words."""
        try:
            return self.find(name)
        except NotFound:
            familiar = reference.parse(name).familiar()
            raise NotFound(
                f"Unable to find image '{familiar}' locally: `images` lists what there is, "
                "bootstrap and import make more"
            ) from None

    def config(self, image: Image) -> documents.ImageConfig:
        """The image's configuration document."""
        if image.id not in self._configs:
            self._configs[image.id] = documents.decode(documents.ImageConfig, self._layout.read(image.id))
        return self._configs[image.id]

    def layer_directories(self, image: Image) -> tuple[str, ...]:
        """Where the image's layers are unpacked, topmost first, and the layer of mount points below them."""
        self.unpack(image)
        layers = (self._paths.layer(layer.chain_id) for layer in reversed(image.layers))
        return (*layers, self._paths.skeleton)

    def unpack(self, image: Image) -> None:
        """Unpack those layers that are not unpacked yet."""
        missing = [n for n, layer in enumerate(image.layers) if not os.path.isdir(self._paths.layer(layer.chain_id))]
        if not missing:
            return
        diff_ids = self.config(image).rootfs.diff_ids
        with locks.shared(self._paths.lock):
            for number in missing:
                layer = image.layers[number]
                self._call("unpack", tasks.Unpack, layer.blob, diff_ids[number], layer.chain_id)

    def _call(self, job: str, type_: type[tasks.InStore], *arguments: object, descriptors: Sequence[int] = ()) -> bytes:
        task = type_(self._paths.home, self._paths.run, *arguments)
        return call(self._launcher, job, tasks.encode(task), descriptors)

    def import_(
        self, source: int, name: str | None, changes: Iterable[str] = (), message: str = "", created_by: str = ""
    ) -> Image:
        """Make an image of one layer from the archive that descriptor *source* yields, compressed or not."""
        target = _taggable(name)
        config = instructions.apply(documents.ContainerConfig(), changes)
        origin = Origin(created_by, message or "Imported from -")
        with self._adding():
            answer = self._call("ingest", tasks.InStore, descriptors=(source,))
            layer = msgspec.msgpack.decode(answer, type=tasks.NewLayer)
            image = self._add(None, layer, config, origin, target)
        self._tell(image, "import", config.labels)
        return image

    def commit(
        self, base: Image, container: str, config: documents.ContainerConfig, origin: Origin, name: str | None
    ) -> Image:
        """Make an image of *base* and what the container with this id has changed."""
        target = _taggable(name)
        with self._adding():
            answer = self._call("pack_diff", tasks.PackDiff, container)
            layer = msgspec.msgpack.decode(answer, type=tasks.NewLayer)
            return self._add(base, layer, config, origin, target)

    def bootstrap(self, kind: str = "python") -> tuple[Image, bool]:
        """The embedded image *kind*, ``python`` or ``busybox``, and whether it was made just now.

        It is made again only when its inputs have changed; of several processes one makes it, the others wait.
        """
        name, wanted = _bootstrap_inputs(kind)
        with locks.exclusive(os.path.join(self._paths.home, f"bootstrap-{kind}.lock")):
            present = self._state.image_by_tag(name)
            if present and present.fingerprint == wanted:
                return present, False
            with self._adding():
                answer = self._call("bootstrap", tasks.Bootstrap, kind)
                made = msgspec.msgpack.decode(answer, type=tasks.NewBase)
                config = documents.ContainerConfig(
                    env=made.env, cmd=made.cmd, working_dir=made.working_dir, labels=dict(made.labels)
                )
                origin = Origin(f"kernel-sandbox bootstrap {kind}", "", "kernel-sandbox")
                image = self._add(None, made.layer, config, origin, name, wanted, created=made.created)
                return image, True

    def _add(
        self,
        base: Image | None,
        layer: tasks.NewLayer,
        config: documents.ContainerConfig,
        origin: Origin,
        name: str | None,
        fingerprint_: str = "",
        created: int | None = None,
    ) -> Image:
        """Write the documents of an image whose newest layer is stored, and record it."""
        created = time.time_ns() if created is None else created
        blob = documents.Descriptor(
            media_type=documents.OCI_LAYER_GZIP, digest=Digest(layer.blob), size=layer.blob_size
        )
        machine = documents.platform_of_machine(os.uname().machine)
        below = self._documents(base) if base else None
        derived = derivation.derive(below, blob, Digest(layer.diff_id), config, origin, created, machine)
        id_ = self._layout.put(documents.encode(derived.config))
        manifest = documents.encode(derivation.manifest(derived, id_))
        chain = chain_ids(derived.config.rootfs.diff_ids)
        image = Image(
            id=id_,
            manifest=self._layout.put(manifest),
            manifest_size=len(manifest),
            created=created,
            size=(base.size if base else 0) + layer.size,
            layers=tuple(Layer(each.digest, chain_id) for each, chain_id in zip(derived.layers, chain, strict=True)),
            fingerprint=fingerprint_,
        )
        self._state.add_image(image, (name,) if name else ())
        if name:
            self._tell(image, "tag", config.labels, _familiar(name))
        self._write_index()
        return self.find(id_)

    def _documents(self, image: Image) -> derivation.Base:
        manifest = documents.decode(documents.Manifest, self._layout.read(image.manifest))
        return derivation.Base(self.config(image), manifest.layers)

    def tag(self, source: str, target: str) -> None:
        """Give the image *source* one more name. Raises UsageError for a name with a digest."""
        name = _taggable(target)
        assert name is not None
        image = self.find(source)
        self._state.tag(image.id, name)
        self._tell(image, "tag", self.labels(image), _familiar(name))
        self._write_index()

    def labels(self, image: Image) -> Mapping[str, str]:
        """The image's labels; none for a damaged image, which can be named and removed all the same."""
        try:
            return self.config(image).config.labels
        except SandboxError:
            return {}

    def _tell(self, image: Image, action: str, labels: Mapping[str, str], name: str = "") -> None:
        """Record an event; what has happened to no single name bears the image's id."""
        self._state.events.record("image", action, image.id, {**labels, "name": name or str(image.id)})

    def remove(self, name: str, force: bool = False) -> Removed:
        """``rmi``: take a name away, and the image with its last one. Raises Conflict while it is in use."""
        image = self.find(name)
        by_name = self._by_reference(name)
        tag = str(reference.parse(name)) if by_name and by_name.id == image.id else None
        with locks.exclusive(self._paths.lock):
            removed = self._remove(image, name, tag, force)
            self._write_index()
        return removed

    def _remove(self, image: Image, name: str, tag: str | None, force: bool) -> Removed:
        users = self._state.containers_of_image(image.id)
        others = tuple(each for each in image.tags if each != tag)
        if tag and others:
            self._untag(image, tag)
            return Removed(untagged=(_familiar(tag),))
        if not tag and len(image.tags) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {image.id.hex[:12]} (must be forced) - "
                "image is referenced in multiple repositories"
            )
        if users:
            return self._remove_used(image, name, tag, force, users)
        return self._delete(image)

    def _remove_used(
        self, image: Image, name: str, tag: str | None, force: bool, users: Sequence[Container]
    ) -> Removed:
        """A container keeps its image; with force a last name goes all the same."""
        user = users[0].id
        if tag and force:
            self._untag(image, tag)
            return Removed(untagged=(_familiar(tag),))
        if tag:
            raise Conflict(
                f'conflict: unable to remove repository reference "{name}" (must force) - '
                f"container {user[:12]} is using its referenced image {image.id.hex[:12]}"
            )
        running = any(each.is_active for each in users)
        must, state = ("cannot", "running") if running else ("must", "stopped")
        raise Conflict(
            f"conflict: unable to delete {image.id.hex[:12]} ({must} be forced) - "
            f"image is being used by {state} container {user[:12]}"
        )

    def _untag(self, image: Image, tag: str) -> None:
        self._state.untag(tag)
        self._tell(image, "untag", self.labels(image))

    def _delete(self, image: Image) -> Removed:
        """Forget the image, then its content as far as no other image has it."""
        labels = self.labels(image)
        self._state.remove_image(image.id)
        for _ in image.tags:
            self._tell(image, "untag", labels)
        self._tell(image, "delete", {})
        unused = self._state.unused_layers(image.layers)
        self._collect()
        return Removed(
            untagged=tuple(_familiar(tag) for tag in image.tags),
            deleted=(image.id, *(layer.chain_id for layer in reversed(unused))),
        )

    def _collect(self) -> None:
        """Remove every layer and blob that no image has; the caller holds the store's lock alone."""
        images = self._state.images()
        kept = {layer.chain_id.hex for image in images for layer in image.layers}
        directory = os.path.join(self._paths.home, "layers")
        unneeded = [os.path.join(directory, name) for name in os.listdir(directory) if name not in kept]
        for start in range(0, len(unneeded), _AT_ONCE):
            self._call("remove_trees", tasks.Trees, tuple(unneeded[start : start + _AT_ONCE]))
        needed = {
            blob for image in images for blob in (image.id, image.manifest, *(each.blob for each in image.layers))
        }
        for blob in self._layout.digests():
            if blob not in needed:
                self._layout.remove(blob)

    @contextlib.contextmanager
    def _adding(self) -> Iterator[None]:
        """Around the making of an image: what it leaves is all needed, or gone."""
        try:
            with locks.shared(self._paths.lock):
                yield
        except BaseException:
            with locks.exclusive(self._paths.lock), contextlib.suppress(SandboxError):
                self._collect()
            raise

    def _write_index(self) -> None:
        """The layout's index.json names what the database names."""
        with locks.exclusive(os.path.join(self._paths.home, "index.lock")):
            self._layout.write_index(
                [
                    documents.Descriptor(
                        media_type=documents.OCI_MANIFEST,
                        digest=image.manifest,
                        size=image.manifest_size,
                        annotations={documents.REF_NAME: tag} if tag else {},
                    )
                    for image in self._state.images()
                    for tag in (image.tags or ("",))
                ]
            )


_AT_ONCE = 100


def _taggable(name: str | None) -> str | None:
    """The canonical form of a name that an image may be given."""
    if not name:
        return None
    parsed = reference.parse(name)
    if parsed.digest:
        raise UsageError(f"cannot give an image the name {name}: a name with a digest is the content's own")
    return str(parsed)


def _in_full(name: str) -> str:
    """A name as Docker repeats it, with the tag that it stands for."""
    try:
        return reference.parse(name).familiar()
    except UsageError:
        return name


def _familiar(name: str) -> str:
    return reference.parse(name).familiar()


def _bootstrap_inputs(kind: str) -> tuple[str, str]:
    """The canonical name of an embedded image and what tells its inputs from others."""
    from kernel_sandbox.bootstrap import busybox, plan
    from kernel_sandbox.bootstrap.fingerprint import fingerprint

    if kind == "busybox":
        return str(reference.parse(plan.BUSYBOX_REFERENCE)), busybox.fingerprint()
    if kind == "python":
        return str(reference.parse(plan.python_reference())), fingerprint(plan.plan_python())
    raise UsageError(f"unknown image '{kind}': bootstrap makes python or busybox")
