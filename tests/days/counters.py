"""The files of /proc whose numbers only grow, until they begin again."""

from .levels import Levels, Traffic
from .tree import Tree

__all__ = ["Counters"]

_TICKS = 100  # of /proc/stat, a second
_GROUPS = 4  # of CPUs that do the same
_SPREAD = 0.2  # by which the busiest of them differs from the mean
_SECTOR = 512
_BYTES_OF_AN_OPERATION = 65536
_BYTES_OF_A_PACKET = 1000
_COLUMNS_OF_A_DISK, _COLUMNS_OF_AN_INTERFACE = 17, 16
_BUSY_MILLISECONDS = 9
_NUMBERS_OF_ONE_THAT_CAME = "   8      32 "


class Counters:
    """Counters that begin where those of a tree are.

    Args:
        tree: of the machine.
        fresh: whether it was booted just now, so that all begin at 0.
        narrow: interfaces whose counters begin again at 2**32.
    """

    def __init__(self, tree: Tree, *, fresh: bool, narrow: tuple[str, ...]) -> None:
        factor = 0 if fresh else 1
        self._narrow = narrow
        stat = tree.lines("proc/stat")
        self._cpus = {line.split()[0]: _numbers(line, 1, factor) for line in stat if line[3].isdigit()}
        self._stat = [line for line in stat if not line.startswith(("cpu", "btime"))]
        disks = [(line.split()[2], line) for line in tree.lines("proc/diskstats")]
        self._disks = {name: _numbers(line, 3, factor) for name, line in disks}
        self._disk_heads = {name: line[: line.index(name)] for name, line in disks}
        network = tree.lines("proc/net/dev")
        self._network_head = network[:2]
        self._network = {
            line.split(":")[0].strip(): _numbers(line.replace(":", " "), 1, factor) for line in network[2:]
        }
        self._interfaces = frozenset(self._network)
        self._vmstat = {name: int(number) * factor for name, number in map(str.split, tree.lines("proc/vmstat"))}
        self._killed = 0
        self._stalled = {
            what: [float(line.rpartition("=")[2]) * factor for line in tree.lines(f"proc/pressure/{what}")]
            for what in ("cpu", "memory", "io")
            if (tree.root / "proc/pressure" / what).exists()
        }

    def files(self, levels: Levels, seconds: float, boot: float) -> dict[str, object]:
        """Return the files after some more seconds.

        Args:
            levels: what the machine did in these.
            seconds: how many.
            boot: when it was booted, by its clock now.
        """
        return {
            "proc/stat": self._processors(levels, seconds, boot),
            "proc/vmstat": self._faults(levels, seconds),
            "proc/diskstats": self._diskstats(levels.disks, seconds),
            "proc/1/net/dev": self._traffic(levels.interfaces, seconds),
            **{f"proc/pressure/{what}": self._pressure(levels, what, seconds) for what in self._stalled},
        }

    def _processors(self, levels: Levels, seconds: float, boot: float) -> str:
        ticks = round(seconds * _TICKS)
        iowait, steal = round(ticks * levels.iowait), round(ticks * levels.steal)
        steps = []
        for group in range(_GROUPS):
            share = round(levels.busy, 2) * (1 + _SPREAD * (2 * group / (_GROUPS - 1) - 1))
            busy = min(round(ticks * share), ticks - iowait - steal)
            user = round(busy * 0.8)
            steps.append((user, 0, busy - user, ticks - busy - iowait - steal, iowait, 0, 0, steal))
        for number, row in enumerate(self._cpus.values()):
            for column, step in enumerate(steps[number % _GROUPS]):
                row[column] += step
        whole = [sum(column) for column in zip(*self._cpus.values(), strict=True)]
        rows = [f"cpu  {_joined(whole)}", *(f"{name} {_joined(row)}" for name, row in self._cpus.items())]
        return "\n".join([*rows, *self._stat[:2], f"btime {int(boot)}", *self._stat[2:], ""])

    def _faults(self, levels: Levels, seconds: float) -> str:
        self._vmstat["pgmajfault"] += round(levels.major_faults * seconds)
        self._vmstat["pswpin"] += round(levels.major_faults * seconds / 2)
        self._vmstat["oom_kill"] += levels.oom_kills - self._killed
        self._killed = levels.oom_kills
        return "".join(f"{name} {value}\n" for name, value in self._vmstat.items())

    def _diskstats(self, disks: dict[str, Traffic], seconds: float) -> str:
        for name, traffic in disks.items():
            row = self._disks.setdefault(name, [0] * _COLUMNS_OF_A_DISK)
            for first, rate in ((0, traffic.read), (4, traffic.written)):
                operations = round(_plain(rate) * seconds / _BYTES_OF_AN_OPERATION)
                row[first] += operations
                row[first + 2] += operations * _BYTES_OF_AN_OPERATION // _SECTOR
                row[first + 3] += round(operations * (1 + 4 * traffic.busy))
            row[_BUSY_MILLISECONDS] += round(seconds * 1000 * traffic.busy)
        for name in self._disks.keys() - disks.keys() - self._disk_heads.keys():
            del self._disks[name]
        heads = {name: self._disk_heads.get(name, _NUMBERS_OF_ONE_THAT_CAME) for name in self._disks}
        return "".join(f"{heads[name]}{name} {_joined(row)}\n" for name, row in self._disks.items())

    def _traffic(self, interfaces: dict[str, Traffic], seconds: float) -> str:
        for name, traffic in interfaces.items():
            row = self._network.setdefault(name, [0] * _COLUMNS_OF_AN_INTERFACE)
            for first, rate in ((0, traffic.read), (8, traffic.written)):
                row[first] += round(_plain(rate) * seconds)
                row[first + 1] += round(_plain(rate) * seconds / _BYTES_OF_A_PACKET)
            if name in self._narrow:
                row[:] = [value % 2**32 for value in row]
        for name in self._network.keys() - interfaces.keys() - self._interfaces:
            del self._network[name]
        rows = [f"{name:>6}: {_joined(row)}" for name, row in self._network.items()]
        return "\n".join([*self._network_head, *rows, ""])

    def _pressure(self, levels: Levels, what: str, seconds: float) -> str:
        shares = levels.pressure.get(what, (0.0, 0.0))
        totals = self._stalled[what]
        totals[:] = [total + share / 100 * seconds * 1e6 for total, share in zip(totals, shares, strict=True)]
        return "".join(
            f"{word} avg10={share:.2f} avg60={share:.2f} avg300={share:.2f} total={int(total)}\n"
            for word, share, total in zip(("some", "full"), shares, totals, strict=True)
        )


def _plain(rate: float) -> float:
    """Return a rate with two digits: recordings of others are several times as large."""
    return float(f"{rate:.1e}")


def _numbers(line: str, names: int, factor: int) -> list[int]:
    return [int(word) * factor for word in line.split()[names:]]


def _joined(row: list[int]) -> str:
    return " ".join(map(str, row))
