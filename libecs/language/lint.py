"""What is wrong in templates, or allowed and probably a mistake: found without expanding them.

Reading a file already notes unknown keys and dropped variables; this adds what needs a look at several texts or files.
Each finding has a code that stays. ERROR does not work where it is reached; WARNING is probably a mistake; HINT could
be better, or can't be told from here. The codes:

    unknown-key, not-text, ignored, deprecated      from reading: keys, variables that are no text, old names
    unused-variable, misspelt-variable, undeclared-variable, duplicate-variable, late-variable          lint_variables
    bad-condition, unknown-widget, wrong-type, not-allowed, no-values, duplicate-value, unknown-type    of public ones
    bad-moment, never-comes, ignored-await, no-trigger, not-a-hook, bad-duration, bad-call                  lint_roles
    never-enabled, no-members, iterator-name, duplicate-role, unknown-role, too-few-members
    unquoted-shell, shell-is-variable                                                                      lint_shell
    unknown-channel, no-target, bad-address                                                             lint_channels
    unknown-function                                                                                            here
    missing-template, bad-reference, E_…                                         from looking for templates (related)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from libecs.language import lint_channels, lint_roles, lint_shell, lint_variables, walk
from libecs.language.expression import Text
from libecs.language.fields import Finding, Severity
from libecs.language.functions import ALIASES
from libecs.language.program import suggest
from libecs.language.task import TaskTemplate
from libecs.language.template import WorkflowTemplate

Functions = Collection[tuple[str, ...]]
_BUILT_IN = frozenset({"ToPtree"})


def check(
    workflows: Iterable[WorkflowTemplate],
    tasks: Iterable[TaskTemplate],
    *,
    functions: Functions = (),
    is_complete: bool = True,
) -> tuple[Finding, ...]:
    """Return the findings about templates that belong together, in the order of files and lines.

    Args:
        workflows: workflow templates.
        tasks: task templates.
        functions: all that expressions may call, but those of integrations; empty: they are not checked.
        is_complete: False if templates that these name are not among them, or can't be known.
    """
    workflows, tasks = tuple(workflows), tuple(tasks)
    findings = [finding for template in workflows for finding in template.findings]
    findings += [finding for template in tasks for finding in template.findings]
    texts = [text for workflow in workflows for role in walk.roles(workflow) for text in walk.role_texts(role)]
    texts += [text for task in tasks for text in walk.all_task_texts(task)]
    findings += lint_variables.check(workflows, tasks, texts, is_complete=is_complete)
    findings += lint_roles.check(workflows, tasks)
    findings += lint_shell.check(tasks)
    findings += lint_channels.check(workflows, tasks, is_complete=is_complete)
    findings += _functions(texts, functions)
    return in_order(findings)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings by file, line, column and code, each once."""
    once = {(one.mark.file, one.mark.line, one.mark.column, one.code, one.message): one for one in findings}
    return tuple(once[key] for key in sorted(once))


def _functions(texts: Iterable[Text], known: Functions) -> Iterator[Finding]:
    """Find names of old functions, and functions that do not exist. Those of integrations can't be known here."""
    spaces = {path[0] for path in known if len(path) == 2}
    for text in texts:
        for path in sorted(text.calls):
            name = ".".join(path)
            mark = text.mark
            if mark is None:
                continue
            if name in ALIASES:
                yield Finding(
                    mark=mark,
                    message=f"{name}() is the old name of {ALIASES[name]}()",
                    code="deprecated",
                    severity=Severity.HINT,
                    hint=f"write {ALIASES[name]}()",
                )
            elif known and path not in known and name not in _BUILT_IN and (len(path) != 2 or path[0] in spaces):
                yield Finding(
                    mark=mark,
                    message=f"there is no function {name}()",
                    code="unknown-function",
                    severity=Severity.ERROR,
                    hint=suggest(name, (".".join(other) for other in known)),
                )
