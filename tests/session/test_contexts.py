"""Which core a client talks to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from libecs.errors import EcsError, InvalidInput, NotFound, UsageError
from libecs.io.contexts import (
    Context,
    Contexts,
    choose,
    contexts_path,
    core_state_folder,
    default_key_file,
    is_loopback,
    read_contexts,
    read_endpoint,
    remove_context,
    save_context,
    use_context,
)

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
P2 = Context(name="p2", endpoint="tcp://head:47102", core_key=KEY, key_file=Path("keys/p2.key"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("ECS_CONTEXT", "ECS_CORE", "ECS_CORE_KEY", "ECS_KEY_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    return tmp_path


def write(text: str) -> None:
    contexts_path().parent.mkdir(parents=True, exist_ok=True)
    contexts_path().write_text(text)


def run_core(state: Path, endpoint: str = "tcp://127.0.0.1:47102") -> None:
    """Leave behind what a core writes for its clients."""
    state.mkdir(parents=True)
    (state / "client.toml").write_text(f'endpoint = "{endpoint}"\ncore_key = "{KEY}"\nkey_file = "keys/owner.key"\n')


# addresses


@pytest.mark.parametrize("address", ["tcp://head:1", "tcp://10.0.0.1:65535", "tcp://[::1]:47102", "ipc:///run/core"])
def test_addresses_of_cores(address: str) -> None:
    assert read_endpoint(address) == address


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        ("head", "tcp://head:47102"),
        ("127.0.0.1:5000", "tcp://127.0.0.1:5000"),
        ("tcp://head", "tcp://head:47102"),
        ("http://head:5000", "tcp://head:5000"),
        ("tcp://head:70000", "tcp://HOST:47102"),
        ("tcp://", "tcp://HOST:47102"),
        ("ipc://", "tcp://HOST:47102"),
        ("a b", "tcp://HOST:47102"),
    ],
)
def test_what_is_no_address_is_said_with_what_was_meant(text: str, likely: str) -> None:
    with pytest.raises(UsageError, match="is no address of a core") as caught:
        read_endpoint(text)

    assert caught.value.hint == f"write {likely}"


def test_wherever_an_address_is_from_it_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="is no address"):
        choose("tcp://head")
    write('[context.p2]\nendpoint = "tcp://head"\n')
    with pytest.raises(UsageError, match=r"'tcp://head' is no address of a core \(\[context.p2\] in "):
        choose("p2")
    assert "p2" in read_contexts().contexts  # so that it can be removed
    monkeypatch.setenv("ECS_CORE", "head")
    with pytest.raises(UsageError, match="is no address"):
        choose()


# the file


def test_without_a_file_there_are_no_contexts() -> None:
    assert read_contexts() == Contexts()


def test_what_is_saved_is_read_again_and_the_first_is_the_current_one(home: Path) -> None:
    save_context(Context(name="p2", endpoint="tcp://head:47102", core_key=KEY, key_file=default_key_file("p2")))
    save_context(Context(name="lab", endpoint="tcp://127.0.0.1:47102"))

    known = read_contexts()

    assert known.current == "p2"
    assert list(known.contexts) == ["p2", "lab"]
    assert known.contexts["p2"].core_key == KEY
    assert known.contexts["p2"].key_file == home / "config/ecs/keys/p2.key"
    assert known.contexts["lab"].key_file is None
    assert "keys/p2.key" in contexts_path().read_text()
    assert str(home) not in contexts_path().read_text()


def test_a_key_elsewhere_is_kept_with_its_whole_path(home: Path) -> None:
    save_context(Context(name="p2", endpoint="tcp://head:47102", core_key=KEY, key_file=home / "mine.key"))

    assert choose("p2").key_file == home / "mine.key"


def test_a_context_can_be_made_the_current_one(home: Path) -> None:
    save_context(P2)
    save_context(Context(name="lab", endpoint="tcp://127.0.0.1:1"), current=True)
    assert choose().name == "lab"

    use_context("p2")
    assert choose().name == "p2"

    run_core(core_state_folder())
    use_context("local")
    assert choose().endpoint == "tcp://127.0.0.1:47102"


def test_a_context_that_is_not_there_cannot_be_the_current_one() -> None:
    save_context(P2)

    with pytest.raises(NotFound, match="there is no context 'p3'") as caught:
        use_context("p3")

    assert caught.value.hint == "did you mean p2?"


def test_a_removed_context_is_no_more_the_current_one() -> None:
    save_context(P2)

    assert remove_context("p2").endpoint == "tcp://head:47102"

    assert read_contexts() == Contexts()
    with pytest.raises(NotFound, match="there are none"):
        remove_context("p2")


@pytest.mark.parametrize("name", ["", "a b", "../x", "tcp://head:1", "-x"])
def test_names_that_a_file_or_a_shell_would_misread_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a context"):
        save_context(Context(name=name, endpoint="tcp://head:47102"))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("current = ", "is no TOML", ""),
        ('curent = "p2"', "'curent' means nothing here", "did you mean current?"),
        ("current = 3", "`current` is the name of a context", ""),
        ("context = 3", "`context` holds tables", "[context.NAME]"),
        ('[context]\np2 = "x"', "`context` holds tables", "[context.NAME]"),
        ('[context.p2]\nendpont = "x"', "'endpont' means nothing here", "did you mean endpoint?"),
        ("[context.p2]\nendpoint = 1", "endpoint is a text", ""),
        ("[context.p2]\n", "there is no endpoint", "tcp://host:47102"),
        (f'[context.p2]\nendpoint = "x"\ncore_key = "{KEY}"', "core_key and key_file go together", "coconut login"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_place(text: str, message: str, hint: str) -> None:
    write(text)

    with pytest.raises(InvalidInput) as caught:
        read_contexts()

    assert message in caught.value.message
    assert hint in caught.value.hint
    assert str(contexts_path()) in caught.value.message


def test_a_file_that_cannot_be_read_or_written_is_told(home: Path) -> None:
    contexts_path().mkdir(parents=True)

    with pytest.raises(EcsError, match="can't be read: Is a directory"):
        read_contexts()

    contexts_path().rmdir()
    contexts_path().parent.rmdir()
    contexts_path().parent.write_text("")
    with pytest.raises(EcsError, match="can't be written: "):
        save_context(P2)


# the choice


def test_the_order_is_name_then_variables_then_the_current_one_then_the_core_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_core(core_state_folder())
    assert choose() == choose("local")
    assert choose().name == "local"
    assert choose().key_file == core_state_folder() / "keys/owner.key"

    save_context(P2)
    assert choose().name == "p2"

    monkeypatch.setenv("ECS_CORE", "tcp://other:47102")
    assert choose().endpoint == "tcp://other:47102"

    monkeypatch.setenv("ECS_CONTEXT", "local")
    assert choose().endpoint == "tcp://127.0.0.1:47102"

    assert choose("p2").endpoint == "tcp://head:47102"
    assert choose("tcp://third:47102") == Context(name="", endpoint="tcp://third:47102", source="its address")


def test_variables_name_core_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECS_CORE", "tcp://head:47102")
    monkeypatch.setenv("ECS_CORE_KEY", KEY)
    monkeypatch.setenv("ECS_KEY_FILE", "/somewhere/my.key")

    context = choose()

    assert (context.core_key, context.key_file) == (KEY, Path("/somewhere/my.key"))
    assert context.source == "$ECS_CORE"


@pytest.mark.parametrize(("given", "missing"), [("ECS_CORE_KEY", "ECS_KEY_FILE"), ("ECS_KEY_FILE", "ECS_CORE_KEY")])
def test_half_of_the_variables_is_a_mistake(monkeypatch: pytest.MonkeyPatch, given: str, missing: str) -> None:
    monkeypatch.setenv("ECS_CORE", "tcp://head:47102")
    monkeypatch.setenv(given, "x")

    with pytest.raises(UsageError, match=f"{given} is set, and {missing} is not"):
        choose()


def test_a_state_folder_is_found_by_its_path(home: Path) -> None:
    run_core(home / "mine", "tcp://127.0.0.1:5")

    assert choose(str(home / "mine")).endpoint == "tcp://127.0.0.1:5"
    with pytest.raises(NotFound, match="no core has this state"):
        choose(str(home / "other"))


def test_a_variable_that_names_no_context_says_that_it_was_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    save_context(P2)
    monkeypatch.setenv("ECS_CONTEXT", "q2")

    with pytest.raises(NotFound, match=r"there is no context 'q2' \(\$ECS_CONTEXT\)"):
        choose()


def test_without_any_core_it_says_where_it_looked_and_what_to_do() -> None:
    with pytest.raises(NotFound, match="no core is chosen, and none of yours runs here") as caught:
        choose()
    assert "coconut login TOKEN" in caught.value.hint

    save_context(P2, current=False)
    with pytest.raises(NotFound) as caught:
        choose()
    assert caught.value.hint == "contexts are p2: coconut context use NAME"


def test_root_finds_the_core_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)

    assert core_state_folder() == Path("/var/lib/ecs/core")


def test_to_look_up_names_needs_neither_sockets_nor_event_loops() -> None:
    program = "import sys, libecs.io.contexts; print(sorted({'zmq', 'asyncio', 'msgspec', 'lark'} & set(sys.modules)))"

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("endpoint", "is_ours"),
    [
        ("tcp://127.0.0.1:47102", True),
        ("tcp://127.8.9.10:47102", True),
        ("tcp://[::1]:47102", True),
        ("tcp://localhost:47102", True),
        ("ipc:///run/ecs", True),
        ("tcp://127.evil.example:47102", False),
        ("tcp://localhost.evil.example:47102", False),
        ("tcp://10.0.0.1:47102", False),
    ],
)
def test_only_addresses_of_this_machine_may_be_talked_to_without_keys(endpoint: str, is_ours: bool) -> None:
    assert is_loopback(endpoint) is is_ours
