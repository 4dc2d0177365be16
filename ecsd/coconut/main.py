"""The entry point of coconut: the table of verbs, and how every error leaves."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from ecsd.coconut.lazy import Entry, LazyGroup

HERE = "ecsd.coconut"

coconut = LazyGroup(
    name="coconut",
    help="""Control an experiment: look at workflows, plan environments, take runs.

    \b
    Examples:
      coconut demo
      coconut template list --repo examples/demo
      coconut environment plan demo --repo examples/demo
      coconut run take demo --repo examples/demo --duration 10s

    Every verb has --help and --json. Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 denied,
    6 unreachable, 7 environment in ERROR, 8 timed out waiting, 9 invalid template or plan, 10 degraded,
    130 interrupted.""",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    entries={
        "demo": Entry(f"{HERE}.demo:demo", "An example experiment: 3 nodes, 20 tasks, two runs."),
        "run": Entry(f"{HERE}.main:run", "Take runs, look at their records.", ("r",)),
        "environment": Entry(f"{HERE}.main:environment", "Plan environments.", ("env", "e")),
        "template": Entry(f"{HERE}.main:template", "Look at workflow templates.", ("templ", "t")),
        "install-units": Entry(f"{HERE}.install_units:install_units", "Write systemd units of the daemons."),
        "node": Entry(f"{HERE}.main:node", "Nodes and their executors.", ("n",)),
        "key": Entry(f"{HERE}.main:key", "Whose key opens the core: invite, approve, revoke."),
        "login": Entry(f"{HERE}.login:login", "Make a key and a context from the token of an invitation."),
        "audit": Entry(f"{HERE}.main:audit", "Who asked for what; whether the log of it is whole."),
        "about": Entry(f"{HERE}.about:about", "Versions and places."),
    },
    no_args_is_help=True,
)

run = LazyGroup(
    name="run",
    help="Take runs, and look at their records.",
    entries={
        "take": Entry(f"{HERE}.take:take", "Deploy, configure, run, stop and clean up, in this process."),
        "list": Entry(f"{HERE}.runs:list_runs", "The last runs.", ("ls", "l")),
        "show": Entry(f"{HERE}.runs:show", "Everything about one run.", ("s",)),
    },
    no_args_is_help=True,
)

environment = LazyGroup(
    name="environment",
    help="Plan environments.",
    entries={
        "plan": Entry(f"{HERE}.plan:plan", "Who would run where and why, step by step; nothing is launched.", ("p",))
    },
    no_args_is_help=True,
)

template = LazyGroup(
    name="template",
    help="Look at workflow templates.",
    entries={
        "list": Entry(f"{HERE}.template:list_templates", "The templates of a repository.", ("ls", "l")),
        "show": Entry(f"{HERE}.template:show", "What one template asks for, and its text.", ("s",)),
        "expand": Entry(f"{HERE}.template:expand", "The tree of roles that a template becomes.", ("x",)),
        "lint": Entry(f"{HERE}.lint:lint_templates", "Mistakes in templates, and what is probably one."),
        "form": Entry(f"{HERE}.form:form", "What a template asks users for, as a form; check values.", ("f",)),
    },
    no_args_is_help=True,
)

node = LazyGroup(
    name="node",
    help="Nodes and their executors.",
    entries={
        "invite": Entry(f"{HERE}.key:invite_node", "Print the line that makes a machine a node."),
        "approve": Entry(f"{HERE}.key:approve_node", "Let in a node that waits for approval."),
    },
    no_args_is_help=True,
)

key = LazyGroup(
    name="key",
    help="Whose key opens the core.",
    entries={
        "list": Entry(f"{HERE}.key:list_keys", "Who has a key, and what waits for approval.", ("ls", "l")),
        "invite": Entry(f"{HERE}.key:invite", "Print the line by which a user or a program gets a key."),
        "approve": Entry(f"{HERE}.key:approve", "Let in a key that waits for approval."),
        "revoke": Entry(f"{HERE}.key:revoke", "Let nobody in any more with the keys of a name."),
        "rotate": Entry(f"{HERE}.key:rotate", "Take a new key in the place of yours."),
    },
    no_args_is_help=True,
)

audit = LazyGroup(
    name="audit",
    help="Who asked for what, and what was decided.",
    entries={
        "tail": Entry(f"{HERE}.audit:tail", "The last lines of the audit log."),
        "verify": Entry(f"{HERE}.audit:verify", "Whether a line was edited, removed, added or moved."),
    },
    no_args_is_help=True,
)


def print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Print the version and end."""
    if value and not ctx.resilient_parsing:
        from ecsd.coconut.about import version  # reads the metadata of the package

        click.echo(f"coconut {version()}")
        ctx.exit()


coconut.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=print_version,
        help="Print the version and exit.",
    )
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = coconut.main(words, prog_name="coconut", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        return 0
    except click.ClickException as error:
        from ecsd.coconut.output import say_usage

        say_usage(error, as_json="--json" in words)
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
