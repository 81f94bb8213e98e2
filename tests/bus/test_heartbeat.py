"""The file that health checks look at."""

import os
from pathlib import Path

import pytest

from hostpulse.bus.heartbeat import Heartbeat


def test_it_is_renewed_every_ten_seconds_and_not_more_often(tmp_path: Path) -> None:
    now = [0.0]
    file = tmp_path / "heartbeat"
    heartbeat = Heartbeat(str(file), clock=lambda: now[0])
    heartbeat.beat()
    os.utime(file, (0, 0))
    now[0] = 9.9
    heartbeat.beat()
    assert file.stat().st_mtime == 0
    now[0] = 10.1
    heartbeat.beat()
    assert file.stat().st_mtime > 0


def test_what_keeps_it_from_being_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    heartbeat = Heartbeat(str(tmp_path / "nowhere" / "heartbeat"), clock=lambda: now[0])
    for second in (0, 20, 40):
        now[0] = second
        heartbeat.beat()
    (line,) = caplog.messages
    assert line.startswith(f"heartbeat_file {tmp_path / 'nowhere' / 'heartbeat'} cannot be written")
