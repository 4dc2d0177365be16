"""The entry point of coconut: the table of verbs, and how every error leaves."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from ecsd.coconut.lazy import Entry, LazyGroup

HERE = "ecsd.coconut"

coconut = LazyGroup(
    name="coconut",
    help="""Control an experiment: look at workflows, make environments, take runs.

    \b
    Examples:
      coconut demo
      coconut environment create demo --name shift
      coconut run take demo --duration 10s
      coconut environment plan demo --repo examples/demo
      coconut top

    Every verb has --help and --json. Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 denied,
    6 unreachable, 7 environment in ERROR, 8 timed out waiting, 9 invalid template or plan, 10 degraded,
    130 interrupted.""",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    entries={
        "demo": Entry(f"{HERE}.demo:demo", "An example experiment: 3 nodes, 20 tasks, two runs."),
        "environment": Entry(f"{HERE}.main:environment", "Make, control and end environments.", ("env", "e")),
        "run": Entry(f"{HERE}.main:run", "Take runs, look at their records.", ()),
        "task": Entry(f"{HERE}.main:task", "The tasks of all nodes, and what they write.", ("t",)),
        "role": Entry(f"{HERE}.main:role", "Roles of environments and their variables.", ("r",)),
        "template": Entry(f"{HERE}.main:template", "Look at workflow templates.", ("templ",)),
        "repository": Entry(f"{HERE}.main:repository", "Where workflows come from.", ("repo",)),
        "node": Entry(f"{HERE}.main:node", "Nodes and their executors.", ("n",)),
        "lock": Entry(f"{HERE}.main:lock", "Who has which detector."),
        "operation": Entry(f"{HERE}.main:operation", "What was asked for, and what goes on.", ("op",)),
        "top": Entry(f"{HERE}.top:top", "A live view of environments, rates, tasks, events, logs."),
        "info": Entry(f"{HERE}.info:info", "What the core is, and who you are to it."),
        "doctor": Entry(f"{HERE}.doctor:doctor", "What is wrong here, and what helps."),
        "context": Entry(f"{HERE}.main:context", "Which core is asked.", ("ctx",)),
        "login": Entry(f"{HERE}.login:login", "Make a key and a context from the token of an invitation."),
        "key": Entry(f"{HERE}.main:key", "Whose key opens the core: invite, approve, revoke."),
        "audit": Entry(f"{HERE}.main:audit", "Who asked for what; whether the log of it is whole."),
        "install-units": Entry(f"{HERE}.install_units:install_units", "Write systemd units of the daemons."),
        "completion": Entry(f"{HERE}.completion:completion", "Completion for bash, zsh and fish."),
        "about": Entry(f"{HERE}.about:about", "Versions and places."),
    },
    no_args_is_help=True,
)

environment = LazyGroup(
    name="environment",
    help="Make, control and end environments.",
    entries={
        "create": Entry(f"{HERE}.create:create", "Launch and configure a workflow's tasks.", ("new", "c", "n")),
        "list": Entry(f"{HERE}.environment:list_environments", "What there is.", ("ls", "l")),
        "show": Entry(f"{HERE}.environment:show", "One, with its tasks and its tree.", ("get", "s", "g")),
        "plan": Entry(f"{HERE}.plan:plan", "Who would run where and why, step by step; nothing is launched.", ("p",)),
        "control": Entry(f"{HERE}.control:control", "START, STOP, CONFIGURE, RESET.", ("ctl", "ct", "t")),
        "modify": Entry(f"{HERE}.modify:modify", "Take roles or nodes out, or put them back.", ("mod", "m")),
        "reconfigure": Entry(f"{HERE}.control:reconfigure", "Change properties; the processes stay."),
        "recover": Entry(f"{HERE}.control:recover", "From ERROR back to DEPLOYED."),
        "destroy": Entry(f"{HERE}.control:destroy", "End it and its tasks.", ("des", "d")),
        "events": Entry(f"{HERE}.events:events", "What happened, and what comes."),
        "logs": Entry(f"{HERE}.events:logs", "What its tasks write."),
    },
    no_args_is_help=True,
)

run = LazyGroup(
    name="run",
    help="Take runs, and look at their records.",
    entries={
        "take": Entry(f"{HERE}.take:take", "Deploy, configure, run, stop and clean up."),
        "list": Entry(f"{HERE}.runs:list_runs", "The last runs.", ("ls", "l")),
        "show": Entry(f"{HERE}.runs:show", "Everything about one run.", ("s",)),
        "diff": Entry(f"{HERE}.compare:diff", "What differs between two runs."),
        "repeat": Entry(f"{HERE}.repeat:repeat", "The same again: commit, variables, configuration, placement."),
        "annotate": Entry(f"{HERE}.annotate:annotate", "Write a note or tags."),
        "export": Entry(f"{HERE}.export:export", "Write its record, and its metrics, to files."),
    },
    no_args_is_help=True,
)

task = LazyGroup(
    name="task",
    help="The tasks of all nodes, and what they write.",
    entries={
        "list": Entry(f"{HERE}.task:list_tasks", "All tasks: of environments, idle, orphans.", ("ls", "l")),
        "show": Entry(f"{HERE}.task:show", "One task.", ("s",)),
        "logs": Entry(f"{HERE}.task:logs", "What a task wrote, also after its death."),
        "clean": Entry(f"{HERE}.task:clean", "End idle tasks and orphans.", ("cleanup", "cl")),
        "kill": Entry(f"{HERE}.task:kill", "End single tasks."),
    },
    no_args_is_help=True,
)

role = LazyGroup(
    name="role",
    help="Roles of environments and their variables.",
    entries={"query": Entry(f"{HERE}.role:query", "Roles that match a pattern.", ("q",))},
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

repository = LazyGroup(
    name="repository",
    help="Where workflows come from.",
    entries={
        "list": Entry(f"{HERE}.repository:list_repositories", "The repositories that the core knows.", ("ls", "l")),
        "add": Entry(f"{HERE}.repository:add", "Make one known.", ("new", "a")),
        "remove": Entry(f"{HERE}.repository:remove", "Forget one.", ("rm",)),
        "refresh": Entry(f"{HERE}.repository:refresh", "Fetch what is new."),
        "default": Entry(f"{HERE}.repository:default", "Which is meant when none is named."),
    },
    no_args_is_help=True,
)

node = LazyGroup(
    name="node",
    help="Nodes and their executors.",
    entries={
        "list": Entry(f"{HERE}.node:list_nodes", "The nodes: heard or lost, what they run.", ("ls", "l")),
        "show": Entry(f"{HERE}.node:show", "One node with its facts and tasks.", ("s",)),
        "drain": Entry(f"{HERE}.node:drain", "Place nothing new on it."),
        "undrain": Entry(f"{HERE}.node:undrain", "Place new tasks on it again."),
        "invite": Entry(f"{HERE}.key:invite_node", "Print the line that makes a machine a node."),
        "approve": Entry(f"{HERE}.key:approve_node", "Let in a node that waits for approval."),
    },
    no_args_is_help=True,
)

lock = LazyGroup(
    name="lock",
    help="Who has which detector.",
    entries={
        "list": Entry(f"{HERE}.lock:list_locks", "The detectors and who has them.", ("ls", "l")),
        "take": Entry(f"{HERE}.lock:take", "Have detectors for yourself."),
        "release": Entry(f"{HERE}.lock:release", "Give them back."),
        "request": Entry(f"{HERE}.lock:request", "Ask for what somebody has."),
    },
    no_args_is_help=True,
)

operation = LazyGroup(
    name="operation",
    help="What was asked for, and what goes on.",
    entries={
        "list": Entry(f"{HERE}.operation:list_operations", "The last operations of all users.", ("ls", "l")),
        "follow": Entry(f"{HERE}.operation:follow", "Follow one to its end.", ("f",)),
    },
    no_args_is_help=True,
)

context = LazyGroup(
    name="context",
    help="Which core is asked when nobody says.",
    entries={
        "list": Entry(f"{HERE}.context:list_contexts", "The cores that you have keys for.", ("ls", "l")),
        "use": Entry(f"{HERE}.context:use", "Choose one."),
        "show": Entry(f"{HERE}.context:show", "One, or the one that holds now.", ("s",)),
        "add": Entry(f"{HERE}.context:add", "Write one down by hand.", ("a",)),
        "remove": Entry(f"{HERE}.context:remove", "Forget one.", ("rm",)),
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
