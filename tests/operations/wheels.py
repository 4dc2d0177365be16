"""Wheels of what is installed here, under any version: what an upgrade installs."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import sysconfig
import venv
import zipfile
from pathlib import Path

NAME = "libecs"


def repack(folder: Path, version: str) -> Path:
    """Write a wheel of the installed package as `version`; return it."""
    installed = importlib.metadata.distribution(NAME)
    tag = f"cp{sysconfig.get_config_var('py_version_nodot')}"
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    wheel = folder / f"{NAME}-{version}-{tag}-{tag}-{platform}.whl"
    old, new = f"{NAME}-{installed.version}.dist-info", f"{NAME}-{version}.dist-info"
    record = []
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in installed.files or ():
            name = str(path)
            unwanted = name.startswith("..") or name.endswith((".pyc", "/RECORD", "/INSTALLER", "/direct_url.json"))
            if unwanted or name.endswith("/REQUESTED"):
                continue
            data = Path(str(installed.locate_file(path))).read_bytes()
            if name == f"{old}/METADATA":
                data = data.replace(f"Version: {installed.version}".encode(), f"Version: {version}".encode(), 1)
            name = name.replace(old, new)
            entry = zipfile.ZipInfo(name)
            entry.external_attr = Path(str(installed.locate_file(path))).stat().st_mode << 16
            archive.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}")
        archive.writestr(f"{new}/RECORD", "\n".join([*record, f"{new}/RECORD,,", ""]))
    return wheel


def make_environment(folder: Path) -> Path:
    """Make a virtual environment that finds what the package needs where it is installed now; return its programs."""
    venv.create(folder, with_pip=True, symlinks=True)
    packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"
