"""``inspect``: all about containers, images and volumes, as JSON or through a template."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.formatting import rendered, to_json
from kernel_sandbox.commands.results import Document, Lines, Result
from kernel_sandbox.errors import NotFound, SandboxError, UsageError

F = TypeVar("F", bound=Callable[..., object])
Look = Callable[[str], object]
_NO_TEMPLATE = 64
_TYPES = ("container", "image", "volume")


class InspectCommand(Command):
    """As with Docker, a template that is none has an exit code of its own."""

    def exit_code(self, error: SandboxError) -> int:
        """The program's exit code for an error of this command."""
        from kernel_sandbox.spec.template import TemplateError

        return _NO_TEMPLATE if isinstance(error, TemplateError) else 1


def inspected(names: tuple[str, ...], look: Look, template: str) -> Result:
    """An array of the objects that exist, or a template's lines, and an error for each of the others."""
    documents, errors = [], []
    for name in names:
        try:
            documents.append(look(name))
        except SandboxError as error:
            errors.append(error)
    if template:
        lines = rendered(template, documents) if documents else Lines(("",))
        return msgspec.structs.replace(lines, errors=(*errors, *lines.errors))
    return Document(to_json(documents), errors=tuple(errors))


def format_option(command: F) -> F:
    """``-f``, as every ``inspect`` has it."""
    return syntax.option(
        "-f", "--format", "template", default="", metavar="TEMPLATE", help="Show this of each: a Go template, or json."
    )(command)


def _size_option(command: F) -> F:
    return syntax.option("-s", "--size", is_flag=True, help="Tell how many bytes a container takes.")(command)


@syntax.command(InspectCommand)
@format_option
@_size_option
@syntax.option("--type", "type_", metavar="|".join(_TYPES), help="Look for objects of this type only.")
@syntax.argument("names", nargs=-1, required=True, metavar="NAME...")
def inspect(context: Context, template: str, size: bool, type_: str | None, names: tuple[str, ...]) -> Result:
    """Show all about containers, images or volumes, as JSON."""
    if type_ is not None and type_ not in _TYPES:
        wrong = f'unknown type: "{type_}"' if type_ else "type is empty"
        raise SandboxError(f'{wrong}: must be one of "container", "image", "volume"')
    looks: dict[str, Look] = {
        "container": _container(context, size), "image": _image(context), "volume": context.engine.volumes.document
    }  # fmt: skip
    ignored: list[SandboxError] = []

    def look(name: str) -> object:
        for kind in (type_,) if type_ else _TYPES if _is_reference(name) else ("container", "volume"):
            try:
                found = looks[kind](name)
            except NotFound:
                if type_:
                    raise
                continue
            if size and kind != "container":
                ignored.append(_warning(f"WARNING: --size ignored for {kind}"))
            return found
        raise NotFound(f"No such object: {name}")

    result = inspected(names, look, template)
    return msgspec.structs.replace(result, errors=(*ignored, *result.errors))


def _warning(text: str) -> SandboxError:
    warning = SandboxError(text)
    warning.exit_code = 0
    return warning


@syntax.command(InspectCommand, "inspect")
@format_option
@_size_option
@syntax.argument("containers", nargs=-1, required=True, metavar="CONTAINER...")
def inspect_container(context: Context, template: str, size: bool, containers: tuple[str, ...]) -> Result:
    """Show all about containers, as JSON."""
    return inspected(containers, _container(context, size), template)


@syntax.command(InspectCommand, "inspect")
@format_option
@syntax.argument("images", nargs=-1, required=True, metavar="IMAGE...")
def inspect_image(context: Context, template: str, images: tuple[str, ...]) -> Result:
    """Show all about images, as JSON."""
    return inspected(images, _image(context), template)


def _container(context: Context, size: bool) -> Look:
    from kernel_sandbox.engine.inspect import container_document

    return lambda name: container_document(context.engine, name, size)


def _is_reference(name: str) -> bool:
    from kernel_sandbox.spec import reference

    try:
        reference.parse_any(name)
    except UsageError:
        return False
    return True


def _image(context: Context) -> Look:
    from kernel_sandbox.engine.inspect import image_document

    return lambda name: image_document(context.engine, name)
