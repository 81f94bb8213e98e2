from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from hostpulse.config.errors import SettingsError
from hostpulse.config.load import Loaded, load


class Place(NamedTuple):
    """A machine's places for settings, all of them empty directories."""

    root: Path

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def user_file(self) -> Path:
        return self.root / "xdg/hostpulse/config.toml"

    @property
    def system_file(self) -> Path:
        return self.root / "etc/config.toml"

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def load(
        self,
        environ: Mapping[str, str] | None = None,
        /,
        *,
        toml: str | None = None,
        config_file: Path | None = None,
        overrides: Mapping[str, str] | None = None,
        **dotted: str,
    ) -> Loaded:
        """Load; `toml` is the user's file; other keywords are overrides, `__` in a name is a dot."""
        if toml is not None:
            self.write("xdg/hostpulse/config.toml", toml)
        return load(
            overrides={name.replace("__", "."): text for name, text in dotted.items()} | dict(overrides or {}),
            config_file=config_file,
            environ={"XDG_CONFIG_HOME": str(self.root / "xdg")} | dict(environ or {}),
            secrets_dir=self.secrets,
            system_file=self.system_file,
        )

    def problems(
        self,
        environ: Mapping[str, str] | None = None,
        /,
        *,
        toml: str | None = None,
        config_file: Path | None = None,
        overrides: Mapping[str, str] | None = None,
        **dotted: str,
    ) -> list[str]:
        """Load what cannot be right; return the lines, with the directory as `~~`."""
        with pytest.raises(SettingsError) as caught:
            self.load(environ, toml=toml, config_file=config_file, overrides=overrides, **dotted)
        assert str(caught.value) == "\n".join(caught.value.problems)
        return [line.replace(str(self.root), "~~") for line in caught.value.problems]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
