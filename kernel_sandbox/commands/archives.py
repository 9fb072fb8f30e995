"""Commands that write images as archives and read them: ``save``, ``load`` and ``import``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.results import Download, Lines, Result, Transfer
from kernel_sandbox.engine.download import downloaded
from kernel_sandbox.errors import NotFound, SandboxError, UsageError
from kernel_sandbox.spec.image import Platform, platform_of_machine
from kernel_sandbox.spec.progress import Tell, tell_nobody
from kernel_sandbox.storage.archives.writing import Form

_PLATFORM = syntax.option(
    "--platform", default="", metavar="OS[/ARCH[/VARIANT]]", help="Only what suits this platform."
)


@syntax.command(Command)
@syntax.option("-o", "--output", metavar="FILE", help="Write to a file rather than to standard output.")
@syntax.option(
    "--format",
    "form",
    metavar="FORMAT",
    default=Form.DOCKER_ARCHIVE.value,
    help="docker-archive, which is an OCI image layout, too; oci-archive; or oci-dir, a directory.",
)
@_PLATFORM
@syntax.argument("images", nargs=-1, required=True, metavar="IMAGE...")
def save(context: Context, output: str | None, form: str, platform: str, images: tuple[str, ...]) -> Result:
    """Write images as an archive that Docker, podman and skopeo load; a repository means all of its tags."""
    from kernel_sandbox.engine import saving

    format_ = _form(form)
    chosen = saving.choose(context.engine.images, images, _platform(platform))
    if format_ is Form.OCI_DIR:
        if not output:
            raise UsageError("--format oci-dir makes a directory: name it with -o")
        saving.save_directory(context.engine.images, chosen, output)
        return Lines()

    def write(target: int) -> None:
        if os.isatty(target):
            raise SandboxError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        saving.save(context.engine.images, chosen, format_, target)

    if not output:
        return Download(write)
    with downloaded(output) as target:
        write(target)
    return Lines()


def _form(name: str) -> Form:
    try:
        return Form(name)
    except ValueError:
        known = ", ".join(each.value for each in Form)
        raise UsageError(f"unknown format {name!r}: choose one of {known}") from None


def _platform(specifier: str) -> Platform | None:
    from kernel_sandbox.spec import platform as platforms

    return platforms.parse(specifier, platform_of_machine(os.uname().machine)) if specifier else None


@syntax.command(Command)
@syntax.option("-i", "--input", "source", metavar="FILE|DIR", help="Read this rather than standard input.")
@syntax.option("-q", "--quiet", is_flag=True, help="Do not tell how it gets on.")
@_PLATFORM
def load(context: Context, source: str | None, quiet: bool, platform: str) -> Result:
    """Load the images of an archive that save, docker save, podman or skopeo wrote, compressed or not."""
    _platform(platform)
    if source is None and os.isatty(context.stdin):
        raise SandboxError("requested load from stdin, but stdin is empty")

    def steps(tell: Tell) -> tuple[str, ...]:
        from kernel_sandbox.engine import loading

        context.engine.warm_up("load")
        images = context.engine.images
        with _opened(source, context.stdin) as descriptor:
            return loading.told(loading.load(images, descriptor, platform, tell))

    return Lines(steps(tell_nobody)) if quiet else Transfer(steps)


@syntax.command(Command, "import")
@syntax.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help='As "CMD [...]" or "ENV A=1".')
@syntax.option("-m", "--message", default="", help="A note for the image's history.")
@syntax.option("--platform", default="", metavar="OS[/ARCH[/VARIANT]]", help="What the files are made for.")
@syntax.argument("source", metavar="FILE|URL|-")
@syntax.argument("reference", required=False)
def import_(
    context: Context, changes: tuple[str, ...], message: str, platform: str, source: str, reference: str | None
) -> Result:
    """Make an image of a root filesystem in a tar archive, compressed or not."""
    made_for = _platform(platform)
    context.engine.warm_up("ingest")
    images = context.engine.images
    if source.startswith(("http://", "https://")):
        from kernel_sandbox.engine.fetching import fetched, shown

        with fetched(source) as descriptor:
            note = message or f"Imported from {shown(source)}"
            image = images.import_(descriptor, reference, changes, note, platform=made_for)
        return Lines((f"Downloading from {shown(source)}", image.id))
    with _opened(None if source == "-" else source, context.stdin) as descriptor:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise SandboxError(f"read {source}: is a directory; see `tar -c`")
        return Lines((images.import_(descriptor, reference, changes, message, platform=made_for).id,))


@contextmanager
def _opened(path: str | None, stdin: int) -> Iterator[int]:
    """A descriptor of the file, or *stdin* without one. Raises NotFound."""
    if path is None:
        yield stdin
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"open {path}: {(error.strerror or '').lower()}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
