import pytest

from hostpulse.bus.errors import UsageError
from hostpulse.bus.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0 B", 0), ("1 KiB", 1024), ("256MiB", 2**28), ("1.5 GiB", 3 * 2**29), ("1 TiB", 2**40)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "5 MB", "-1 MiB", "1  MiB", "MiB", "1 mib", "٣ MiB", "9" * 20 + " B"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a size; write for example 64 MiB"):
        parse_size(text)
