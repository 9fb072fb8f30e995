"""``save``: which images are meant, by which names, and the archive or the directory that they become."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from kernel_sandbox.engine import image_names
from kernel_sandbox.engine.images import Images
from kernel_sandbox.errors import NotFound, SandboxError
from kernel_sandbox.spec import platform as platforms
from kernel_sandbox.spec import reference
from kernel_sandbox.spec.digest import Digest
from kernel_sandbox.spec.image import Platform
from kernel_sandbox.spec.reference import Reference
from kernel_sandbox.storage.archives.writing import Chosen, Form, write_archive, write_directory
from kernel_sandbox.storage.images import Image
from kernel_sandbox.storage.tar import CHUNK


def choose(images: Images, names: Sequence[str], platform: Platform | None = None) -> tuple[Chosen, ...]:
    """The images that *names* mean, each once, with the names to be saved; a repository means all that it has.

    An image that is named by an id or a digest alone gets no name, as Docker has it. Raises NotFound, also where an
    image is for another *platform*.
    """
    found: dict[Digest, Image] = {}
    named: dict[Digest, dict[Reference, None]] = {}
    for name in names:
        for image, its_name in _meant(images, name):
            if platform and not platforms.matches(platform, images.config(image).platform):
                raise NotFound(
                    f"image with reference {name} was found but does not provide the specified platform ({platform})"
                )
            found[image.id] = image
            named.setdefault(image.id, {}).update({its_name: None} if its_name else {})
    return tuple(Chosen(image.descriptor, tuple(named[id_])) for id_, image in found.items())


def _meant(images: Images, name: str) -> Iterator[tuple[Image, Reference | None]]:
    wanted = reference.parse_any(name)
    if isinstance(wanted, Reference) and reference.parse(name, None).tag is None and not wanted.digest:
        repository = [
            (image, tag) for image in images.list() for tag in image_names.tags(image) if tag.name == wanted.name
        ]
        if repository:
            yield from sorted(repository, key=lambda pair: str(pair[1]))
            return
    image = images.find(name)
    yield image, wanted if isinstance(wanted, Reference) and wanted in image_names.tags(image) else None


def save(images: Images, chosen: Sequence[Chosen], form: Form, target: int) -> None:
    """Write an archive to the descriptor *target*. Raises SandboxError where it cannot be written."""
    with _kept(images, chosen), _explained("the archive"), open(target, "wb", CHUNK, closefd=False) as out:
        write_archive(images.layout, chosen, form, out)


def save_directory(images: Images, chosen: Sequence[Chosen], path: str) -> None:
    """Make the directory *path*, an OCI image layout; it appears whole or not at all. Raises SandboxError."""
    import shutil
    import tempfile

    with _kept(images, chosen), _explained(path):
        half = tempfile.mkdtemp(prefix=".", dir=os.path.dirname(os.path.abspath(path)))
        try:
            write_directory(images.layout, chosen, half)
            os.chmod(half, 0o755)
            os.rename(half, path)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise


@contextlib.contextmanager
def _kept(images: Images, chosen: Sequence[Chosen]) -> Iterator[None]:
    """Nothing is collected meanwhile, whoever removes an image; at the end what was saved is told."""
    with images.adding():
        yield
    here = {image.manifest: image for image in images.list()}
    for image in (here[each.manifest.digest] for each in chosen if each.manifest.digest in here):
        images.tell(image, "save", images.labels(image))


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SandboxError(f"cannot write {what}: {(error.strerror or str(error)).lower()}") from error
