"""As whom tasks may run, decided for executors of root and of nobody in particular."""

from __future__ import annotations

import os
import pwd

import pytest

from libecs.errors import Denied, InvalidInput
from libecs.fsm import Mode
from libecs.io.users import UserPolicy
from libecs.wire.node import Command, TaskSpec

NOBODY = pwd.getpwnam("nobody")
DAEMON = pwd.getpwnam("daemon")
NO_NAME = 54321
"""A user that has no name, as in containers."""


def spec(user: str = "", **environment: str) -> TaskSpec:
    return TaskSpec(
        task="t",
        environment="e",
        role="readout.t",
        class_name="c",
        mode=Mode.DIRECT,
        critical=True,
        command=Command(argv=("x",), user=user, environment=environment),
    )


def admitted(policy: UserPolicy, wanted: TaskSpec) -> Command:
    policy.check()
    return policy.admit(wanted).command


@pytest.mark.parametrize("named", ["", "nobody", str(NOBODY.pw_uid)])
@pytest.mark.parametrize("default", ["", "nobody"])
def test_an_executor_that_is_not_root_runs_tasks_as_itself_and_switches_nothing(named: str, default: str) -> None:
    policy = UserPolicy(host="flp1", uid=NOBODY.pw_uid, default=default)

    command = admitted(policy, spec(named))

    assert (command.user, command.environment) == ("", {})


def test_a_user_without_a_name_runs_tasks_that_name_nobody() -> None:
    assert admitted(UserPolicy(host="flp1", uid=NO_NAME), spec()) == spec().command


def test_an_executor_that_is_not_root_runs_nothing_as_others() -> None:
    with pytest.raises(Denied, match=r"role readout.t may not run as user daemon on flp1: .*--allow-user daemon"):
        UserPolicy(host="flp1", uid=NOBODY.pw_uid).admit(spec("daemon"))
    with pytest.raises(Denied, match=r"cannot run as user daemon on flp1: only root .* there is user nobody"):
        UserPolicy(host="flp1", uid=NOBODY.pw_uid, allowed=("daemon",)).admit(spec("daemon"))
    with pytest.raises(Denied, match=f"there is user {NO_NAME}"):
        UserPolicy(host="flp1", uid=NO_NAME, allowed=("daemon",)).admit(spec("daemon"))


def test_root_runs_tasks_as_the_configured_user_and_tells_them_who_they_are() -> None:
    policy = UserPolicy(host="flp1", uid=0, default="nobody")

    command = admitted(policy, spec(HOME="/data"))

    assert command.user == "nobody"
    assert command.environment == {"HOME": "/data", "USER": "nobody", "LOGNAME": "nobody"}


def test_root_runs_what_was_allowed_by_name_or_number_and_nothing_else() -> None:
    policy = UserPolicy(host="flp1", uid=0, default="nobody", allowed=(str(DAEMON.pw_uid),))

    assert admitted(policy, spec("daemon")).user == "daemon"
    assert admitted(policy, spec(str(DAEMON.pw_uid))).user == "daemon"
    for name in ("bin", "root", "0"):
        with pytest.raises(Denied, match=f"may not run as user {name} on flp1"):
            policy.admit(spec(name))
    for name in ("no-such-user", "4294967296", "99999999999999999999"):
        with pytest.raises(Denied, match="there is no such user"):
            policy.admit(spec(name))


def test_nothing_is_root_unless_root_was_named() -> None:
    with pytest.raises(Denied, match="role readout.t names no user, and on flp1 nothing runs as root"):
        UserPolicy(host="flp1", uid=0).admit(spec())
    with pytest.raises(Denied, match="may not run as user root"):
        UserPolicy(host="flp1", uid=0).admit(spec("root"))

    assert admitted(UserPolicy(host="flp1", uid=0, default="root"), spec()).user == ""
    assert admitted(UserPolicy(host="flp1", uid=0, allowed=("root",)), spec("root")).user == ""


def test_users_that_cannot_be_had_are_told_at_the_start() -> None:
    with pytest.raises(InvalidInput, match="there is no user 'no-such-user' on flp1"):
        UserPolicy(host="flp1", uid=0, allowed=("no-such-user",)).check()
    with pytest.raises(InvalidInput, match="tasks cannot run as user daemon: only root may switch users"):
        UserPolicy(host="flp1", uid=NOBODY.pw_uid, default="daemon").check()


def test_an_executor_asks_who_it_is() -> None:
    assert UserPolicy(host="x").uid == os.geteuid()
