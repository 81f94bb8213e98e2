"""Who may import whom. The linter says so while one writes; this also sees imports that climb out of a folder."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

ALLOWED = {
    "bus": {"bus"},
    "config": {"bus", "config"},
    "publisher": {"bus", "publisher"},
    "consumer": {"bus", "consumer"},
}
# Parts that know less than their folder may.
FORBIDDEN = {
    "publisher/collectors": ("paho", "hostpulse.bus.mqtt", "hostpulse.bus.topics"),
    "consumer/storage": ("paho", "hostpulse.bus.mqtt", "hostpulse.bus.topics"),
}


def files_of(folder: str) -> list[Path]:
    return sorted((REPOSITORY / folder).rglob("*.py"))


def imports(file: Path, repository: Path = REPOSITORY) -> Iterator[str]:
    """Yield the modules that a file imports, relative ones written out."""
    package = ("hostpulse", *file.relative_to(repository).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = [*package[: len(package) - node.level + 1]] if node.level else []
            module = ".".join([*parts, node.module] if node.module else parts)
            yield module
            yield from (f"{module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("folder", list(ALLOWED))
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    files = files_of(folder)
    assert files
    allowed = {"__version__"} | ALLOWED[folder]
    wrong = [
        f"{file.relative_to(REPOSITORY)}: {module}"
        for file in files
        for module in imports(file)
        if module.startswith("hostpulse.") and module.split(".")[1] not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("part", list(FORBIDDEN))
def test_a_part_does_not_know_mqtt(part: str) -> None:
    files = files_of(part)
    assert files
    names = FORBIDDEN[part]
    wrong = [
        f"{file.relative_to(REPOSITORY)}: {module}"
        for file in files
        for module in imports(file)
        if any(module == name or module.startswith(f"{name}.") for name in names)
    ]
    assert wrong == []


def test_an_import_that_climbs_out_of_its_folder_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "publisher" / "collectors" / "cpu.py"
    file.parent.mkdir(parents=True)
    file.write_text("from ...consumer import store\nimport paho.mqtt\n", encoding="utf-8")
    assert set(imports(file, tmp_path)) == {"hostpulse.consumer", "hostpulse.consumer.store", "paho.mqtt"}
