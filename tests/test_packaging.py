"""The wheel and the sdist: everything in them can be imported, and nothing is missing."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
FOLDERS = {"bus": "bus", "config": "config", "publisher": "publisher", "consumer": "consumer"}
IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import hostpulse
assert hostpulse.__file__.startswith(sys.argv[1]), hostpulse.__file__
names = [one.name for one in pkgutil.walk_packages(hostpulse.__path__, "hostpulse.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel that was built from the sdist, without a network."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(REPOSITORY)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    assert len(list(out.glob("*.tar.gz"))) == 1
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_holds_every_module_of_the_checkout(wheel: Path) -> None:
    expected = {
        f"hostpulse/{package}/{file.relative_to(REPOSITORY / folder)}"
        for folder, package in FOLDERS.items()
        for file in (REPOSITORY / folder).rglob("*.py")
    } | {
        f"hostpulse/{file.relative_to(REPOSITORY / 'src' / 'hostpulse')}"
        for folder in ("cli", "stack")
        for file in (REPOSITORY / "src" / "hostpulse" / folder).rglob("*.py")
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected - names == set()
    assert {
        "hostpulse/__init__.py",
        "hostpulse/py.typed",
        "hostpulse/config/default.toml",
        "hostpulse/config/alerts.toml",
    } <= names
    assert not [name for name in names if name.endswith("ruff.toml") or "tests" in name]


def test_everything_in_the_wheel_can_be_imported(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    site = sysconfig.get_paths()["purelib"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.append({site!r})\n{IMPORT_ALL}", str(target)],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert int(done.stdout) > 60
