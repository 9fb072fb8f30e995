"""Completion in shells: the scripts for bash, zsh and fish, and the command that they ask on every TAB.

The answer's first line says whether files belong to it, too; each other line is a candidate, for zsh and fish with a
tab and a few words about it. bash breaks words at ``:`` and ``=`` (COMP_WORDBREAKS), so it hands the whole line over,
and gets what completes its own last piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kernel_sandbox.commands.command import Command, Context
from kernel_sandbox.commands.results import Lines, Result

if TYPE_CHECKING:
    from kernel_sandbox.commands.completion import Candidates

_BASH = """\
# bash completion. Put this into ~/.bashrc:  source <(kernel-sandbox completion bash)
_kernel_sandbox() {
    local answer
    mapfile -t answer < <("$1" __complete --line "${COMP_LINE:0:COMP_POINT}" --piece "$2" 2>/dev/null)
    COMPREPLY=("${answer[@]:1}")
    [[ ${answer[0]} == files ]] && compopt -o default
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:,] ]] && compopt -o nospace
    return 0
}
complete -F _kernel_sandbox kernel-sandbox jupyter-sandbox
"""
_ZSH = """\
#compdef kernel-sandbox jupyter-sandbox
# zsh completion. Put this into ~/.zshrc, after compinit:  source <(kernel-sandbox completion zsh)
_kernel_sandbox() {
    local line
    local -a answer described
    answer=("${(@f)$("${words[1]}" __complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${(@)answer[2,-1]}"; do
        described+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done
    [[ ${answer[1]} == files ]] && _files
    (( $#described )) && _describe kernel-sandbox described
}
if [[ $funcstack[1] == _kernel_sandbox ]]; then
    _kernel_sandbox "$@"
else
    compdef _kernel_sandbox kernel-sandbox jupyter-sandbox
fi
"""
_FISH = """\
# fish completion. Put this into ~/.config/fish/config.fish:  kernel-sandbox completion fish | source
function __kernel_sandbox
    set -l typed (commandline -opc)
    set -l fragment (commandline -ct)
    set -l answer ($typed[1] __complete -- $typed[2..-1] "$fragment" 2>/dev/null)
    test "$answer[1]" = files; and __fish_complete_path "$fragment"
    printf '%s\\n' $answer[2..-1]
end
complete -c kernel-sandbox -c jupyter-sandbox -f -a '(__kernel_sandbox)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(tuple(_SCRIPTS)), metavar="bash|zsh|fish")
def completion(shell: str) -> Result:
    """Print the script that completes command lines in a shell."""
    return Lines((_SCRIPTS[shell].rstrip("\n"),))


class _Verbatim(Command):
    """A command whose words are another command's line: none of them is a flag."""

    allow_interspersed_args = False


@click.command("__complete", cls=_Verbatim, hidden=True)
@click.option("--line", help="The command line before the cursor, as it is written, the program's name included.")
@click.option("--piece", default="", help="What the shell takes for the last word of it.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def complete(context: click.Context, line: str | None, piece: str, words: tuple[str, ...]) -> Result:
    """What completes the last word."""
    from kernel_sandbox.commands.completion import candidates

    root = context.find_root().command
    assert isinstance(root, click.Group)
    if line is None:
        *typed, fragment = words or ("",)
        offered = candidates(root, typed, fragment, context.ensure_object(Context))
        return _answer(offered, tuple(f"{each.text}\t{each.help}" for each in offered.found))
    *typed, fragment = _words(line)
    offered = candidates(root, typed[1:], fragment, context.ensure_object(Context))
    done = len(fragment) - len(piece) if fragment.endswith(piece) else 0
    return _answer(offered, tuple(each.text[done:] for each in offered.found))


def _words(line: str) -> list[str]:
    """A line's words, the last of which is the one being written."""
    from click.shell_completion import split_arg_string

    words = split_arg_string(line)
    return [*words, ""] if line[-1:].isspace() or not words else words


def _answer(offered: Candidates, lines: tuple[str, ...]) -> Lines:
    return Lines(("files" if offered.files else "words", *lines))
