"""Questions about templates and plans: the documents, from threads, and how a question can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from libecs.config.tree import Tree
from libecs.engine.placement import NodeOffer
from libecs.errors import EcsError, NotFound, UsageError
from libecs.io.blocking import BlockingCalls
from libecs.io.consult import expanding as expanding_module
from libecs.io.consult.consultant import Consultant
from libecs.io.consult.expanding import told
from libecs.io.consult.place import Place
from libecs.io.git import open_location
from libecs.io.repository import Repositories, TextRepository
from libecs.io.worker import ExpansionWorker
from libecs.workflow.expand import ExpansionLimits

LAB = {
    "workflows/lab.yaml": """
name: !public lab
description: two tasks
defaults:
  rate: !public {value: "1", type: number, panel: Main}
roles:
  - {name: a, task: {load: t}}
  - {name: b, call: {func: "dcs.Start()", trigger: before_DEPLOY, critical: false}}
""",
    "workflows/bad.yaml": "name: bad\nroles: 3\n",
    "tasks/t.yaml": "name: t\ncontrol: {mode: basic}\ncommand: {value: sleep}\n",
}
NODE = NodeOffer(name="n1", host="h", attributes={"machine_id": "n1"}, ports=((9000, 9010),))


@pytest.fixture
def repositories() -> Repositories:
    other = TextRepository(name="other", files={"workflows/x.yaml": "name: x\nroles: []\n"})
    return Repositories(TextRepository(name="main", files=LAB), [other])


@pytest.fixture
def consultant(repositories: Repositories) -> Consultant:
    return Consultant(repositories, defaults={"python": "/p"})


def test_every_subject_gives_its_document(consultant: Consultant) -> None:
    expected = {
        "template.list": ({}, "template-list"),
        "template.show": ({"workflow": "lab"}, "template"),
        "template.expand": ({"workflow": "lab"}, "template-expand"),
        "template.lint": ({"workflow": "lab"}, "template-lint"),
        "template.form": ({"workflow": "lab"}, "template-form"),
        "environment.plan": ({"workflow": "lab"}, "environment-plan"),
        "repository.list": ({}, "repository-list"),
    }

    for subject, (arguments, schema) in expected.items():
        document = consultant.document(subject, arguments, (NODE,))
        assert document["schema"] == f"ecs/{schema}/1"
        assert json.loads(json.dumps(document)) == document


async def test_answers_are_texts_made_in_a_thread(repositories: Repositories) -> None:
    blocking = BlockingCalls()
    consultant = Consultant(repositories, blocking=blocking)
    try:
        text = await consultant.answer("template.list", {"all": "1"})
        with pytest.raises(NotFound):
            await consultant.answer("template.show", {"workflow": "lost"})
    finally:
        await blocking.close()

    assert [one["name"] for one in json.loads(text)["templates"]] == ["bad", "lab"]


def test_list_names_other_repositories_and_tells_what_cannot_be_read(consultant: Consultant) -> None:
    assert [one["name"] for one in consultant.document("template.list", {})["templates"]] == ["bad", "lab"]
    other = consultant.document("template.list", {"repo": "other", "all": "1"})
    assert (other["repository"], [one["name"] for one in other["templates"]]) == ("other", ["x"])
    bad = consultant.document("template.list", {})["templates"][0]
    assert "workflows/bad.yaml:2" in bad["error"]


def test_plan_places_on_the_offers_and_notes_what_nobody_serves(consultant: Consultant) -> None:
    plan = consultant.document("environment.plan", {"workflow": "lab"}, (NODE,))
    none = consultant.document("environment.plan", {"workflow": "lab"}, ())

    assert plan["ok"]
    assert [(one["role"], one["node"]) for one in plan["placement"]] == [("lab.a", "n1")]
    assert plan["notes"] == ["nobody serves the integration of dcs.Start, for 1 call role: lab.b"]
    assert not none["ok"]
    assert "lab.a" in none["unplaced"]


def test_plan_of_what_has_no_tree_is_a_document_too(consultant: Consultant) -> None:
    plan = consultant.document("environment.plan", {"workflow": "bda"})

    assert (plan["ok"], plan["error"]["code"]) == (False, "E_NOT_FOUND")
    assert "did you mean bad" in plan["error"]["hint"]


def test_expand_sees_variables_tree_and_defaults(repositories: Repositories) -> None:
    consultant = Consultant(
        repositories, tree=lambda: Tree({"o2/runtime/aliecs/vars/site": "hall"}), defaults={"python": "/p"}
    )

    document = consultant.document(
        "template.expand", {"workflow": "lab", "variables": '{"raet": "2"}', "all_variables": "1"}
    )

    assert document["variables"] | {"site": "hall", "python": "/p", "rate": "1"} == document["variables"]
    assert document["notes"] == ["no role declares the variable 'raet'; did you mean rate?"]


def test_form_checks_values(consultant: Consultant) -> None:
    good = consultant.document("template.form", {"workflow": "lab", "check": "1", "variables": '{"rate": "2"}'})
    bad = consultant.document("template.form", {"workflow": "lab", "check": "1", "variables": '{"rate": "x"}'})

    assert (good["ok"], good["values"]) == (True, 1)
    assert (bad["ok"], bad["findings"][0]["variable"]) == (False, "rate")


def test_lint_is_of_one_repository(consultant: Consultant) -> None:
    strict = consultant.document("template.lint", {"strict": "1"})

    assert not strict["ok"]
    with pytest.raises(UsageError, match="different repositories"):
        consultant.document("template.lint", {"workflow": "lab other/workflows/x"})
    assert consultant.document("template.lint", {"repo": "other"})["repository"] == "other"


def test_repositories_are_told_as_they_are_kept(repositories: Repositories) -> None:
    kept = [Place(name="b", place="/b"), Place(name="a", place="/a", default=True, revision="v1", error="gone")]

    told_ = Consultant(repositories, places=lambda: kept).document("repository.list", {})
    derived = Consultant(repositories).document("repository.list", {})

    assert [one["name"] for one in told_["repositories"]] == ["a", "b"]
    assert told_["repositories"][0]["error"] == "gone"
    assert [(one["name"], one["default"]) for one in derived["repositories"]] == [("main", True), ("other", False)]


@pytest.mark.parametrize(
    ("subject", "arguments", "error"),
    [
        ("template.eat", {}, NotFound),
        ("template.show", {}, UsageError),
        ("template.expand", {"workflow": "lab", "variables": "{"}, UsageError),
        ("template.expand", {"workflow": "lab", "variables": "[1]"}, UsageError),
        ("template.expand", {"workflow": "lab", "variables": '{"a": 1}'}, UsageError),
        ("template.list", {"repo": "nowhere"}, NotFound),
        ("template.list", {"revision": "v9"}, NotFound),
    ],
)
def test_wrong_questions(
    consultant: Consultant, subject: str, arguments: dict[str, str], error: type[EcsError]
) -> None:
    with pytest.raises(error):
        consultant.document(subject, arguments)


def test_what_is_large_goes_to_the_worker(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expanding_module, "SMALL", ExpansionLimits(roles=3))
    worker = ExpansionWorker()
    repositories = Repositories(open_location(project / "examples" / "demo"))
    defaults = {"examples": "/x", "python": "/p"}
    try:
        large = Consultant(repositories, defaults=defaults, worker=worker)
        document = large.document("template.expand", {"workflow": "demo"})
        assert worker.pid is not None
        with pytest.raises(EcsError) as caught:
            large.document("template.expand", {"workflow": "demo", "variables": '{"hosts": "x"}'})
    finally:
        worker.close()

    assert document == Consultant(repositories, defaults=defaults).document("template.expand", {"workflow": "demo"})
    assert caught.value.code.startswith("E_")


def test_errors_of_a_worker_keep_code_and_advice() -> None:
    error = told("E_TEMPLATE", "w.yaml:3: no\n  next: write yes")

    assert (error.code, error.message, error.hint) == ("E_TEMPLATE", "w.yaml:3: no", "write yes")
    assert EcsError("x").code == "E_FAILED"


# secrets

SECRETIVE = {
    "workflows/lab.yaml": """
name: lab
defaults:
  db_password: !public {value: "hunter2x", type: string, panel: Main}
  plain: open
  api_token: "on"
vars: {line: "user:{{ db_password }}"}
roles:
  - name: a
    vars: {their_secret: "s3same!"}
    task: {load: t}
    constraints: [{attribute: k, value: "{{ their_secret }}"}]
  - {name: b, call: {func: "dcs.Start('{{ db_password }}')", trigger: before_DEPLOY, critical: false}}
""",
    "tasks/t.yaml": "name: t\ncontrol: {mode: basic}\ncommand: {value: sleep}\n",
}
SUBJECTS = ("template.expand", "environment.plan", "template.form", "template.show")


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("subject", SUBJECTS)
async def test_whoever_may_only_look_is_told_no_secret_in_a_document(subject: str, masked: bool) -> None:
    blocking = BlockingCalls()
    tree = Tree.of({"o2/runtime/aliecs/vars/site_credential": "abcdefgh"})
    consultant = Consultant(
        Repositories(TextRepository(name="main", files=SECRETIVE), []),
        blocking=blocking,
        tree=lambda: tree,
        defaults={"house_password": "xyzzy-123"},
    )
    arguments = {"workflow": "lab", "all_variables": "1", "variables": json.dumps({"my_token": "mine-mine"})}
    try:
        text = await consultant.answer(subject, arguments, (NODE,), masked=masked)
    finally:
        await blocking.close()

    said = [secret for secret in ("hunter2x", "s3same!", "abcdefgh", "xyzzy-123", "mine-mine") if secret in text]
    assert (said == []) if masked else ("hunter2x" in said)
    assert json.loads(text)["schema"].startswith("ecs/")
    if subject == "template.expand":
        assert "open" in text
        assert json.loads(text)["defaults"]["api_token"] == ("***" if masked else "on")


QUOTED = {
    "workflows/shown.yaml": """\ufeff# für 😀
name: !public shown
defaults: {db_password: "hunter2x", db_user: bob}
vars:
  ü: ü
  api_token: !public {value: s3same-open, type: string, panel: Main}
  long_secret: >
    two lines
    of it
  list_of_secrets: ["one-1", 'two-2']
roles: []
""",
    "workflows/wrong.yaml": """
name: wrong
defaults: {db_password: "hunter2x"}
roles:
  - {name: "a{{ it }}", for: {range: "{{ db_password }}", var: it}, task: {load: t}}
""",
    "workflows/broken.yaml": "name: broken\ndefaults: {db_password: hunter2x, b: [}\nroles: []\n",
    "tasks/t.yaml": "name: t\ncontrol: {mode: basic}\ncommand: {value: sleep}\n",
}


async def answer_masked(subject: str, **arguments: str) -> str:
    blocking = BlockingCalls()
    consultant = Consultant(Repositories(TextRepository(name="main", files=QUOTED), []), blocking=blocking)
    try:
        return await consultant.answer(subject, arguments, (NODE,), masked=True)
    finally:
        await blocking.close()


async def test_the_text_of_a_template_is_shown_without_what_stands_beside_secrets() -> None:
    document = json.loads(await answer_masked("template.show", workflow="shown", text="1"))

    assert (
        document["text"]
        == """# für 😀
name: !public shown
defaults: {db_password: ***, db_user: bob}
vars:
  ü: ü
  api_token: !public {value: ***, type: string, panel: Main}
  long_secret: ***
  list_of_secrets: [***, ***]
roles: []
"""
    )


@pytest.mark.parametrize("workflow", ["wrong", "broken"])
@pytest.mark.parametrize("subject", SUBJECTS)
async def test_errors_quote_no_secret_to_whoever_may_only_look(subject: str, workflow: str) -> None:
    try:
        told = await answer_masked(subject, workflow=workflow, text="1")
    except EcsError as error:
        assert error.code == "E_TEMPLATE"
        told = str(error)

    assert "hunter2x" not in told


@pytest.mark.parametrize("subject", ["template.list", "template.lint"])
async def test_findings_of_a_repository_quote_no_secret_to_whoever_may_only_look(subject: str) -> None:
    assert "hunter2x" not in await answer_masked(subject, all="1")
