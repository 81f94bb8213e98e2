"""Write the generated parts of docs/ and config/: run `make docs` after a change of fields or settings."""

from pathlib import Path

from hostpulse.bus.schema import asyncapi_document, message_schema, metrics_page, to_text
from hostpulse.config.grafana.render import write_dashboards
from hostpulse.config.render import write_generated


def generated() -> dict[str, str]:
    """Return the generated files of docs/ that follow from the contract: name and content."""
    return {
        "messages.schema.json": to_text(message_schema()),
        "asyncapi.json": to_text(asyncapi_document()),
        "metrics.md": metrics_page(),
    }


def main() -> None:
    """Write them all."""
    directory = Path(__file__).parent
    for name, content in generated().items():
        (directory / name).write_text(content, encoding="utf-8")
    write_generated(directory.parent)
    write_dashboards(directory.parent)


if __name__ == "__main__":
    main()
