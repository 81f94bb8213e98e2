"""Cases that no whole machine has."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from hostpulse.publisher.collectors.base import NoDataError
from hostpulse.publisher.collectors.cpu import CpuClockCollector, CpuCollector
from hostpulse.publisher.collectors.disk import DiskDeviceCollector, DiskMountCollector, parse_mounts
from hostpulse.publisher.collectors.memory import MemoryCollector, MemoryDetailsCollector
from hostpulse.publisher.collectors.network import NetworkCollector, NetworkLinkCollector, parse_sockets
from hostpulse.publisher.collectors.patterns import matches
from hostpulse.publisher.collectors.registry import Choice, build
from hostpulse.publisher.collectors.system import SystemCollector
from hostpulse.publisher.inventory import take_inventory

Reader = Callable[[Any], dict[str, Any]]


def stat(*lines: str) -> str:
    return "\n".join((*lines, "intr 1 2 3", "btime 1773000000", ""))


# --- processor


def test_processor_that_is_switched_off_and_on(bare: Any) -> None:
    bare.write("proc/loadavg", "0.5 0.4 0.3 1/200 99\n")
    collector = CpuCollector(bare.machine)

    def read(*lines: str) -> Any:
        bare.write("proc/stat", stat(*lines))
        fields = collector.read()
        bare.clocks.advance(2)
        return fields

    read("cpu  100 0 0 300 0 0 0 0 0 0", "cpu0 50 0 0 150 0 0 0 0 0 0", "cpu1 50 0 0 150 0 0 0 0 0 0")
    off = read("cpu  150 0 0 450 0 0 0 0 0 0", "cpu0 100 0 0 300 0 0 0 0 0 0")
    assert (off.utilization_percent, set(off.core)) == (25.0, {"0"})
    on = read("cpu  200 0 0 550 0 0 0 0 0 0", "cpu0 150 0 0 400 0 0 0 0 0 0", "cpu1 50 0 0 150 0 0 0 0 0 0")
    assert set(on.core) == {"0"}
    after = read("cpu  250 0 0 700 0 0 0 0 0 0", "cpu0 150 0 0 500 0 0 0 0 0 0", "cpu1 100 0 0 200 0 0 0 0 0 0")
    assert {core: one.utilization_percent for core, one in after.core.items()} == {"0": 0.0, "1": 50.0}


def test_guest_time_is_counted_once_and_iowait_may_fall(bare: Any) -> None:
    bare.write("proc/loadavg", "0.5 0.4 0.3 1/200 99\n")
    collector = CpuCollector(bare.machine)
    bare.write("proc/stat", stat("cpu  100 10 20 300 50 1 2 3 40 5"))
    collector.read()
    bare.clocks.advance(2)
    bare.write("proc/stat", stat("cpu  150 20 40 390 49 3 4 27 80 10"))
    fields = collector.read()
    assert fields.user_percent == 30.3  # 60 of 198: guests are in user and nice already
    assert fields.iowait_percent == 0.0
    assert (fields.system_percent, fields.interrupt_percent, fields.steal_percent) == (10.1, 2.0, 12.1)
    assert fields.utilization_percent == 54.5
    assert fields.core == {}


def test_no_shares_over_a_suspension(bare: Any) -> None:
    bare.write("proc/loadavg", "0.5 0.4 0.3 1/200 99\n")
    bare.write("proc/stat", stat("cpu  100 0 0 300 0 0 0 0 0 0"))
    bare.write("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n")
    collector = CpuCollector(bare.machine)
    collector.read()
    bare.clocks.advance(2, suspended=3600)
    bare.write("proc/stat", stat("cpu  150 0 0 450 0 0 0 0 0 0"))
    bare.write("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=2000\n")
    fields = collector.read()
    assert (fields.utilization_percent, fields.core, fields.pressure_some_percent) == (UNSET, UNSET, UNSET)


@pytest.mark.parametrize("content", ["", "some", "some total=x\n", "nonsense=1=\n", "some avg10=0.00 total=500\n"])
def test_pressure_that_cannot_be_read_or_fell_is_absent(bare: Any, content: str) -> None:
    bare.write("proc/loadavg", "0.5 0.4 0.3 1/200 99\n")
    bare.write("proc/stat", stat("cpu  100 0 0 300 0 0 0 0 0 0"))
    bare.write("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n")
    collector = CpuCollector(bare.machine)
    collector.read()
    bare.clocks.advance(2)
    bare.write("proc/pressure/cpu", content)
    assert collector.read().pressure_some_percent is UNSET


def test_clock_without_cpufreq(bare: Any, read_message: Reader) -> None:
    bare.write("proc/cpuinfo", "cpu MHz\t\t: 1.0\nprocessor\t: 0\ncpu MHz\t\t: 2000.5\nprocessor\t: 1\ncpu MHz\t\t: \n")
    assert read_message(CpuClockCollector(bare.machine)) == {
        "frequency_hertz": 2000500000,
        "core": {"0": {"frequency_hertz": 2000500000}},
    }


def test_clock_of_some_processors(bare: Any, read_message: Reader) -> None:
    for number, clock in enumerate(("1000000", "", "<unknown>", "3000000")):
        bare.write(f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_cur_freq", clock)
    bare.write("sys/devices/system/cpu/cpufreq/boost", "1")
    found = read_message(CpuClockCollector(bare.machine))
    assert found["frequency_hertz"] == 2_000_000_000
    assert set(found["core"]) == {"0", "3"}


def test_neither_clock_nor_temperature_is_nothing(bare: Any) -> None:
    bare.write("proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 108.00\n")
    assert not CpuClockCollector(bare.machine).probe()


# --- control groups


def cgroup_1(tree: Any, *, quota: str, limit: str) -> None:
    """Give a machine the files of version 1, as a container of Docker sees them."""
    root = "sys/fs/cgroup"
    tree.write(f"{root}/cpu,cpuacct/cpu.cfs_quota_us", f"{quota}\n")
    tree.write(f"{root}/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    tree.write(f"{root}/cpu,cpuacct/cpu.stat", "nr_periods 10\nnr_throttled 2\nthrottled_time 5000000000\n")
    tree.link(f"{root}/cpu", "cpu,cpuacct")
    tree.write(f"{root}/memory/memory.limit_in_bytes", f"{limit}\n")
    tree.write(f"{root}/memory/memory.usage_in_bytes", "400000000\n")
    tree.write(f"{root}/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 100000000\n")


def proc_of_a_machine(tree: Any) -> None:
    tree.write("proc/loadavg", "0.5 0.4 0.3 1/200 99\n")
    tree.write("proc/stat", stat("cpu  100 0 0 300 0 0 0 0 0 0"))
    tree.write(
        "proc/meminfo", "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 350 kB\nHugePages_Total: 1\n"
    )
    tree.write("proc/vmstat", "nr_free_pages 25\npgmajfault 10\n")


def test_limits_of_cgroup_1(bare: Any, read_message: Reader) -> None:
    proc_of_a_machine(bare)
    cgroup_1(bare, quota="150000", limit="500000000")
    collector = CpuCollector(bare.machine)
    assert collector.read().limit_cores == 1.5
    bare.clocks.advance(2)
    bare.write("sys/fs/cgroup/cpu/cpu.stat", "nr_periods 30\nnr_throttled 4\nthrottled_time 5500000000\n")
    assert collector.read().limit_throttled_percent == 25.0
    found = read_message(MemoryDetailsCollector(bare.machine))
    assert (found["limit_bytes"], found["limit_used_bytes"], found["limit_used_percent"]) == (
        500000000,
        300000000,
        60.0,
    )


def test_no_limits_in_cgroup_1(bare: Any, read_message: Reader) -> None:
    proc_of_a_machine(bare)
    cgroup_1(bare, quota="-1", limit="9223372036854771712")
    assert CpuCollector(bare.machine).read().limit_cores is UNSET
    assert "limit_bytes" not in read_message(MemoryDetailsCollector(bare.machine))


@pytest.mark.parametrize(
    ("cpu", "memory"), [("max 100000", "max"), ("", ""), ("100000 0", "0"), ("x y", "-1"), ("5", "9" * 30)]
)
def test_no_limits_in_cgroup_2(bare: Any, read_message: Reader, cpu: str, memory: str) -> None:
    proc_of_a_machine(bare)
    bare.write("sys/fs/cgroup/cpu.max", cpu)
    bare.write("sys/fs/cgroup/cpu.stat", "throttled_usec x\n")
    bare.write("sys/fs/cgroup/memory.max", memory)
    bare.write("sys/fs/cgroup/memory.current", "1000")
    assert CpuCollector(bare.machine).read().limit_cores is UNSET
    assert "limit_bytes" not in read_message(MemoryDetailsCollector(bare.machine))


def test_throttling_that_cannot_be_read_leaves_the_limit(bare: Any) -> None:
    proc_of_a_machine(bare)
    bare.write("sys/fs/cgroup/cpu.max", "50000 100000")
    collector = CpuCollector(bare.machine)
    for content in (None, "throttled_usec 1000", "throttled_usec x", "throttled_usec 500", "", "throttled_usec 400"):
        if content is not None:
            bare.write("sys/fs/cgroup/cpu.stat", content)
        fields = collector.read()
        bare.clocks.advance(2)
        assert (fields.limit_cores, fields.limit_throttled_percent) == (0.5, UNSET)


# --- memory


def test_memory_of_an_old_kernel_without_swap(bare: Any, read_message: Reader) -> None:
    proc_of_a_machine(bare)
    assert read_message(MemoryCollector(bare.machine)) == {
        "used_bytes": 500 * 1024,
        "available_bytes": 500 * 1024,
        "used_percent": 50.0,
    }
    details = read_message(MemoryDetailsCollector(bare.machine))
    assert details["cached_bytes"] == 350 * 1024
    assert "swap_total_bytes" not in details
    assert "oom_kills" not in details


def arcstats(**values: int) -> str:
    rows = "".join(f"{name:<32}4    {value}\n" for name, value in values.items())
    return f"13 1 0x01 147 39984 5283647 93784270000000\nname                            type data\n{rows}"


def test_what_zfs_would_give_back_is_available(bare: Any, read_message: Reader) -> None:
    proc_of_a_machine(bare)
    kib = 1024
    bare.write("proc/spl/kstat/zfs/arcstats", arcstats(hits=9, c_min=50 * kib, c_max=900 * kib, size=250 * kib))
    found = read_message(MemoryCollector(bare.machine))
    assert (found["available_bytes"], found["used_percent"]) == (700 * kib, 30.0)
    assert read_message(MemoryDetailsCollector(bare.machine))["cached_bytes"] == 550 * kib


@pytest.mark.parametrize("values", [{"c_min": 90000, "size": 80000}, {"c_min": 90000}, {}])
def test_zfs_that_has_nothing_to_give_back_changes_nothing(
    bare: Any, read_message: Reader, values: dict[str, int]
) -> None:
    proc_of_a_machine(bare)
    bare.write("proc/spl/kstat/zfs/arcstats", arcstats(**values))
    assert read_message(MemoryCollector(bare.machine))["available_bytes"] == 500 * 1024


def test_swap_is_counted_in_the_machines_pages(tree_of: Callable[[str], Any]) -> None:
    tree = tree_of("vm")
    assert tree.machine.page_bytes == 4096
    collector = MemoryCollector(tree.machine)
    collector.read()
    before = dict(line.split() for line in tree.read("proc/vmstat").splitlines())
    tree.advance()
    after = dict(line.split() for line in tree.read("proc/vmstat").splitlines())
    assert collector.read().swap_out_bytes_per_second == (int(after["pswpout"]) - int(before["pswpout"])) * 2048


# --- disks


def diskstats(**devices: str) -> str:
    return "".join(f"   8       0 {name} {columns}\n" for name, columns in devices.items())


def block(tree: Any, *names: str, virtual: tuple[str, ...] = ()) -> None:
    for name in names:
        (tree.root / f"sys/block/{name}/device").mkdir(parents=True)
    for name in virtual:
        (tree.root / f"sys/block/{name}").mkdir(parents=True)


def test_columns_that_wrapped_give_no_latency(bare: Any) -> None:
    block(bare, "sda")
    collector = DiskDeviceCollector(bare.machine)
    bare.write("proc/diskstats", diskstats(sda="10 0 80 4294967290 10 0 80 4294967290 0 4294967200 0"))
    collector.read()
    bare.clocks.advance(2)
    bare.write("proc/diskstats", diskstats(sda="20 0 160 14 30 0 240 54 0 4 0"))
    found = collector.read().device["sda"]  # type: ignore[index]
    assert (found.read_latency_seconds, found.write_latency_seconds, found.busy_percent) == (UNSET, UNSET, UNSET)
    assert (found.read_bytes_per_second, found.writes_per_second) == (20480, 10.0)


def test_device_that_was_plugged_in_again_has_no_rates(bare: Any) -> None:
    block(bare, "sda", "sdb")
    collector = DiskDeviceCollector(bare.machine)
    bare.write("proc/diskstats", diskstats(sda="100 0 800 50 0 0 0 0 0 40 0", sdb="1 0 8 1 1 0 8 1 0 1 0"))
    collector.read()
    bare.clocks.advance(2)
    bare.write(
        "proc/diskstats",
        diskstats(sda="10 0 80 5 0 0 0 0 0 4 0", sdb="3 0 24 3 1 0 8 1 0 3 0", sdc="1 0 1 1 1 0 1 1 0 1 0"),
    )
    found = collector.read()
    sda = found.device["sda"]  # type: ignore[index]
    assert (sda.read_bytes_per_second, sda.reads_per_second, sda.busy_percent) == (UNSET, UNSET, UNSET)
    assert (found.read_bytes_per_second, set(found.device)) == (4096, {"sda", "sdb"})  # type: ignore[arg-type]


def test_which_devices_are_told_and_counted(bare: Any) -> None:
    block(bare, "nvme0n1", "nvme0c0n1", "cciss!c0d0", virtual=("md0", "nbd0", "loop0"))
    bare.write("sys/block/nvme0c0n1/hidden", "1\n")  # one path to nvme0n1
    bare.write("sys/block/nvme0n1/hidden", "0\n")
    names = ("nvme0n1", "nvme0n1p1", "nvme0c0n1", "cciss/c0d0", "md0", "loop0")
    collector = DiskDeviceCollector(bare.machine, ignore=("loop*",))
    for sectors in (100, 300):
        rows = dict.fromkeys(names, f"5 0 {sectors} 1 5 0 {sectors} 1 0 1 0") | {"nbd0": "0 0 0 0 0 0 0 0 0 0 0"}
        bare.write("proc/diskstats", diskstats(**rows))
        found = collector.read()
        bare.clocks.advance(2)
    assert set(found.device) == {"nvme0n1", "cciss/c0d0", "md0"}  # type: ignore[arg-type]
    assert found.read_bytes_per_second == 2 * 100 * 512
    inventory = take_inventory(bare.machine, host="h", session=0, intervals={}, ignore_devices=("loop*",))
    assert set(inventory.drives) == {"nvme0n1", "cciss!c0d0", "md0", "nbd0"}


def test_no_total_where_no_physical_device_is_seen(bare: Any) -> None:
    block(bare, virtual=("dm-0",))
    collector = DiskDeviceCollector(bare.machine)
    for reads in ("5 0 100", "6 0 200"):
        bare.write("proc/diskstats", diskstats(**{"dm-0": f"{reads} 1 5 0 100 1 0 1 0"}))
        found = collector.read()
        bare.clocks.advance(2)
    assert set(found.device) == {"dm-0"}  # type: ignore[arg-type]
    assert (found.read_bytes_per_second, found.write_bytes_per_second) == (UNSET, UNSET)


def test_machine_without_a_table_of_devices(bare: Any) -> None:
    assert not DiskDeviceCollector(bare.machine).probe()


def mounted(tree: Any, *rows: str) -> DiskMountCollector:
    tree.write("proc/self/mounts", "".join(f"{row} 0 0\n" for row in rows).encode("utf-8", "surrogateescape"))
    size = {"f_frsize": 1, "f_blocks": 100, "f_bfree": 50, "f_bavail": 50, "f_files": 0, "f_ffree": 0}
    points = [
        mount.point
        for mount in parse_mounts("\n".join(f"{row} 0 0" for row in rows).encode("utf-8", "surrogateescape"))
    ]
    tree.script = {"statvfs": dict.fromkeys(points, size), "stalled": []}
    tree.write("proc/mounts", "")
    return DiskMountCollector(tree.machine, ignore_file_systems=("tmpfs", "overlay"), ignore_mounts=("/snap/*",))


def test_bind_mounts_and_subvolumes(bare: Any, read_message: Reader) -> None:
    collector = mounted(
        bare,
        "overlay / overlay rw",
        "overlay /var/lib/docker/overlay2/x/merged overlay rw",
        "/dev/sda1 /srv/jail/data ext4 rw",
        "/dev/sda1 /data ext4 rw",
        "/dev/sda1 /srv/data ext4 rw",
        "/dev/sdb1 /home btrfs rw,subvol=/home",
        "/dev/sdb1 /var btrfs rw,subvol=/var",
        "/dev/loop3 /snap/core/1 squashfs ro",
        "tmpfs /run tmpfs rw",
        "tank/a /tank/a zfs rw",
    )
    assert list(read_message(collector)["mount"]) == ["/", "/data", "/home", "/tank/a", "/var"]


def test_file_that_a_container_mounted_hides_no_directory(bare: Any, read_message: Reader) -> None:
    bare.write("root/etc/hosts", "127.0.0.1 localhost")
    collector = mounted(bare, "/dev/sda1 /etc/hosts ext4 rw", "/dev/sda1 /var/lib/data ext4 rw")
    assert list(read_message(collector)["mount"]) == ["/var/lib/data"]


def test_names_that_are_no_text_or_too_long(bare: Any, read_message: Reader) -> None:
    collector = mounted(
        bare, "/dev/sda1 /media/caf\udce9 ext4 rw", f"user@host:/{'x' * 2000} /{'y' * 600} fuse.sshfs rw"
    )
    found = read_message(collector)["mount"]
    assert list(found) == ["/media/caf\ufffd", "/" + "y" * 511]
    assert len(found["/" + "y" * 511]["device"]) == 1024


def test_mount_table_with_names_of_every_kind() -> None:
    table = b"/dev/a /a\\040b\\011c\\134040 ext4 rw 0 0\n\nbroken\n/dev/b /line\xe2\x80\xa8break ext4 rw 0 0\n"
    assert [mount.point for mount in parse_mounts(table)] == ["/a b\tc\\040", "/line\u2028break"]


def test_read_only_file_system(bare: Any, read_message: Reader) -> None:
    collector = mounted(bare, "/dev/sda1 / ext4 ro", "/dev/sdb1 /srv ext4 rw")
    bare.write("proc/mounts", "/dev/sda1 / ext4 ro 0 0\n")
    assert {point: one["state"] for point, one in read_message(collector)["mount"].items()} == {
        "/": "read_only",
        "/srv": "ok",
    }


def test_file_system_that_answers_again(bare: Any) -> None:
    mounted(bare, "a:/x /mnt nfs4 rw", "/dev/sda1 / ext4 rw")
    bare.script["stalled"] = ["/mnt"]
    collector = DiskMountCollector(bare.machine, answer_seconds=0.2)

    def states() -> dict[str, str]:
        return {point: one.state for point, one in collector.read().mount.items()}  # type: ignore[union-attr, misc]

    assert states()["/mnt"] == "stalled"
    threads = [one for one in threading.enumerate() if one.name == "statvfs /mnt"]
    assert states()["/mnt"] == "stalled"
    assert [one for one in threading.enumerate() if one.name == "statvfs /mnt"] == threads  # it is asked once
    bare.script["stalled"] = []
    bare.released.set()
    threads[0].join()
    assert states() == {"/": "ok", "/mnt": "ok"}


def test_no_file_system_is_no_data(bare: Any) -> None:
    with pytest.raises(NoDataError):
        mounted(bare, "tmpfs /run tmpfs rw").read()
    (bare.root / "proc/self/mounts").unlink()
    with pytest.raises(NoDataError):
        DiskMountCollector(bare.machine).read()


# --- network


def interfaces(**rows: int) -> str:
    head = "Inter-|   Receive                |  Transmit\n face |bytes    packets errs\n"
    return head + "".join(f"{name:>6}:{count:8d} 1 0 0 0 0 0 0 {count} 1 0 0 0 0 0 0\n" for name, count in rows.items())


def test_traffic_without_hardware_is_that_of_all(bare: Any) -> None:
    collector = NetworkCollector(bare.machine, ignore=("lo",))
    for count in (1000, 3000):
        bare.write("proc/net/dev", interfaces(lo=count, eth0=count, wg0=count))
        found = collector.read()
        bare.clocks.advance(2)
    assert (found.received_bytes_per_second, found.received_bytes) == (2000, 6000)


def test_interface_that_comes_goes_and_begins_again(bare: Any) -> None:
    (bare.root / "sys/class/net/eth0/device").mkdir(parents=True)
    (bare.root / "sys/class/net/usb0/device").mkdir(parents=True)
    collector = NetworkCollector(bare.machine)

    def read(**rows: int) -> Any:
        bare.write("proc/net/dev", interfaces(**rows))
        found = collector.read()
        bare.clocks.advance(2)
        return found

    assert read(eth0=1000).received_bytes == 1000
    assert set(read(eth0=2000, usb0=7).interface) == {"eth0"}
    both = read(eth0=3000, usb0=207, br0=0)
    assert set(both.interface) == {"eth0", "usb0"}
    assert both.received_bytes_per_second == 600
    again = read(eth0=500, usb0=407)
    assert again.interface["eth0"].received_bytes_per_second is UNSET
    assert again.received_bytes_per_second == 100
    assert set(read(eth0=600).interface) == {"eth0"}


@pytest.mark.parametrize(
    ("speed", "told"), [("-1", None), ("", None), ("0", None), ("4294967295", None), ("1000", 10**9)]
)
def test_speed_of_a_link(bare: Any, read_message: Reader, speed: str, told: int | None) -> None:
    bare.write("proc/net/dev", interfaces(eth0=5))
    bare.write("sys/class/net/eth0/speed", speed)
    bare.write("sys/class/net/eth0/operstate", "up\n")
    found = read_message(NetworkLinkCollector(bare.machine))["interface"]["eth0"]
    assert found.get("speed_bits_per_second") == told
    assert found["link"] == "up"


def test_sockets() -> None:
    four = b"sockets: used 10\nTCP: inuse 3 orphan 0 tw 4\nUDP: inuse 2 mem\nbroken\nFRAG: inuse x memory 0\n"
    counts = parse_sockets(four, b"TCP6: inuse 5\n")
    assert (counts["sockets used"], counts["TCP inuse"], counts["TCP tw"], counts["UDP inuse"]) == (10, 8, 4, 2)
    assert "FRAG inuse" not in counts


def test_interfaces_of_the_inventory_are_no_files(bare: Any) -> None:
    (bare.root / "sys/class/net/eth0").mkdir(parents=True)
    bare.write("sys/class/net/bonding_masters", "bond0\n")
    assert set(take_inventory(bare.machine, host="h", session=0, intervals={}).interfaces) == {"eth0"}


# --- system and inventory


def test_users_without_logind_are_those_of_utmp(bare: Any, read_message: Reader) -> None:
    proc_of_a_machine(bare)
    bare.write("proc/uptime", "10.5 20.1\n")
    records = [kind.to_bytes(2, "little") + bytes(382) for kind in (2, 7, 8, 7)]
    bare.write("root/run/utmp", b"".join(records))
    assert read_message(SystemCollector(bare.machine))["users"] == 2
    bare.write("root/run/utmp", b"broken")
    assert "users" not in read_message(SystemCollector(bare.machine))


@pytest.mark.parametrize(
    ("session", "counted"),
    [
        ("CLASS=user\nSTATE=active\n", 1),
        ("STATE=online\nCLASS=user-early\n", 1),
        ("CLASS=user\nSTATE=closing\n", 0),
        ("CLASS=greeter\nSTATE=online\n", 0),
        ("CLASS=manager\nSTATE=active\n", 0),
        ("CLASS=background\nSTATE=active\n", 0),
        ("", 0),
    ],
)
def test_which_sessions_are_people(bare: Any, read_message: Reader, session: str, counted: int) -> None:
    proc_of_a_machine(bare)
    bare.write("proc/uptime", "10.5 20.1\n")
    bare.write("root/run/systemd/sessions/1", session)
    assert read_message(SystemCollector(bare.machine))["users"] == counted


def test_processor_of_the_inventory(bare: Any) -> None:
    cpus = "sys/devices/system/cpu"
    for number in range(6):  # two clusters of two cores whose numbers begin again, and a core of two threads
        bare.write(f"{cpus}/cpu{number}/topology/physical_package_id", "0")
        bare.write(f"{cpus}/cpu{number}/topology/core_id", str(number % 2))
        bare.write(f"{cpus}/cpu{number}/topology/thread_siblings_list", "4-5" if number > 3 else str(number))
        bare.write(f"{cpus}/cpu{number}/cpufreq/cpuinfo_max_freq", str(1_800_000 + number))
    (bare.root / cpus / "cpu6").mkdir()
    bare.write(f"{cpus}/cpu6/online", "0")
    bare.write("proc/cpuinfo", "processor : 0\nCPU implementer\t: 0x41\nCPU part\t: 0xD0B\nHardware : Foo\n")
    processor = take_inventory(bare.machine, host="h", session=0, intervals={}).processor
    assert (processor.packages, processor.cores, processor.threads) == (1, 5, 6)
    assert (processor.maximum_hertz, processor.model) == (1_800_005_000, "Cortex-A76")


# --- all of them


def test_disabled_subsystems_have_no_collector(bare: Any) -> None:
    left = build(bare.machine, Choice(disable=("disk", "sensors", "battery")))
    assert {one.subsystem for one in left} == {"cpu", "memory", "network", "smart", "system"}
    names = [one.name for one in build(bare.machine, Choice())]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "fits"),
    [("veth0", True), ("lo", True), ("lo1", False), ("Veth0", False), ("eth0", False), ("xveth0", False)],
)
def test_patterns(name: str, fits: bool) -> None:  # noqa: FBT001
    assert matches(name, ("lo", "veth*")) is fits
    assert not matches(name, ())


@pytest.fixture(params=["laptop", "desktop", "container"])
def tree(request: pytest.FixtureRequest, tree_of: Callable[[str], Any]) -> Any:
    return tree_of(request.param)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_broken_file_of_sysfs_costs_no_more_than_its_value(
    data: st.DataObject, tree: Any, read_message: Reader
) -> None:
    """Whatever a file says, every collector goes on, and what it says is a message."""
    files = sorted(path for path in (tree.root / "sys").rglob("*") if path.is_file() and not path.is_symlink())
    broken = data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=len(files) // 4, unique=True))
    content = data.draw(
        st.sampled_from([b"", b"\n", b"nan\n", b"-1", b"\xff\xfe\0", b"9" * 25, b"x" * 3000, b"1 2 3\n4\n", b"=\n"])
    )
    before = {path: path.read_bytes() for path in broken}
    try:
        for path in broken:
            path.write_bytes(content)
        for collector in build(tree.machine, Choice()):
            if collector.name == "disk_mounts":
                continue
            try:
                if collector.probe():
                    read_message(collector)
            except NoDataError:
                known = {"battery", "sensors", "nvme_temperature", "cpu_clock", "cpu_throttle", "smart"}
                assert collector.name in known
        take_inventory(tree.machine, host="h", session=0, intervals={})
    finally:
        for path, old in before.items():
            path.write_bytes(old)
