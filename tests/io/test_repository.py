"""Repositories of templates: plain folders, git, texts; and what is laid over them."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from libecs.errors import EcsError, InvalidInput, NotFound, TemplateError, UsageError
from libecs.io.git import GitRepository, find_repository, mirror, open_repository
from libecs.io.overlay import overlay
from libecs.io.repository import (
    MAX_FILE_BYTES,
    FolderRepository,
    OverlaidTasks,
    Repositories,
    RepositorySource,
    TextRepository,
    list_workflows,
)
from libecs.language.task import read_task

REAL = Path(__file__).parents[3] / "shared" / "real"
SOMEBODY = pygit2.Signature("Somebody", "somebody@example.org", 0, 0)


def workflow(name: str, *, public: bool = True, roles: str = "[]") -> str:
    return f"name: {'!public ' if public else ''}{name}\nroles: {roles}\n"


def commit(repository: pygit2.Repository, ref: str, files: dict[str, str], parents: list[pygit2.Oid]) -> pygit2.Oid:
    index = pygit2.Index()
    for path, text in files.items():
        index.add(pygit2.IndexEntry(path, repository.create_blob(text.encode()), pygit2.enums.FileMode.BLOB))
    link = repository.create_blob(b"/etc/passwd")
    index.add(pygit2.IndexEntry("workflows/link.yaml", link, pygit2.enums.FileMode.LINK))
    tree = index.write_tree(repository)
    return repository.create_commit(ref, SOMEBODY, SOMEBODY, "message", tree, parents)


@pytest.fixture
def remote(tmp_path: Path) -> pygit2.Repository:
    """A bare repository: main with two commits, a branch, a light and an annotated tag."""
    repository = pygit2.init_repository(str(tmp_path / "flow.git"), bare=True, initial_head="main")
    first = commit(repository, "refs/heads/main", {"workflows/a.yaml": workflow("a"), "tasks/t.yaml": "name: t\n"}, [])
    repository.references.create("refs/tags/light", first)
    repository.create_tag("v1.0", first, pygit2.enums.ObjectType.COMMIT, SOMEBODY, "an annotated tag")
    second = commit(
        repository, "refs/heads/main", {"workflows/a.yaml": workflow("a"), "workflows/b.yaml": "b"}, [first]
    )
    repository.references.create("refs/heads/dev/x", first)
    assert second != first
    return repository


def at(repository: GitRepository, revision: str) -> str:
    return repository.at(revision).revision


def sha(repository: pygit2.Repository, ref: str) -> str:
    return str(repository.references[ref].peel(pygit2.Commit).id)


# git


def test_branches_tags_and_commits_are_found(remote: pygit2.Repository) -> None:
    git = GitRepository(path=Path(remote.path), name="flow")
    first, second = sha(remote, "refs/tags/light"), sha(remote, "refs/heads/main")

    assert [at(git, name) for name in ("", "main", second, second[:10])] == [second] * 4
    assert [at(git, name) for name in ("dev/x", "light", "v1.0", first.upper())] == [first] * 4
    assert git.revisions() == ("dev/x", "light", "main", "v1.0")


@pytest.mark.parametrize("revision", ["mainn", "HEAD~1", ":/message", "main^{tree}", "-x", "..", "abcd", "x" * 300])
def test_a_revision_that_does_not_exist_is_said_with_what_there_is(remote: pygit2.Repository, revision: str) -> None:
    with pytest.raises(NotFound, match="no revision") as caught:
        GitRepository(path=Path(remote.path), name="flow").at(revision)

    assert "main" in caught.value.hint


def test_the_branch_as_the_remote_has_it_wins_then_tags_then_commits_then_own_branches(
    remote: pygit2.Repository,
) -> None:
    git = GitRepository(path=Path(remote.path), name="flow")
    first, second = sha(remote, "refs/tags/light"), sha(remote, "refs/heads/main")
    remote.references.create("refs/heads/same", first)
    assert at(git, "same") == first
    remote.references.create("refs/tags/same", second)
    assert at(git, "same") == second
    remote.references.create("refs/remotes/origin/same", first)
    assert at(git, "same") == first

    remote.references.create(f"refs/heads/{second[:8]}", first)
    assert at(git, second[:8]) == second


def test_files_are_read_at_a_commit_links_and_folders_are_none(remote: pygit2.Repository) -> None:
    snapshot = GitRepository(path=Path(remote.path), name="flow").at("v1.0")

    assert snapshot.read("tasks/t.yaml") == b"name: t\n"
    for path in ("tasks/no.yaml", "workflows", "workflows/link.yaml", "", "/etc/passwd", "../x", "a\0b"):
        assert snapshot.read(path) is None
    assert snapshot.list("workflows") == ("a.yaml",)
    assert snapshot.list("tasks/t.yaml") == snapshot.list("nothing") == ()


def test_a_file_that_is_too_long_is_refused(remote: pygit2.Repository, tmp_path: Path) -> None:
    commit(remote, "refs/heads/big", {"workflows/big.yaml": "x" * (MAX_FILE_BYTES + 1)}, [])
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "big.yaml").write_text("x" * (MAX_FILE_BYTES + 1))

    with pytest.raises(InvalidInput, match="longer than"):
        GitRepository(path=Path(remote.path), name="flow").at("big").read("workflows/big.yaml")
    with pytest.raises(InvalidInput, match="longer than"):
        FolderRepository(path=tmp_path, name="f").at("").read("workflows/big.yaml")


def test_a_repository_without_a_branch_says_so(tmp_path: Path) -> None:
    pygit2.init_repository(str(tmp_path / "empty.git"), bare=True)

    with pytest.raises(NotFound, match="no default branch"):
        GitRepository(path=tmp_path / "empty.git", name="empty").at("")


def test_a_head_that_is_a_commit_is_the_default(remote: pygit2.Repository) -> None:
    first = sha(remote, "refs/tags/light")
    remote.set_head(pygit2.Oid(hex=first))

    assert at(GitRepository(path=Path(remote.path), name="flow"), "") == first


def test_what_is_no_git_repository_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EcsError, match="cannot be read as a git repository"):
        GitRepository(path=tmp_path, name="x").revisions()


def test_a_mirror_follows_the_remote_its_new_moved_and_deleted_branches_and_tags(
    remote: pygit2.Repository, tmp_path: Path
) -> None:
    copy = mirror(f"file://{remote.path}", tmp_path / "mirrors" / "flow.git")
    assert copy.name == "flow"
    first, second = sha(remote, "refs/tags/light"), sha(remote, "refs/heads/main")
    assert (at(copy, ""), at(copy, "v1.0")) == (second, first)

    third = str(commit(remote, "refs/heads/main", {"workflows/c.yaml": "c"}, [pygit2.Oid(hex=second)]))
    remote.references.delete("refs/heads/dev/x")
    remote.references.create("refs/heads/new", second)
    remote.references.create("refs/tags/light", second, force=True)
    assert at(copy, "main") == second  # until it is refreshed

    copy = mirror(remote.path, tmp_path / "mirrors" / "flow.git")

    assert (at(copy, ""), at(copy, "main"), at(copy, "new"), at(copy, "light")) == (third, third, second, second)
    assert "dev/x" not in copy.revisions()
    assert sorted(path.name for path in (tmp_path / "mirrors").iterdir()) == ["flow.git"]


def test_a_remote_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EcsError, match="could not be copied"):
        mirror(f"file://{tmp_path}/missing", tmp_path / "mirrors" / "x.git")

    assert list((tmp_path / "mirrors").iterdir()) == []


@pytest.mark.parametrize("url", ["ext::sh -c id", "-u", "--upload-pack=id", "fd::3", "http://plain.example.org/x", ""])
def test_addresses_that_could_run_something_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no address"):
        mirror(url, tmp_path / "x.git")


def test_a_work_tree_is_a_folder_until_a_revision_is_named(remote: pygit2.Repository, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    pygit2.clone_repository(remote.path, str(folder))
    (folder / "workflows" / "a.yaml").write_text("edited")

    tree = open_repository(folder)

    for revision in ("", "local"):
        assert (tree.at(revision).revision, tree.at(revision).read("workflows/a.yaml")) == ("local", b"edited")
    assert tree.at("v1.0").read("workflows/a.yaml") == workflow("a").encode()
    assert "v1.0" in tree.revisions()
    assert Repositories(tree, revision="v1.0").open("a")[0].revision == tree.at("v1.0").revision
    assert Repositories(tree, revision="v1.0").open("a@main")[0].revision == tree.at("main").revision
    assert isinstance(open_repository(Path(remote.path)), GitRepository)
    assert open_repository(Path(remote.path)).name == "flow"


def test_a_user_names_a_repository_by_path_or_address(remote: pygit2.Repository, tmp_path: Path) -> None:
    mirrors = tmp_path / "mirrors"

    by_path = find_repository(remote.path, mirrors)
    by_address = find_repository(f"file://{remote.path}", mirrors)

    assert (by_path.name, by_address.name) == ("flow", "flow")
    assert by_path.at("v1.0").revision == by_address.at("v1.0").revision
    (copy,) = mirrors.iterdir()
    assert copy.name.endswith("_flow.git")
    assert find_repository(f"file://{remote.path}", mirrors) == by_address


def test_a_folder_that_is_no_repository_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no repository"):
        open_repository(tmp_path / "missing")
    with pytest.raises(NotFound, match="no folder `workflows`"):
        open_repository(tmp_path)


# folders and texts


def test_a_folder_is_read_as_it_is_now(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "a.yaml").write_text("1")
    repository = open_repository(tmp_path)
    snapshot = repository.at("local")

    assert (repository.name, repository.revisions(), snapshot.revision) == (tmp_path.name, (), "local")
    assert snapshot.read("workflows/a.yaml") == b"1"
    for path in ("workflows", "workflows/no.yaml", "workflows/a.yaml/x", "a\0b"):
        assert snapshot.read(path) is None
    assert (snapshot.list("workflows"), snapshot.list("tasks")) == (("a.yaml",), ())
    with pytest.raises(NotFound, match="plain folder"):
        repository.at("main")


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EcsError, match="cannot be read: File name too long"):
        FolderRepository(path=tmp_path, name="f").at("").read("x" * 300)


def test_a_link_that_leads_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    """Who may write templates need not be who may read the core's keys."""
    (tmp_path / "key").write_text("secret")
    real = tmp_path / "real"
    (real / "workflows").mkdir(parents=True)
    (real / "workflows" / "a.yaml").write_text("A")
    (real / "workflows" / "b.yaml").symlink_to("a.yaml")
    (real / "workflows" / "evil.yaml").symlink_to(tmp_path / "key")
    (real / "workflows" / "loop.yaml").symlink_to("loop.yaml")
    (real / "tasks").symlink_to(tmp_path)
    (tmp_path / "repository").symlink_to("real")
    snapshot = FolderRepository(path=tmp_path / "repository", name="f").at("")

    assert (snapshot.read("workflows/a.yaml"), snapshot.read("workflows/b.yaml")) == (b"A", b"A")
    for path in ("workflows/evil.yaml", "tasks/key", "../key"):
        with pytest.raises(InvalidInput, match="leads out of the repository"):
            snapshot.read(path)
    with pytest.raises(EcsError, match="cannot be read: Too many levels of symbolic links"):
        snapshot.read("workflows/loop.yaml")


def test_texts_of_a_script_are_a_repository(tmp_path: Path) -> None:
    texts = TextRepository(name="script", files={"workflows/a.yaml": "A", "tasks/t.yaml": "T"})
    source = RepositorySource(texts, "", Repositories().find)

    assert (source.workflow("a", ""), source.task("t", "")) == (("A", "workflows/a.yaml"), ("T", "tasks/t.yaml"))
    assert (source.names("workflows"), texts.revisions()) == (("a",), ())
    with pytest.raises(NotFound, match="made by a script"):
        texts.at("main")


# sources


@pytest.fixture
def repositories(remote: pygit2.Repository) -> Repositories:
    other = TextRepository(name="host/user/other", files={"workflows/o.yaml": "O", "tasks/bad.yaml": "\udcff"})
    return Repositories(GitRepository(path=Path(remote.path), name="flow"), [other])


def test_a_workflow_expression_names_repository_revision_and_template(
    repositories: Repositories, remote: pygit2.Repository
) -> None:
    source, name = repositories.open("b")
    assert (name, source.revision, source.repository) == ("b", sha(remote, "refs/heads/main"), "flow")

    source, name = repositories.open("a@v1.0")
    assert (name, source.revision) == ("a", sha(remote, "refs/tags/light"))
    assert source.workflow("b", "@main") == ("b", "@main:workflows/b.yaml")
    assert source.workflow("o", "host/user/other") == ("O", "host/user/other:workflows/o.yaml")

    source, name = repositories.open("host/user/other/workflows/o")
    assert (name, source.repository, source.revision) == ("o", "host/user/other", "local")


def test_what_does_not_exist_is_said_with_what_is_like_it(repositories: Repositories) -> None:
    source, _ = repositories.open("a")

    with pytest.raises(NotFound, match=r"there is no workflows/aa\.yaml in flow") as caught:
        source.workflow("aa", "")
    assert caught.value.hint == "did you mean a?"
    with pytest.raises(NotFound, match="there is no tasks/x") as caught:
        source.task("x", "host/user/other")
    assert caught.value.hint == "there are: bad"
    with pytest.raises(NotFound, match="there is no repository host/user/otherr") as caught:
        repositories.open("host/user/otherr/workflows/o")
    assert "host/user/other" in caught.value.hint
    with pytest.raises(UsageError, match="names no repository"):
        Repositories().open("a")


def test_a_script_adds_its_own(repositories: Repositories) -> None:
    repositories.add(TextRepository(name="script-1", files={"workflows/s.yaml": "S"}))

    assert repositories.open("script-1/workflows/s")[0].workflow("s", "")[0] == "S"
    assert repositories.default is not None


def test_a_template_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "a.yaml").write_bytes(b"name: \xff")
    source = RepositorySource(FolderRepository(path=tmp_path, name="f"), "", Repositories().find)

    with pytest.raises(InvalidInput, match="no UTF-8"):
        source.workflow("a", "")


def test_templates_are_listed_those_for_users_only_and_those_that_are_broken() -> None:
    files = {
        "workflows/shown.yaml": workflow("shown", roles="[{name: r, task: {load: t}}]"),
        "workflows/inner.yaml": workflow("inner", public=False, roles="[{name: r, task: {load: t}}]"),
        "workflows/broken.yaml": "name: [",
        "workflows/README.md": "",
    }
    source = RepositorySource(TextRepository(name="x", files=files), "", Repositories().find)

    assert [one.name for one in list_workflows(source)] == ["broken", "shown"]
    assert [one.name for one in list_workflows(source, public_only=False)] == ["broken", "inner", "shown"]
    broken, shown = list_workflows(source)
    assert isinstance(broken.error, TemplateError)
    assert shown.template is not None


def test_the_real_templates_are_listed() -> None:
    source, _ = Repositories(open_repository(REAL / "control-workflows")).open("readout-dataflow")

    listed = {one.name: one for one in list_workflows(source)}

    assert listed["readout-dataflow"].template is not None
    assert [one.name for one in listed.values() if one.error] == []


# overlays


BASE = """\
name: readout # comment
command:
  value: /opt/real
  user: flp
  arguments:
    - a
    - b

control:
  mode: fairmq
wants:
  cpu: 4
bind:
  - name: data
    type: push
properties:
  key: "010"
"""


def test_command_and_wants_are_taken_over_and_all_else_stays_in_its_lines() -> None:
    result = overlay(BASE, "tasks/readout.yaml", "name: x\nwants: {cpu: 0.1}\ncommand:\n  value: ./mine\n", "over")

    template = read_task(result, "tasks/readout.yaml", name="readout")
    before = read_task(BASE, "tasks/readout.yaml")
    assert (template.command, template.user, template.arguments, template.wants.cpu) == ("./mine", "", (), 0.1)
    assert (template.mode, template.bind, template.properties) == (before.mode, before.bind, before.properties)
    assert template.bind[0].mark == before.bind[0].mark


@pytest.mark.parametrize("key", ["command", "wants"])
def test_what_the_overlay_does_not_say_stays(key: str) -> None:
    said = {"command": "command: {value: x}", "wants": "wants: {cpu: 1}"}

    template = read_task(overlay(BASE, "b", said[key] + "\n", "o"), "b")

    assert template.command == ("x" if key == "command" else "/opt/real")
    assert template.wants.cpu == (1 if key == "wants" else 4)


def test_a_template_without_the_key_gets_it() -> None:
    template = read_task(overlay("name: t\ncommand:\n  value: x", "b", "wants:\n  cpu: 2", "o"), "b")

    assert template.wants.cpu == 2


@pytest.mark.parametrize(
    ("base", "over", "user", "command"),
    [
        (BASE, "user: me\n", "me", "/opt/real"),
        (BASE, 'user: ""\n', "", "/opt/real"),
        (BASE, "command:\n  value: x\nuser: me\n", "me", "x"),
        ("name: t\ncommand:\n  user: flp\n  value: x\n", "user: me\n", "me", "x"),
    ],
)
def test_the_user_may_be_replaced_alone(base: str, over: str, user: str, command: str) -> None:
    template = read_task(overlay(base, "b", over, "o"), "b")

    assert (template.user, template.command) == (user, command)


@pytest.mark.parametrize(
    ("base", "over", "reason"),
    [
        (BASE, "command: [", "o is no YAML"),
        (BASE, "- command", "o is no task template"),
        ('{"name": "t", "command": {"value": "x"}}', "wants: {cpu: 1}\n", "b is no task template"),
        ("name: t\n", "user: me\n", "`command` is no block"),
        (BASE, "command: {value: x}\nuser: me\n", "`command` is no block"),
    ],
)
def test_what_cannot_be_laid_over_is_refused(base: str, over: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        overlay(base, "b", over, "o")


@pytest.mark.parametrize("place", ["readout.yaml", "tasks/readout.yaml"])
def test_a_folder_is_laid_over_the_task_templates_of_a_source(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("command:\n  value: mine\n")
    files = {"tasks/readout.yaml": BASE, "tasks/other.yaml": "O", "workflows/w.yaml": "W"}
    under = RepositorySource(TextRepository(name="x", files=files), "", Repositories().find)

    source = OverlaidTasks(under, tmp_path)

    assert read_task(*source.task("readout", "")).command == "mine"
    assert source.task("other", "") == ("O", "tasks/other.yaml")
    assert source.workflow("w", "") == ("W", "workflows/w.yaml")
    assert (source.repository, source.revision) == ("x", "local")


@pytest.mark.parametrize("folder", ["control-workflows", "control-workflows-2022"])
def test_every_real_task_template_takes_an_overlay_and_keeps_the_rest(folder: str) -> None:
    over = "command:\n  value: mine\n  arguments: [x]\nwants: {cpu: 0}\n"
    for path in sorted((REAL / folder / "tasks").iterdir()):
        text = path.read_text()
        before = read_task(text, path.name)

        after = read_task(overlay(text, path.name, over, "o"), path.name)

        assert (after.command, after.arguments, after.user, after.wants.cpu) == ("mine", ("x",), "", 0)
        for name in ("name", "mode", "defaults", "vars", "bind", "connect", "properties", "constraints"):
            assert getattr(after, name) == getattr(before, name), (path, name)
