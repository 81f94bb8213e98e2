"""smartctl for the tests: answers from files, given in this process or by a program on PATH.

tests/smartctl/README.md says where the answers are from.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from hostpulse.publisher.programs import Output

ANSWERS = Path(__file__).parent / "smartctl"


class Drives:
    """What `run_program` is on a machine with these drives.

    Args:
        answers: what smartctl says by the path of the drive, `scan` for what it finds; what is raised instead.
            Without any there is no smartctl.
    """

    def __init__(self, answers: Mapping[str, bytes | OSError] | None = None) -> None:
        self.answers = dict(answers or {})
        self.calls: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str], seconds: float) -> Output:
        """Answer as smartctl would."""
        assert command[0] == "smartctl"
        assert seconds > 0
        self.calls.append(command)
        if not self.answers:
            raise FileNotFoundError(command[0])
        answer = self.answers["scan" if "--scan-open" in command else command[-1]]
        if isinstance(answer, OSError):
            raise answer
        return output(answer)

    def asked(self) -> list[str]:
        """Return the drives that were asked since the last call."""
        asked = [command[-1] for command in self.calls if "--scan-open" not in command]
        self.calls.clear()
        return asked


def output(text: bytes) -> Output:
    """Return an answer with the exit code that stands in it."""
    try:
        return Output(json.loads(text)["smartctl"]["exit_status"], text)
    except (ValueError, KeyError, TypeError):
        return Output(0, text)


def answer(name: str) -> bytes:
    """Return an answer, such as `made/hdd`."""
    return (ANSWERS / f"{name}.json").read_bytes()


def scan(types: Mapping[str, str]) -> bytes:
    """Return what a scan says that finds drives of these types: `{"sda": "sat", "nvme0": "nvme"}`."""
    found = json.loads(answer("qemu/scan"))
    found["devices"] = [{"name": f"/dev/{name}", "type": kind} for name, kind in types.items()]
    return json.dumps(found).encode()


def folder_of_drives(folder: Path) -> Drives:
    """Return the drives of a machine; no smartctl if it has no such folder."""
    files = sorted(folder.glob("*.json"))
    return Drives({path.stem if path.stem == "scan" else f"/dev/{path.stem}": path.read_bytes() for path in files})


def install(folder: Path, answers: Mapping[str, bytes]) -> Path:
    """Put a program smartctl into a folder; return the file into which it writes how it is called.

    Args:
        folder: to be made, and to be put on PATH.
        answers: as `Drives` takes them. Where there is a FIFO in place of the file of a drive, the program hangs.
    """
    folder.mkdir()
    shutil.copy2(ANSWERS / "smartctl", folder)
    for path, text in answers.items():
        (folder / f"{Path(path).name}.json").write_bytes(text)
    return folder / "calls"
