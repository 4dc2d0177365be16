"""`template` and `environment plan`: what they print, with real repositories, and how they fail."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.coconut.conftest import Coconut

DEMO = ("--repo", "examples/demo")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with two commits: in the second, the workflow has one more role."""
    root = tmp_path / "lab"
    (root / "workflows").mkdir(parents=True)
    (root / "tasks").mkdir()
    (root / "tasks" / "sleeper.yaml").write_text("name: sleeper\ncontrol: {mode: basic}\ncommand: {value: sleep}\n")

    # Whoever runs the tests may sign what he commits, or be in a hook of git.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def git(*words: str) -> None:
        command = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        subprocess.run(command, check=True, capture_output=True, env=variables)

    git("init", "-q", "-b", "main")
    for tag, roles in (("v1", ["a"]), ("v2", ["a", "b"])):
        children = [{"name": name, "task": {"load": "sleeper"}} for name in roles]
        (root / "workflows" / "lab.yaml").write_text(json.dumps({"name": "lab", "roles": children}))
        git("add", ".")
        git("commit", "-q", "-m", tag)
        git("tag", tag)
    return root


# template list


def test_list_names_public_templates_and_what_they_are(coconut: Coconut) -> None:
    ran = coconut("template", "list", *DEMO)

    assert ran.status == 0
    assert ran.out.splitlines()[0] == "demo at local"
    assert ran.out.splitlines()[1].startswith("  demo  Two chains of source, filter and sink")


def test_list_of_the_production_repository(coconut: Coconut, real: Path) -> None:
    repo = str(real / "control-workflows")

    public = coconut("template", "list", "--repo", repo, "--json").document
    every = coconut("template", "list", "--repo", repo, "--all", "--json").document

    assert public["schema"] == "ecs/template-list/1"
    assert [one["name"] for one in public["templates"]] == ["readout-dataflow"]
    assert len(every["templates"]) == 7
    assert all(one["error"] is None for one in every["templates"])


def test_list_shows_what_cannot_be_read(coconut: Coconut, tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "broken.yaml").write_text("name: broken\nroles: 3\n")

    ran = coconut("template", "list", "--repo", str(tmp_path))

    assert "broken  cannot be read: workflows/broken.yaml:2:8" in ran.out


def test_list_of_nothing_says_so(coconut: Coconut, tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()

    assert "no templates that are !public; see --all" in coconut("template", "list", "--repo", str(tmp_path)).out
    assert coconut("template", "list", "--all", "--repo", str(tmp_path)).out.endswith("  no templates\n")


# template show


def test_show_groups_public_variables_by_panel(coconut: Coconut) -> None:
    ran = coconut("template", "show", "demo", *DEMO)

    assert "General" in ran.out
    assert "  rate = '500'  Messages that each source makes in a second" in ran.out


def test_show_of_the_production_workflow(coconut: Coconut, real: Path) -> None:
    document = coconut(
        "template", "show", "readout-dataflow", "--repo", str(real / "control-workflows"), "--json"
    ).document

    assert len(document["variables"]) == 111
    run_type = next(one for one in document["variables"] if one["name"] == "run_type")
    assert (run_type["value"], run_type["widget"], len(run_type["values"])) == ("PHYSICS", "comboBox", 18)


def test_show_text_is_the_file(coconut: Coconut) -> None:
    text = Path("examples/demo/workflows/demo.yaml").read_text()

    assert coconut("template", "show", "demo", *DEMO, "--text").out == text
    assert coconut("template", "show", "demo", *DEMO, "--text", "--json").document["text"] == text


# template expand


def test_expand_prints_the_tree(coconut: Coconut) -> None:
    ran = coconut("template", "expand", "demo", *DEMO, "-e", 'hosts=["x"]')

    lines = ran.out.splitlines()
    assert lines[0] == "demo"
    assert "      source  source-c (direct)" in lines
    assert sum("direct" in line for line in lines) == 8


def test_expand_json_has_the_fields_that_others_rely_on(coconut: Coconut) -> None:
    tree = coconut("template", "expand", "demo", *DEMO, "--json").document

    assert tree["schema"] == "ecs/template-expand/1"
    assert {"name", "path", "kind", "critical", "constraints", "vars", "children"} <= set(tree)
    task = tree["children"][0]
    assert (task["kind"], task["task"]["class"], task["task"]["mode"]) == ("task", "sink-c", "direct")
    assert tree["children"][2]["constraints"] == [{"attribute": "machine_id", "value": "node1"}]


def test_expand_variables_show_what_each_role_sees(coconut: Coconut) -> None:
    document = coconut("template", "expand", "demo", *DEMO, "--variables", "--json", "-e", "rate=7").document

    assert document["variables"]["rate"] == "7"
    assert "examples" in document["variables"]


def test_expand_at_a_revision(coconut: Coconut, repository: Path) -> None:
    def roles(*words: str) -> list[str]:
        document = coconut("template", "expand", *words, "--repo", str(repository), "--json").document
        return [child["name"] for child in document["children"]]

    assert roles("lab") == ["a", "b"]
    assert roles("lab", "--revision", "v1") == ["a"]
    assert roles("lab@v1") == ["a"]
    assert roles("lab@v2", "--revision", "v1") == ["a", "b"]


def test_expand_the_production_workflow(coconut: Coconut, real: Path, project: Path) -> None:
    document = coconut(
        "template", "expand", "readout-dataflow", "--repo", str(real / "control-workflows"),
        "--kv", str(project / "tests/real/kv.yaml"), "-e", 'hosts=["flp001"]', "--json",
    ).document  # fmt: skip

    assert document["name"] == "readout-dataflow"
    assert "host-flp001" in [child["name"] for child in document["children"]]


# mistakes


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("template", "show", "dmeo", *DEMO), 3, "did you mean demo?"),
        (("template", "list", "--repo", "nowhere"), 3, "there is no repository"),
        (("template", "list", *DEMO, "--revision", "v9"), 3, "no revision 'v9'"),
        (("template", "expand", "demo", *DEMO, "-e", "oops"), 2, "invalid variable assignment"),
        (("template", "expand", "demo", *DEMO, "--kv", "none.yaml"), 3, "--kv none.yaml: there is no such file"),
        (("template", "expand", "demo", *DEMO, "--tasks", "none"), 3, "--tasks none: there is no such folder"),
        (("template", "expand", "demo", *DEMO, "-e", "hosts=x"), 9, "demo.yaml:"),
        (("environment", "plan", "demo", *DEMO, "--nodes", "0"), 2, "between 1 and 64"),
        (("run", "take", "dmeo", *DEMO), 3, "did you mean demo?"),
        (("environment", "plan", "demo", *DEMO, "--nodes", "none.yaml"), 3, "--nodes takes a number or a YAML file"),
        (("run", "take", "demo", *DEMO, "--duration", "soon"), 2, "soon"),
        (("run", "take", "demo", *DEMO, "--report", "/proc/nowhere/x"), 2, "--report"),
        (("run", "take", "demo", *DEMO, "--cycles", "0"), 2, "cycles"),
    ],
)
def test_mistake_has_its_exit_status_and_says_what_is_wrong(
    coconut: Coconut, words: tuple[str, ...], status: int, text: str
) -> None:
    ran = coconut(*words)

    assert ran.status == status, ran.err
    assert text in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err


def test_without_a_repository_the_current_folder_is_it_or_nothing(
    coconut: Coconut, monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path
) -> None:
    monkeypatch.chdir(project / "examples" / "demo")
    assert coconut("template", "list").status == 0
    monkeypatch.chdir(tmp_path)
    ran = coconut("template", "list", "--local")

    assert ran.status == 2
    assert "--repo FOLDER" in ran.err


def test_error_in_a_template_has_place_and_caret(coconut: Coconut, tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "w.yaml").write_text('name: w\nroles:\n  - name: "{{ nothing }}"\n    roles: []\n')

    ran = coconut("template", "expand", "w", "--repo", str(tmp_path))
    document = coconut("template", "expand", "w", "--repo", str(tmp_path), "--json").document["error"]

    assert ran.status == 9
    assert "workflows/w.yaml:3:" in ran.err
    assert "^" in ran.err
    assert (document["file"], document["line"]) == ("workflows/w.yaml", 3)


# environment plan


def test_plan_with_too_few_nodes_cannot_work(coconut: Coconut) -> None:
    ran = coconut("environment", "plan", "demo", *DEMO, "--nodes", "2")

    assert ran.status == 9
    assert "The plan can't work; nothing was launched. Missing:" in ran.out
    assert "6 tasks: no node with machine_id = node3" in ran.out


def test_plan_takes_the_nodes_that_the_workflow_asks_for(coconut: Coconut) -> None:
    document = coconut("environment", "plan", "demo", *DEMO, "--json", "-e", 'hosts=["a","b"]').document

    assert document["schema"] == "ecs/environment-plan/1"
    assert document["ok"]
    assert {one["node"] for one in document["placement"]} == {"a", "b"}


def test_plan_with_nodes_from_a_file(coconut: Coconut, tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text(
        "- name: node1\n  ports: 20000-20010, 20020\n"
        "- name: big\n  attributes: {machine_id: 'node2,node3'}\n  cpus: 64\n  memory: 65536\n"
    )

    document = coconut("environment", "plan", "demo", *DEMO, "--nodes", str(path), "--json").document

    assert document["ok"], document["unplaced"]
    assert {one["node"] for one in document["placement"]} == {"node1", "big"}
    ports = {port for one in document["placement"] if one["node"] == "node1" for port in one["ports"]}
    assert ports == {20000, 20001}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[]", "describes no node"),
        ("- name: a\n- name: a\n", "describes node a twice"),
        ("- name: a\n  frogs: 3\n", "a node has no 'frogs'"),
        ("- cpus: 3\n", "a node has no 'name'"),
        ("- name: a\n  cpus: many\n", "`cpus` is a number"),
        ("- name: a\n  ports: 9-8\n", "no range of TCP ports"),
        ("- name: a\n  ports: x\n", "no range of TCP ports"),
    ],
)
def test_wrong_file_of_nodes(coconut: Coconut, tmp_path: Path, text: str, wrong: str) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text(text)

    ran = coconut("environment", "plan", "demo", *DEMO, "--nodes", str(path))

    assert ran.status == 9
    assert wrong in ran.err


def test_plan_of_calls_without_integrations_names_them(coconut: Coconut, real: Path, project: Path) -> None:
    words = (
        "environment", "plan", "readout-dataflow", "--repo", str(real / "control-workflows"),
        "--kv", str(project / "tests/real/kv.yaml"), "-e", 'hosts=["flp001"]', "-e", "dcs_enabled=true",
    )  # fmt: skip

    ran = coconut(*words)
    served = coconut(*words, "--integrations", str(project / "tests/system/integrations.yaml"))

    assert ran.status == 9
    assert "the integration of dcs.StartOfRun, for 1 critical call role: readout-dataflow.dcs.sor" in ran.out
    assert "note: nobody serves the integration of dcs.Cleanup" in ran.err
    assert served.status == 0


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (("readout-dataflow", "-e", 'hosts=["flp001"]'), "host 'flp001' belongs to no detector"),
        (("readout-dataflou",), "there is no workflows/readout-dataflou.yaml"),
    ],
)
def test_plan_without_a_tree_says_what_is_missing(
    coconut: Coconut, real: Path, words: tuple[str, ...], missing: str
) -> None:
    repo = ("--repo", str(real / "control-workflows"))

    ran = coconut("environment", "plan", *words, *repo)
    document = coconut("environment", "plan", *words, *repo, "--json").document

    assert ran.status == 9
    assert missing in ran.out
    assert not document["ok"]
    assert missing in document["missing"][0]


def test_plan_with_a_missing_repository_cannot_work(coconut: Coconut) -> None:
    ran = coconut("environment", "plan", "demo", "--repo", "nowhere")

    assert ran.status == 9
    assert "there is no repository" in ran.out


def test_variable_that_is_probably_misspelt_is_noted(coconut: Coconut) -> None:
    ran = coconut("template", "expand", "demo", *DEMO, "-e", "raet=3,quite_other=1")

    assert ran.status == 0
    assert ran.err == "note: no role declares the variable 'raet'; did you mean rate?\n"


def test_take_refuses_what_cannot_work_before_anything_is_launched(coconut: Coconut) -> None:
    ran = coconut("run", "take", "demo", *DEMO, "--nodes", "1")

    assert ran.status == 9
    assert "demo can't run here, nothing was launched" in ran.err
    assert "coconut environment plan demo" in ran.err
