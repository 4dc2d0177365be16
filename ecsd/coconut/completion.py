"""`coconut completion`: the script that makes a shell complete verbs, options and names."""

from __future__ import annotations

import os

import click

from ecsd.coconut.output import Output, json_option, verb

SHELLS = ("bash", "zsh", "fish")

BETTER = (
    # fish: a comma in a help is no end
    ('string split ","', 'string split -m 1 ","'),
    # bash: a name that ends with = waits for its value (fish knows that by itself)
    ("COMPREPLY+=($value)", "COMPREPLY+=($value); [[ $value == *= ]] && compopt -o nospace"),
    # zsh: what stands before the value of --option= stays
    (
        "    local -a response\n    (( ",
        "    local -a response\n    local -a open\n    local -a open_shown\n"
        "    [[ ${words[CURRENT]} == --*=* ]] && compset -P 1 '*='\n    (( ",
    ),
    # zsh: no blank behind a name that ends with =
    (
        '            if [[ "$descr" == "_" ]]; then\n',
        '            if [[ "$key" == *= ]]; then\n'
        '                open+=("$key")\n'
        '                [[ "$descr" == "_" ]] && open_shown+=("$key") || open_shown+=("$key  -- $descr")\n'
        '            elif [[ "$descr" == "_" ]]; then\n',
    ),
    (
        '    if [ -n "$completions" ]; then\n',
        '    if [ -n "$open" ]; then\n'
        "        compadd -U -V unsorted -S '' -l -d open_shown -a open\n"
        "    fi\n\n"
        '    if [ -n "$completions" ]; then\n',
    ),
)
"""What is changed in the scripts of click."""


@click.command(
    help="""Print the script that makes a shell complete verbs, options, and names of environments, tasks, templates.

    Names are asked of the core that is in use; they are kept for a moment, so that an absent core costs no time.

    \b
    Examples:
      coconut completion bash
      source <(coconut completion bash)
      coconut completion fish > ~/.config/fish/completions/coconut.fish
    """
)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@json_option
@verb
def completion(output: Output, shell: str | None) -> None:
    """Print a completion script."""
    from click.shell_completion import get_completion_class

    from ecsd.coconut.main import coconut

    chosen = shell or os.path.basename(os.environ.get("SHELL", "bash"))
    found = get_completion_class(chosen if chosen in SHELLS else "bash")
    assert found is not None
    text = found(coconut, {}, "coconut", "_COCONUT_COMPLETE").source()
    for theirs, ours in BETTER:
        text = text.replace(theirs, ours)
    output.document("completion", {"shell": chosen, "script": text}, [text])
