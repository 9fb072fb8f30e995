"""Completion in shells: the scripts for bash, zsh and fish, and the command that they ask on every TAB.

The answer's first line says whether files belong to it, too; each other line is a candidate, for zsh and fish with a
tab and a few words about it. bash breaks words at ``:`` and ``=`` (COMP_WORDBREAKS), so it hands the whole line over,
and gets what completes its own last piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_sandbox.commands import syntax
from kernel_sandbox.commands.command import Command, Context, FlagsFirstCommand
from kernel_sandbox.commands.results import Lines, Result
from kernel_sandbox.errors import SandboxError

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


@syntax.command(Command)
@syntax.argument("shell", metavar="|".join(_SCRIPTS))
def completion(_: Context, /, shell: str) -> Result:
    """Print the script that completes command lines in a shell."""
    if shell not in _SCRIPTS:
        raise SandboxError(f"there is no completion for '{shell}': name one of {', '.join(_SCRIPTS)}")
    return Lines((_SCRIPTS[shell].rstrip("\n"),))


@syntax.command(FlagsFirstCommand, "__complete")
@syntax.option("--line", help="The command line before the cursor, as it is written, the program's name included.")
@syntax.option("--piece", default="", help="What the shell takes for the last word of it.")
@syntax.argument("words", nargs=-1, type=syntax.UNPROCESSED)
def complete(context: Context, /, line: str | None, piece: str, words: tuple[str, ...]) -> Result:
    """What completes the last word."""
    from kernel_sandbox.commands.completion import candidates
    from kernel_sandbox.commands.tree import root

    if line is None:
        *typed, fragment = words or ("",)
        offered = candidates(root, typed, fragment, context)
        return _answer(offered, tuple(f"{each.text}\t{each.help}" for each in offered.found))
    *typed, fragment = _words(line)
    offered = candidates(root, typed[1:], fragment, context)
    done = len(fragment) - len(piece) if fragment.endswith(piece) else 0
    return _answer(offered, tuple(each.text[done:] for each in offered.found))


def _words(line: str) -> list[str]:
    """A line's words, the last of which is the one being written."""
    import shlex

    reader = shlex.shlex(line, posix=True, punctuation_chars="")
    reader.whitespace_split, reader.commenters = True, ""
    words: list[str] = []
    try:
        words += reader
    except ValueError:  # a quote that is still open
        words.append(reader.token)
    return [*words, ""] if line[-1:].isspace() or not words else words


def _answer(offered: Candidates, lines: tuple[str, ...]) -> Lines:
    return Lines(("files" if offered.files else "words", *lines))
