"""What is generated is what lies in the repository."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from hostpulse.bus.messages import TABLES

DOCS = Path(__file__).parent.parent / "docs"


def load_generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


GENERATED: dict[str, str] = load_generator().generated()


@pytest.mark.parametrize("name", list(GENERATED))
def test_it_is_current(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == GENERATED[name], f"docs/{name} is old; run `make docs`"


def test_the_page_of_metrics_names_every_field() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    for table in TABLES.values():
        section = page.partition(f"\n## {table.name}\n")[2].partition("\n## ")[0]
        assert all(f"| `{field.name}` | {field.unit} |" in section for field in table.fields), table.name
        assert table.fields or section.strip()
