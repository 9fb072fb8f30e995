"""The tree of commands, in Docker's two spellings: ``ps`` and ``container ls``, ``rmi`` and ``image rm``.

Each is named with its place, ``module:attribute``, and with what it does, in the order in which help lists them: so
help imports none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel_sandbox import __version__
from kernel_sandbox.commands.command import Entry, Group, HelpAsked, Invocation
from kernel_sandbox.commands.flags import Split
from kernel_sandbox.commands.syntax import Option

_CONTAINERS = {
    "run": ("run:run", "Make a container from IMAGE and run COMMAND in it."),
    "create": ("run:create", "Make a container from IMAGE without starting it."),
    "start": ("control:start", "Start containers that do not run."),
    "stop": ("control:stop", "End containers: their stop signal first, SIGKILL after a while."),
    "restart": ("control:restart", "End containers as stop does, and start them again."),
    "kill": ("control:kill", "Send a signal to the first process of containers."),
    "pause": ("control:pause", "Stop all processes of containers where they are."),
    "unpause": ("control:unpause", "Let paused containers go on."),
    "wait": ("control:wait", "Wait until containers have ended and print their exit codes."),
    "attach": ("control:attach", "Show what a running container writes from now on, and pass input on."),
    "exec": ("control:execute", "Run COMMAND in a running container."),
    "ps": ("listing:ps", "List containers."),
    "diff": ("copying:diff", "Show what a container has added (A), changed (C) and deleted (D) in its image's files."),
    "cp": ("copying:cp", "Copy files between a container, running or not, and this machine; - is a tar archive."),
    "logs": ("logs:logs", "Show what a container has written."),
    "top": ("processes:top", "Show the processes of a container, by ps with these options (-ef)."),
    "stats": ("statistics:stats", "Show what containers use of processors, memory, network and disks."),
    "commit": ("containers:commit", "Make an image of what a container has changed."),
    "export": ("containers:export", "Write a container's root filesystem as a tar archive."),
    "rm": ("containers:rm", "Remove containers and what they have written."),
    "port": (
        "containers:port",
        "Show where a container's ports are published: nowhere, since each has a network of its own or the host's.",
    ),
    "rename": ("containers:rename", "Give a container another name."),
    "update": ("update:update", "Change the limits and the restart policy of containers, running or not."),
}
_IMAGES = {
    "images": ("image_listing:images", "List images."),
    "history": ("history:history", "Show how an image came about."),
    "pull": ("transfers:pull", "Fetch an image from a registry."),
    "push": ("transfers:push", "Give an image to a registry, under the name that it has."),
    "save": (
        "archives:save",
        "Write images as an archive that Docker, podman and skopeo load; a repository means all of its tags.",
    ),
    "load": (
        "archives:load",
        "Load the images of an archive that save, docker save, podman or skopeo wrote, compressed or not.",
    ),
    "import": ("archives:import_", "Make an image of a root filesystem in a tar archive, compressed or not."),
    "tag": ("images:tag", "Give an image one more name."),
    "rmi": ("images:rmi", "Remove images."),
    "bootstrap": (
        "images:bootstrap",
        "Make an image from this machine, without a registry: its Python (the default), or a static busybox.",
    ),
}
_REGISTRIES = {
    "login": ("registries:login", "Log in to a registry; to Docker Hub if none is named."),
    "logout": ("registries:logout", "Forget the login to a registry; to Docker Hub if none is named."),
    "search": ("search:search", "Search Docker Hub for images, or another registry for names."),
}
_INSPECT = {
    "inspect": ("inspection:inspect", "Show all about containers, images or volumes, as JSON."),
}
_STORE = {
    "events": ("events:events", "Show what happens to containers, images and volumes, as it happens."),
    "info": ("system:info", "Show what the store holds and what this machine offers."),
}


class Program(Group):
    """All commands. With the flag ``--version`` the version is the outcome, whatever else was written."""

    def __init__(self, about: str) -> None:
        super().__init__(about)
        self._version = Option(("-v", "--version"), is_flag=True, help="Show the version and exit.")
        self.options.append(self._version)

    def split(self, invocation: Invocation, line: Sequence[str]) -> Split:
        found = super().split(invocation, line)
        if self._version in found.given:
            raise HelpAsked(f"{invocation.path} version {__version__}")
        return found


root = Program("""Real Linux containers without Docker, daemon or root.

The words are Docker's. KERNEL_SANDBOX_HOME names the directory in which images and containers are kept.""")
container = Group("Manage containers.")
image = Group("Manage images.")
manifest = Group("Look at image manifests in a registry.")
system = Group("Manage the store.")
volume = Group("Manage volumes.")


def _renamed(commands: dict[str, Entry], names: dict[str, str]) -> dict[str, Entry]:
    return {names.get(name, name): entry for name, entry in commands.items()}


root.add(
    {
        **_CONTAINERS,
        **_IMAGES,
        **_REGISTRIES,
        **_INSPECT,
        **_STORE,
        "version": ("system:version", "Show the version of this program."),
        "completion": ("shells:completion", "Print the script that completes command lines in a shell."),
        "container": ("tree:container", container.about),
        "image": ("tree:image", image.about),
        "manifest": ("tree:manifest", manifest.about),
        "system": ("tree:system", system.about),
        "volume": ("tree:volume", volume.about),
    },
    aliases={"__complete": "shells:complete"},
)
container.add(
    {
        **_renamed(_CONTAINERS, {"ps": "ls"}),
        "inspect": ("inspection:inspect_container", "Show all about containers, as JSON."),
        "prune": ("pruning:prune_containers", "Remove all containers that do not run."),
    },
    aliases={"ps": "listing:ps", "list": "listing:ps"},
)
image.add(
    {
        **_renamed(_IMAGES, {"images": "ls", "rmi": "rm"}),
        "inspect": ("inspection:inspect_image", "Show all about images, as JSON."),
        "prune": ("pruning:prune_images", "Remove images that no container uses."),
    },
    aliases={"list": "image_listing:images", "remove": "images:rmi"},
)
manifest.add(
    {
        "inspect": ("manifests:inspect", "Show an image's manifest, or index of manifests, as JSON."),
    }
)
system.add(
    {
        "df": ("disk:df", "Show how much space images, containers and volumes take."),
        **_STORE,
        "prune": ("pruning:prune_system", "Remove containers that do not run, and what no container uses."),
    }
)
volume.add(
    {
        "create": ("volumes:create", "Make a volume, with a name of its own if none is given."),
        "inspect": ("volumes:inspect", "Show all about volumes, as JSON."),
        "ls": ("volumes:ls", "List volumes."),
        "rm": ("volumes:rm", "Remove volumes that no container has."),
        "prune": ("volumes:prune", "Remove the anonymous volumes that no container has."),
    },
    aliases={"list": "volumes:ls", "remove": "volumes:rm"},
)
