"""Who answers: it reads templates and thinks plans through, and changes nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from libecs.config.tree import Tree
from libecs.engine.placement import NodeOffer
from libecs.errors import EcsError, InvalidInput, NotFound, UsageError
from libecs.io.blocking import BlockingCalls
from libecs.io.consult.expanding import Looked, installed, look, told
from libecs.io.consult.forms import check_document, form_document, read_form
from libecs.io.consult.linting import lint_document
from libecs.io.consult.masking import masked_document, masked_template, masked_text, secrets_of
from libecs.io.consult.place import Place
from libecs.io.consult.planning import make_plan, unserved
from libecs.io.expander import TaskOverlay
from libecs.io.integrations import Functions
from libecs.io.repository import Repositories, Repository, RepositorySource, list_workflows
from libecs.io.worker import ExpansionWorker
from libecs.language.fields import Variable
from libecs.language.template import read_workflow
from libecs.workflow.render import to_json

ANY = "any"
"""Name of a workflow when only its repository counts: it need not be there."""


class Consultant:
    """Answers questions about templates and plans. Nothing that it does can be seen by an environment."""

    def __init__(
        self,
        repositories: Repositories,
        *,
        tree: Callable[[], Tree] = Tree,
        functions: Sequence[Functions] = (),
        defaults: Mapping[str, str] | None = None,
        tasks: Path | None = None,
        places: Callable[[], Sequence[Place]] | None = None,
        blocking: BlockingCalls | None = None,
        worker: ExpansionWorker | None = None,
    ) -> None:
        """Keep what the answers depend on.

        Args:
            repositories: looked up anew for each question.
            tree: gives configuration, runtime values and inventory as they are now.
            functions: what serves the calls of call roles.
            defaults: the weakest variables of every workflow.
            tasks: folder laid over task templates.
            places: what `repository.list` tells; None = what `repositories` knows.
            blocking: runs `answer`; only who calls `document` needs none.
            worker: expands what is large.
        """
        self._repositories = repositories
        self._templates = TaskOverlay(repositories, tasks) if tasks is not None else repositories
        self._tree = tree
        self._functions = tuple(functions)
        self._defaults = dict(defaults or {})
        self._places = places
        self._blocking = blocking
        self._worker = worker
        self._subjects: Mapping[str, Callable[[Mapping[str, str]], dict[str, Any]]] = {
            "template.list": self._list,
            "template.show": self._show,
            "template.expand": self._expand,
            "template.lint": self._lint,
            "template.form": self._form,
            "repository.list": self._list_repositories,
        }

    async def answer(
        self, subject: str, arguments: Mapping[str, str], offers: Sequence[NodeOffer] = (), *, masked: bool = False
    ) -> str:
        """Return `document` as text; it is made in a thread. masked: without the values of secrets.

        Raises:
            EcsError: as `document`.
        """
        assert self._blocking is not None, "who answers needs threads"
        return await self._blocking.start(self._text, subject, dict(arguments), tuple(offers), masked)

    def document(self, subject: str, arguments: Mapping[str, str], offers: Sequence[NodeOffer] = ()) -> dict[str, Any]:
        """Return the answer to a question, with its `schema`. Blocks for as long as reading and expanding take.

        Args:
            subject: see `libecs.access.VERBS`, without `Consult.`.
            arguments: texts; lists and flags are JSON.
            offers: the nodes as placement sees them, for plans.

        Raises:
            NotFound: no such subject, repository, revision or template.
            UsageError: an argument is missing.
            InvalidInput: an argument, or a template, is wrong.
        """
        if subject == "environment.plan":
            return self._plan(arguments, offers)
        answer = self._subjects.get(subject)
        if answer is None:
            raise NotFound(f"nobody here knows about {subject!r}", hint="is the core older than this program?")
        return answer(arguments)

    def look(self, workflow: str, variables: Mapping[str, str]) -> Looked:
        """Expand a workflow. Blocks. Raises what loading and expanding raise."""
        return look(
            self._templates,
            workflow,
            variables,
            tree=self._tree(),
            functions=self._functions,
            defaults=self._defaults,
            worker=self._worker,
        )

    def plan(
        self, found: Looked, offers: Sequence[NodeOffer], *, fixed_ports: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Return the plan of an expanded workflow."""
        workflow = found.workflow
        made = make_plan(workflow, offers, unserved(workflow, found.served, critical=True), fixed_ports=fixed_ports)
        notes = [f"nobody serves {what}" for what in unserved(workflow, found.served, critical=False)]
        return {"schema": "ecs/environment-plan/1", **made.document(), "notes": [*found.notes, *notes]}

    def _text(self, subject: str, arguments: Mapping[str, str], offers: Sequence[NodeOffer], masked: bool) -> str:
        document = self._masked(subject, arguments, offers) if masked else self.document(subject, arguments, offers)
        return json.dumps(document, ensure_ascii=False)

    def _masked(self, subject: str, arguments: Mapping[str, str], offers: Sequence[NodeOffer]) -> dict[str, Any]:
        """Return the answer to a question without the values of secrets. Raises EcsError, without them too."""
        tree = self._tree()
        tables = [self._defaults, installed(tree, "defaults"), installed(tree, "vars")]
        try:
            tables.append(variables(arguments))
            document = self.document(subject, arguments, offers)
        except EcsError as error:
            raise told(error.code, masked_text(str(error), tables, self._written_secrets(arguments))) from None
        if isinstance(text := document.get("text"), str):
            document["text"] = masked_template(text)
        quotes = subject in ("template.list", "template.lint") or "text" in document or not document.get("ok", True)
        return masked_document(document, tables, self._written_secrets(arguments) if quotes else ())

    def _written_secrets(self, arguments: Mapping[str, str]) -> set[str]:
        """Return the values of secrets in all templates beside the one that is asked for: errors quote their lines."""
        names = arguments.get("workflow", "").split()
        found: set[str] = set()
        try:
            if names:
                source = self._repositories.open(names[0])[0]
            else:
                source = self._source(arguments.get("repo", ""), arguments.get("revision", ""))
        except EcsError:
            return found
        reads = [(source.workflow, name) for name in source.names("workflows")]
        reads += [(source.task, name) for name in source.names("tasks")]
        for read, name in reads:
            with contextlib.suppress(EcsError):
                found |= secrets_of(read(name, "")[0])
        return found

    # templates

    def _source(self, repository: str, revision: str) -> RepositorySource:
        place = f"{repository}/workflows/{ANY}" if repository else ANY
        return self._repositories.open(f"{place}@{revision}" if revision else place)[0]

    def _list(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        source = self._source(arguments.get("repo", ""), arguments.get("revision", ""))
        found = list_workflows(source, public_only=not flag(arguments, "all"))
        return {
            "schema": "ecs/template-list/1",
            "repository": source.repository,
            "revision": source.revision,
            "templates": [
                {
                    "name": one.name,
                    "public": one.template is not None and one.template.public,
                    "description": one.template.description if one.template is not None else "",
                    "error": str(one.error) if one.error is not None else None,
                }
                for one in found
            ],
        }

    def _show(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        source, name = self._repositories.open(needed(arguments, "workflow"))
        text, file = source.workflow(name, "")
        template = read_workflow(text, file, name=name)
        document: dict[str, Any] = {
            "schema": "ecs/template/1",
            "name": template.name,
            "repository": source.repository,
            "revision": source.revision,
            "file": file,
            "public": template.public,
            "description": template.description,
            "variables": [_variable_document(variable) for variable in template.variables()],
            "findings": [str(finding) for finding in template.findings],
        }
        return {**document, "text": text} if flag(arguments, "text") else document

    def _expand(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        found = self.look(needed(arguments, "workflow"), variables(arguments))
        workflow = found.workflow
        return {
            "schema": "ecs/template-expand/1",
            "workflow": workflow.name,
            "repository": workflow.repository,
            "revision": workflow.revision,
            "notes": list(found.notes),
            **to_json(workflow, all_variables=flag(arguments, "all_variables")),
        }

    def _lint(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        names = tuple(arguments.get("workflow", "").split())
        opened = [self._repositories.open(name) for name in names]
        sources = {(source.repository, source.revision) for source, _ in opened}
        if len(sources) > 1:
            raise UsageError("these workflows are in different repositories or revisions", hint="ask for one at a time")
        if opened:
            source, found = opened[0][0], tuple(name for _, name in opened)
        else:
            source, found = self._source(arguments.get("repo", ""), arguments.get("revision", "")), ()
        document = lint_document(source, found, strict=flag(arguments, "strict"), hints=not flag(arguments, "no_hints"))
        return {"schema": "ecs/template-lint/1", **document}

    def _form(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        source, name = self._repositories.open(needed(arguments, "workflow"))
        form = read_form(source, name, self._tree())
        head = {"workflow": form.name, "repository": source.repository, "revision": source.revision}
        if flag(arguments, "check"):
            return {"schema": "ecs/template-check/1", **head, **check_document(form, variables(arguments))}
        return {"schema": "ecs/template-form/1", **head, **form_document(form)}

    def _plan(self, arguments: Mapping[str, str], offers: Sequence[NodeOffer]) -> dict[str, Any]:
        workflow = needed(arguments, "workflow")
        given = variables(arguments)
        try:
            found = self.look(workflow, given)
        except (NotFound, InvalidInput) as error:
            return no_plan(workflow, error)
        return self.plan(found, offers)

    # repositories

    def _list_repositories(self, arguments: Mapping[str, str]) -> dict[str, Any]:
        places = self._known_places() if self._places is None else self._places()
        return {
            "schema": "ecs/repository-list/1",
            "repositories": [attrs.asdict(place) for place in sorted(places, key=lambda one: one.name)],
        }

    def _known_places(self) -> list[Place]:
        default = self._repositories.default
        return [
            Place(name=one.name, place=_place(one), default=default is not None and one.name == default.name)
            for one in self._repositories.all()
        ]


def no_plan(workflow: str, error: EcsError) -> dict[str, Any]:
    """Return the plan of what has not even a tree: a repository, template, key or function is missing, or wrong."""
    told = {"code": error.code, "exit_code": error.exit_code, "message": error.message, "hint": error.hint}
    return {
        "schema": "ecs/environment-plan/1",
        "workflow": workflow,
        "ok": False,
        "missing": [error.message],
        "error": {key: value for key, value in told.items() if value != ""},
    }


def _place(repository: Repository) -> str:
    path = getattr(repository, "path", None)
    return str(path) if path is not None else ""


def _variable_document(variable: Variable) -> dict[str, Any]:
    spec = variable.spec
    assert spec is not None, "public variables have one"
    return {
        "name": variable.name,
        "value": variable.text.source,
        "type": spec.type,
        "label": spec.label,
        "description": spec.description,
        "widget": spec.widget,
        "panel": spec.panel,
        "values": list(spec.values),
        "index": spec.index,
        "line": variable.mark.line,
    }


# arguments


def needed(arguments: Mapping[str, str], name: str) -> str:
    """Return an argument that must be there. Raises UsageError."""
    value = arguments.get(name, "")
    if not value:
        raise UsageError(f"the question names no {name}")
    return value


def flag(arguments: Mapping[str, str], name: str) -> bool:
    """Return a yes or no: "" or "false" is no."""
    return arguments.get(name, "") not in ("", "false", "0")


def variables(arguments: Mapping[str, str]) -> dict[str, str]:
    """Return the variables, a JSON object of texts. Raises UsageError."""
    text = arguments.get("variables", "")
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"`variables` is no JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UsageError("`variables` is no JSON object of texts")
    return found
