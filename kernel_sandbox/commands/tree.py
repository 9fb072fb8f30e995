"""The tree of commands, in Docker's two spellings: ``ps`` and ``container ls``, ``rmi`` and ``image rm``.

Each is named with its place, ``module:attribute``, in the order in which help lists them.
"""

from __future__ import annotations

import click

from kernel_sandbox.commands.command import Group

_CONTAINERS = {
    "run": "run:run",
    "create": "run:create",
    "start": "control:start",
    "stop": "control:stop",
    "restart": "control:restart",
    "kill": "control:kill",
    "pause": "control:pause",
    "unpause": "control:unpause",
    "wait": "control:wait",
    "attach": "control:attach",
    "exec": "control:execute",
    "ps": "listing:ps",
    "diff": "copying:diff",
    "cp": "copying:cp",
    "logs": "logs:logs",
    "top": "processes:top",
    "stats": "statistics:stats",
    "commit": "containers:commit",
    "export": "containers:export",
    "rm": "containers:rm",
    "port": "containers:port",
    "rename": "containers:rename",
    "update": "update:update",
}
_IMAGES = {
    "images": "image_listing:images",
    "history": "history:history",
    "pull": "transfers:pull",
    "push": "transfers:push",
    "save": "archives:save",
    "load": "archives:load",
    "import": "archives:import_",
    "tag": "images:tag",
    "rmi": "images:rmi",
    "bootstrap": "images:bootstrap",
}
_REGISTRIES = {"login": "registries:login", "logout": "registries:logout", "search": "search:search"}
_INSPECT = {"inspect": "inspection:inspect"}
_STORE = {"events": "events:events", "info": "system:info"}


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def root() -> None:
    """Real Linux containers without Docker, daemon or root.

    The words are Docker's. KERNEL_SANDBOX_HOME names the directory in which images and containers are kept.
    """


@click.group(cls=Group)
def container() -> None:
    """Manage containers."""


@click.group(cls=Group)
def image() -> None:
    """Manage images."""


@click.group("system", cls=Group)
def system() -> None:
    """Manage the store."""


def _renamed(commands: dict[str, str], names: dict[str, str]) -> dict[str, str]:
    return {names.get(name, name): place for name, place in commands.items()}


root.add(
    {
        **_CONTAINERS,
        **_IMAGES,
        **_REGISTRIES,
        **_INSPECT,
        **_STORE,
        "version": "system:version",
        "completion": "shells:completion",
        "__complete": "shells:complete",
        "container": "tree:container",
        "image": "tree:image",
        "manifest": "manifests:manifest",
        "system": "tree:system",
        "volume": "volumes:volume",
    }
)
container.add(
    {
        **_renamed(_CONTAINERS, {"ps": "ls"}),
        "inspect": "inspection:inspect_container",
        "prune": "pruning:prune_containers",
    },
    aliases={"ps": "listing:ps", "list": "listing:ps"},
)
image.add(
    {
        **_renamed(_IMAGES, {"images": "ls", "rmi": "rm"}),
        "inspect": "inspection:inspect_image",
        "prune": "pruning:prune_images",
    },
    aliases={"list": "image_listing:images", "remove": "images:rmi"},
)
system.add({"df": "disk:df", **_STORE, "prune": "pruning:prune_system"})
