"""`coconut install-units`: the files with which systemd runs the daemons of this installation."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from pathlib import Path

import click

from ecsd.coconut.output import Output, json_option, verb
from libecs.errors import EcsError, UsageError

UNITS = Path(__file__).resolve().parents[1] / "units"
"""Templates of the files."""
PLACES = {
    "ecsd.service": "etc/systemd/system",
    "ecs-executord.service": "etc/systemd/system",
    "readoutd@.service": "etc/systemd/system",
    "ecs.slice": "etc/systemd/system",
    "ecs.sysusers": "etc/sysusers.d",
}
"""Template to the folder, below the root, that gets the file."""
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")


def render(text: str, *, bin: Path, user: str) -> str:
    """Return a unit for an installation whose programs are in `bin`, run by `user`."""
    return text.replace("{bin}", str(bin)).replace("{user}", user).replace("{home}", home_protection(bin))


def home_protection(bin: Path) -> str:
    """Return how far homes are hidden from the daemons: not altogether if they are installed in one."""
    needed = {bin, Path(sys.executable).resolve(), Path(sys.base_prefix)}
    lives_there = any(path.is_relative_to(home) for path in needed for home in _HOMES)
    return "read-only" if lives_there else "yes"


def target(name: str, root: Path) -> Path:
    """Return where the file of a template goes."""
    return root / PLACES[name] / ("ecs.conf" if name == "ecs.sysusers" else name)


def write_units(root: Path, *, bin: Path, user: str) -> list[tuple[Path, bool]]:
    """Write what is not there as it should be; return each file, and whether it was written.

    Raises:
        UsageError: `user` can't be the name of one.
        EcsError: a file can't be written.
    """
    if not _USER.fullmatch(user):
        raise UsageError(f"{user!r} is no name of a user", hint="use lower-case letters, digits, '-' and '_'")
    written = []
    for name in PLACES:
        path = target(name, root)
        text = render((UNITS / name).read_text(encoding="utf-8"), bin=bin, user=user)
        changed = _content(path) != text
        if changed:
            _write(path, text)
        written.append((path, changed))
    return written


def _content(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8")
    return ""


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.chmod(0o644)
        new.replace(path)
    except OSError as error:
        hint = "run it as root, or write elsewhere with --root DIR"
        raise EcsError(f"{path} cannot be written: {error.strerror}", hint=hint) from error


def programs_folder() -> Path:
    """Return the folder of the programs of this installation. Raises EcsError when they are not installed."""
    beside = Path(sys.executable).parent / "ecsd"
    found = str(beside) if beside.exists() else shutil.which("ecsd")
    if found is None:
        raise EcsError("the program ecsd is not installed", hint="install the package, then run this again")
    return Path(found).parent


@click.command(
    help="""Write the systemd units of ecsd, ecs-executord and readoutd@, and the user that runs them.

    Files that are there and differ are replaced: change units by drop-ins (`systemctl edit ecsd`).

    \b
    Examples:
      coconut install-units
      coconut install-units --root /tmp/look --user daq
      systemctl enable --now ecsd
    """
)
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), metavar="DIR", help="Write below DIR.")
@click.option("--user", default="ecs", metavar="NAME", help="Who runs the daemons; made by systemd-sysusers.")
@click.option("--dry-run", is_flag=True, help="Print the units, write nothing.")
@json_option
@verb
def install_units(output: Output, *, root: Path, user: str, dry_run: bool) -> None:
    """Write the units."""
    bin = programs_folder()
    if dry_run:
        texts = {name: render((UNITS / name).read_text(encoding="utf-8"), bin=bin, user=user) for name in PLACES}
        lines = [line for name, text in texts.items() for line in (f"# {target(name, root)}", text)]
        output.document("install-units", {"units": texts, "written": []}, lines)
        return
    files = write_units(root, bin=bin, user=user)
    lines = [f"{'written ' if changed else 'as it was'} {path}" for path, changed in files]
    output.document("install-units", {"written": [str(path) for path, changed in files if changed]}, lines)
    if home_protection(bin) != "yes":
        output.say(f"the programs are in a home folder: {user} must be able to enter it, and homes are not hidden")
    output.say("next: systemd-sysusers && systemctl daemon-reload && systemctl enable --now ecsd ecs-executord")
