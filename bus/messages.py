"""What each subsystem says: one struct per subsystem, one per map in it.

This is the single table of fields. A name ends in its unit, a marker gives kind and meaning; `TABLES` lists all that
follows from it. A message carries what was sampled at its moment, so a field that is sampled less often (a file
system's size, a link's speed) stands only in the messages that bring it.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import UNSET

from .fields import (
    Count,
    Fields,
    Flag,
    Float,
    Map,
    SubsystemFields,
    Table,
    Text,
    condition,
    counter,
    gauge,
    happening,
    rate,
    table,
    tables_of,
)

__all__ = [
    "EVENT",
    "FROM_CONSUMERS",
    "SUBSYSTEMS",
    "TABLES",
    "Battery",
    "BatteryPack",
    "Consumer",
    "ConsumerMember",
    "Cpu",
    "CpuCore",
    "Disk",
    "DiskDevice",
    "DiskMount",
    "Event",
    "Gpu",
    "GpuDevice",
    "Memory",
    "Network",
    "NetworkInterface",
    "Publisher",
    "PublisherCollector",
    "Sensors",
    "SensorsFan",
    "SensorsTemperature",
    "Smart",
    "SmartDrive",
    "System",
]


class CpuCore(Fields):
    """One logical CPU."""

    utilization_percent: Annotated[Float, rate("Share of this CPU's time neither idle nor waiting for IO.")] = UNSET
    frequency_hertz: Annotated[Count, gauge("Clock of this CPU.")] = UNSET


class Cpu(SubsystemFields):
    """Processor time, clock, temperature and load."""

    utilization_percent: Annotated[Float, rate("Share of CPU time neither idle nor waiting for IO.")] = UNSET
    user_percent: Annotated[Float, rate("Share of CPU time in programs, guests and niced ones included.")] = UNSET
    system_percent: Annotated[Float, rate("Share of CPU time in the kernel, without interrupts.")] = UNSET
    interrupt_percent: Annotated[Float, rate("Share of CPU time in hardware and software interrupts.")] = UNSET
    iowait_percent: Annotated[Float, rate("Share of CPU time idle while IO was outstanding.")] = UNSET
    steal_percent: Annotated[Float, rate("Share of CPU time that the hypervisor gave to others.")] = UNSET
    frequency_hertz: Annotated[Count, gauge("Mean clock of all CPUs.")] = UNSET
    temperature_celsius: Annotated[Float, gauge("Temperature of the hottest CPU package.")] = UNSET
    load_average_1m: Annotated[Float, gauge("Runnable and uninterruptible tasks, mean of 1 minute.")] = UNSET
    load_average_5m: Annotated[Float, gauge("Runnable and uninterruptible tasks, mean of 5 minutes.")] = UNSET
    load_average_15m: Annotated[Float, gauge("Runnable and uninterruptible tasks, mean of 15 minutes.")] = UNSET
    pressure_some_percent: Annotated[Float, rate("Share of time in which a task waited for a CPU.")] = UNSET
    limit_cores: Annotated[Float, gauge("CPUs that the control group of this container may use.")] = UNSET
    limit_throttled_percent: Annotated[Float, rate("Share of time in which that limit stopped the container.")] = UNSET
    throttled_percent: Annotated[
        Float,
        rate(
            "Share of time in which heat slowed a package or core down, of the one that it slowed most; on a Raspberry "
            "Pi the share of looks at which heat or want of power slowed the processor down."
        ),
    ] = UNSET
    throttle_reasons: Annotated[
        Text,
        condition(
            "What slows the processor of a Raspberry Pi down: thermal, under_voltage, frequency_cap, several with "
            "commas between, or none."
        ),
    ] = UNSET
    under_voltage: Annotated[Flag, condition("Whether the supply of a Raspberry Pi is too weak.")] = UNSET
    core: Annotated[Map[CpuCore], table("Each logical CPU.")] = UNSET


class Memory(SubsystemFields):
    """Main memory and swap."""

    total_bytes: Annotated[Count, gauge("Memory that the kernel manages.")] = UNSET
    used_bytes: Annotated[Count, gauge("Memory that is not available: total less available.")] = UNSET
    available_bytes: Annotated[Count, gauge("Memory that programs can get without swapping.")] = UNSET
    free_bytes: Annotated[Count, gauge("Memory that nothing uses.")] = UNSET
    cached_bytes: Annotated[Count, gauge("Page cache, reclaimable slabs, and what ZFS would give back.")] = UNSET
    buffers_bytes: Annotated[Count, gauge("Buffers of block devices.")] = UNSET
    used_percent: Annotated[Float, gauge("Used memory in percent of the total.")] = UNSET
    swap_total_bytes: Annotated[Count, gauge("Size of all swap.")] = UNSET
    swap_used_bytes: Annotated[Count, gauge("Swap in use.")] = UNSET
    swap_used_percent: Annotated[Float, gauge("Swap in use in percent of all swap.")] = UNSET
    swap_in_bytes_per_second: Annotated[Count, rate("Read back from swap.")] = UNSET
    swap_out_bytes_per_second: Annotated[Count, rate("Written to swap.")] = UNSET
    major_faults_per_second: Annotated[Float, rate("Page faults that had to read from a disk.")] = UNSET
    pressure_some_percent: Annotated[Float, rate("Share of time in which a task waited for memory.")] = UNSET
    pressure_full_percent: Annotated[Float, rate("Share of time in which every task waited for memory.")] = UNSET
    oom_kills: Annotated[Count, counter("Processes killed for want of memory since boot.")] = UNSET
    limit_bytes: Annotated[Count, gauge("Memory that the control group of this container may use.")] = UNSET
    limit_used_bytes: Annotated[Count, gauge("Memory that this container uses, without inactive file cache.")] = UNSET
    limit_used_percent: Annotated[Float, gauge("That memory in percent of its limit.")] = UNSET


class DiskMount(Fields):
    """One mounted file system."""

    total_bytes: Annotated[Count, gauge("Size of the file system.")] = UNSET
    used_bytes: Annotated[Count, gauge("Space in use.")] = UNSET
    available_bytes: Annotated[Count, gauge("Space that ordinary users can still fill.")] = UNSET
    used_percent: Annotated[Float, gauge("Space in use in percent of used and available, as df prints it.")] = UNSET
    inodes_total: Annotated[Count, gauge("Files that the file system can hold.")] = UNSET
    inodes_used: Annotated[Count, gauge("Files that it holds.")] = UNSET
    inodes_used_percent: Annotated[Float, gauge("Files that it holds in percent of what it can hold.")] = UNSET
    device: Annotated[Text, condition("What is mounted.")] = UNSET
    file_system: Annotated[Text, condition("Type of the file system.")] = UNSET
    state: Annotated[Text, condition("ok, read_only, or stalled: it does not answer.")] = UNSET


class DiskDevice(Fields):
    """One block device."""

    read_bytes_per_second: Annotated[Count, rate("Read from the device.")] = UNSET
    write_bytes_per_second: Annotated[Count, rate("Written to the device.")] = UNSET
    reads_per_second: Annotated[Float, rate("Read operations completed.")] = UNSET
    writes_per_second: Annotated[Float, rate("Write operations completed.")] = UNSET
    read_latency_seconds: Annotated[Float, rate("Mean time of a read, waiting included.")] = UNSET
    write_latency_seconds: Annotated[Float, rate("Mean time of a write, waiting included.")] = UNSET
    busy_percent: Annotated[Float, rate("Share of time in which the device had work.")] = UNSET


class Disk(SubsystemFields):
    """File systems and block devices."""

    read_bytes_per_second: Annotated[Count, rate("Read from all physical devices.")] = UNSET
    write_bytes_per_second: Annotated[Count, rate("Written to all physical devices.")] = UNSET
    pressure_some_percent: Annotated[Float, rate("Share of time in which a task waited for IO.")] = UNSET
    pressure_full_percent: Annotated[Float, rate("Share of time in which every task waited for IO.")] = UNSET
    mount: Annotated[Map[DiskMount], table("Each file system, by mount point.")] = UNSET
    device: Annotated[Map[DiskDevice], table("Each block device, by kernel name.")] = UNSET


class NetworkInterface(Fields):
    """One network interface."""

    received_bytes_per_second: Annotated[Count, rate("Received.")] = UNSET
    sent_bytes_per_second: Annotated[Count, rate("Sent.")] = UNSET
    received_packets_per_second: Annotated[Float, rate("Packets received.")] = UNSET
    sent_packets_per_second: Annotated[Float, rate("Packets sent.")] = UNSET
    received_errors_per_second: Annotated[Float, rate("Packets received with an error.")] = UNSET
    sent_errors_per_second: Annotated[Float, rate("Packets that could not be sent.")] = UNSET
    received_drops_per_second: Annotated[Float, rate("Packets dropped on the way in.")] = UNSET
    sent_drops_per_second: Annotated[Float, rate("Packets dropped on the way out.")] = UNSET
    received_bytes: Annotated[Count, counter("Received since the interface came up.")] = UNSET
    sent_bytes: Annotated[Count, counter("Sent since the interface came up.")] = UNSET
    link: Annotated[Text, condition("Operational state: up, down, dormant, lowerlayerdown, unknown.")] = UNSET
    speed_bits_per_second: Annotated[Count, gauge("Negotiated speed.")] = UNSET


class Network(SubsystemFields):
    """Network interfaces and sockets."""

    received_bytes_per_second: Annotated[Count, rate("Received on all physical interfaces.")] = UNSET
    sent_bytes_per_second: Annotated[Count, rate("Sent on all physical interfaces.")] = UNSET
    received_bytes: Annotated[Count, counter("Received on all physical interfaces since they came up.")] = UNSET
    sent_bytes: Annotated[Count, counter("Sent on all physical interfaces since they came up.")] = UNSET
    sockets_used: Annotated[Count, gauge("Sockets of every kind.")] = UNSET
    tcp_connections: Annotated[Count, gauge("TCP sockets in use, listening ones included.")] = UNSET
    tcp_time_wait: Annotated[Count, gauge("Closed TCP connections that wait for stragglers.")] = UNSET
    udp_sockets: Annotated[Count, gauge("UDP sockets in use.")] = UNSET
    interface: Annotated[Map[NetworkInterface], table("Each interface; the traffic of those that carried any.")] = UNSET


class GpuDevice(Fields):
    """One GPU."""

    name: Annotated[Text, condition("Model, as the driver calls it.")] = UNSET
    vendor: Annotated[Text, condition("Whose driver it is: nvidia, amd or intel.")] = UNSET
    state: Annotated[Text, condition("ok, asleep (suspended to save power), or lost: it does not answer.")] = UNSET
    address: Annotated[Text, condition("Where it is on the PCI bus: domain:bus:device.function.")] = UNSET
    utilization_percent: Annotated[Float, gauge("Share of time in which it computed or drew.")] = UNSET
    memory_utilization_percent: Annotated[Float, gauge("Share of time in which its memory was busy.")] = UNSET
    encoder_percent: Annotated[Float, gauge("Share of time in which it encoded video.")] = UNSET
    decoder_percent: Annotated[Float, gauge("Share of time in which it decoded video.")] = UNSET
    memory_total_bytes: Annotated[Count, gauge("Its memory; the machine's own where they share it.")] = UNSET
    memory_used_bytes: Annotated[Count, gauge("Memory in use, without what the driver reserves.")] = UNSET
    memory_used_percent: Annotated[Float, gauge("Memory in use in percent of its memory.")] = UNSET
    temperature_celsius: Annotated[Float, gauge("Temperature of the chip.")] = UNSET
    memory_temperature_celsius: Annotated[Float, gauge("Temperature of its memory.")] = UNSET
    slowdown_celsius: Annotated[Float, gauge("Chip temperature at which it slows itself down.")] = UNSET
    power_watts: Annotated[Float, gauge("Power that it draws.")] = UNSET
    power_limit_watts: Annotated[Float, gauge("Power that it may draw.")] = UNSET
    energy_joules: Annotated[Count, counter("Energy that it took since its driver was loaded.")] = UNSET
    frequency_hertz: Annotated[Count, gauge("Clock of the chip.")] = UNSET
    memory_frequency_hertz: Annotated[Count, gauge("Clock of its memory.")] = UNSET
    fan_percent: Annotated[Float, gauge("Speed that its fans are told to have; 0 is a fan that stands still.")] = UNSET
    fan_speed_rpm: Annotated[Count, gauge("Speed of its fastest fan.")] = UNSET
    throttled_percent: Annotated[Float, rate("Share of time in which heat or want of power slowed it down.")] = UNSET
    throttle_reasons: Annotated[Text, condition("What slows it down, words with commas between.")] = UNSET
    pcie_received_bytes_per_second: Annotated[Count, rate("Received over PCIe.")] = UNSET
    pcie_sent_bytes_per_second: Annotated[Count, rate("Sent over PCIe.")] = UNSET


class Gpu(SubsystemFields):
    """Graphics processors and accelerators."""

    power_watts: Annotated[Float, gauge("Power that all GPUs draw that tell it.")] = UNSET
    device: Annotated[Map[GpuDevice], table("Each GPU, by UUID or else PCI address.", key="gpu")] = UNSET


class SensorsTemperature(Fields):
    """One temperature sensor."""

    temperature_celsius: Annotated[Float, gauge("Temperature.")] = UNSET
    high_celsius: Annotated[Float, gauge("The sensor's own limit for too warm.")] = UNSET
    critical_celsius: Annotated[Float, gauge("The sensor's own limit for dangerously hot.")] = UNSET


class SensorsFan(Fields):
    """One fan."""

    speed_rpm: Annotated[Count, gauge("Speed; 0 is a fan that stands still.")] = UNSET
    minimum_rpm: Annotated[Count, gauge("Below this speed the board gives an alarm.")] = UNSET


class Sensors(SubsystemFields):
    """Temperatures and fans."""

    temperature: Annotated[Map[SensorsTemperature], table("Each temperature sensor.", key="sensor")] = UNSET
    fan: Annotated[Map[SensorsFan], table("Each fan.")] = UNSET


class BatteryPack(Fields):
    """One battery."""

    charge_percent: Annotated[Float, gauge("Charge.")] = UNSET
    state: Annotated[Text, condition("charging, discharging, full, not_charging or unknown.")] = UNSET
    power_watts: Annotated[Float, gauge("Power into or out of the battery.")] = UNSET
    remaining_seconds: Annotated[Count, gauge("Time until empty, or until full while charging.")] = UNSET
    energy_joules: Annotated[Count, gauge("Energy it holds.")] = UNSET
    health_percent: Annotated[Float, gauge("Capacity in percent of what it had when new.")] = UNSET
    voltage_volts: Annotated[Float, gauge("Voltage.")] = UNSET
    cycles: Annotated[Count, counter("Charge cycles.")] = UNSET


class Battery(SubsystemFields):
    """Batteries and mains."""

    charge_percent: Annotated[Float, gauge("Charge of all batteries together.")] = UNSET
    mains: Annotated[Flag, condition("Whether the machine runs from the mains.")] = UNSET
    remaining_seconds: Annotated[Count, gauge("Time until all batteries are empty, or full while charging.")] = UNSET
    pack: Annotated[Map[BatteryPack], table("Each battery.")] = UNSET


class SmartDrive(Fields):
    """One drive, as it describes itself."""

    device: Annotated[Text, condition("Name that the kernel has for it now: sda, nvme0.")] = UNSET
    model: Annotated[Text, condition("Its model.")] = UNSET
    state: Annotated[
        Text,
        condition(
            "ok; asleep: it was not woken, and its values are those of before; unsupported, disabled: it has no SMART, "
            "or has it switched off; stalled: it does not answer; unreadable: it answers with errors; no_permission."
        ),
    ] = UNSET
    healthy: Annotated[Flag, condition("Whether it thinks itself well; that it is too warm does not count.")] = UNSET
    critical_warning: Annotated[
        Text,
        condition(
            "What an NVMe drive warns of: spare, temperature, reliability, read_only, backup, memory_region, several "
            "with commas between, or none."
        ),
    ] = UNSET
    temperature_celsius: Annotated[Float, gauge("Its temperature.")] = UNSET
    power_on_seconds: Annotated[Count, counter("Time for which it has been switched on in its life.")] = UNSET
    power_cycles: Annotated[Count, counter("Times that it was switched on.")] = UNSET
    unsafe_shutdowns: Annotated[Count, counter("Times that it lost power without being told before.")] = UNSET
    wear_percent: Annotated[Float, gauge("What is used up of the life that it is made for; may exceed 100.")] = UNSET
    available_spare_percent: Annotated[Float, gauge("Spare space that is left.")] = UNSET
    available_spare_threshold_percent: Annotated[Float, gauge("Spare space below which it warns.")] = UNSET
    media_errors: Annotated[Count, counter("Errors of the medium that it could not correct.")] = UNSET
    reallocated_sectors: Annotated[Count, counter("Sectors that it has replaced with spare ones.")] = UNSET
    pending_sectors: Annotated[Count, gauge("Sectors that it could not read and will replace when written.")] = UNSET
    uncorrectable_sectors: Annotated[Count, gauge("Sectors that its own scan could not read.")] = UNSET
    crc_errors: Annotated[Count, counter("Errors between drive and controller: often the cable.")] = UNSET
    read_bytes: Annotated[Count, counter("Read from it in its life.")] = UNSET
    written_bytes: Annotated[Count, counter("Written to it in its life.")] = UNSET


class Smart(SubsystemFields):
    """What drives say of their own health (SMART)."""

    drives: Annotated[Count, gauge("Drives that can be asked.")] = UNSET
    failing_drives: Annotated[Count, gauge("Those of them that do not think themselves well.")] = UNSET
    drive: Annotated[Map[SmartDrive], table("Each drive, by its serial number.")] = UNSET


class System(SubsystemFields):
    """The operating system as a whole."""

    uptime_seconds: Annotated[Float, gauge("Time since boot, suspended time included.")] = UNSET
    boot_time_seconds: Annotated[Float, gauge("Moment of boot, in seconds since 1970.")] = UNSET
    processes: Annotated[Count, gauge("Processes.")] = UNSET
    threads: Annotated[Count, gauge("Threads of all processes.")] = UNSET
    running: Annotated[Count, gauge("Threads that run or could run now.")] = UNSET
    users: Annotated[Count, gauge("Login sessions of people.")] = UNSET
    hostname: Annotated[Text, condition("Name that the kernel knows the machine by.")] = UNSET
    platform: Annotated[Text, condition("Operating system and its version.")] = UNSET
    kernel: Annotated[Text, condition("Release of the kernel.")] = UNSET


class PublisherCollector(Fields):
    """One collector of the publisher."""

    duration_seconds: Annotated[Float, gauge("Time that its last reading took.")] = UNSET
    state: Annotated[Text, condition("ok, nothing (the machine has none), stalled or failed.")] = UNSET


class Publisher(SubsystemFields):
    """The publisher's own health."""

    cpu_percent: Annotated[Float, rate("CPU time of the publisher, in percent of one CPU.")] = UNSET
    memory_bytes: Annotated[Count, gauge("Resident memory of the publisher.")] = UNSET
    outbox_messages: Annotated[Count, gauge("Messages that the broker has not acknowledged yet.")] = UNSET
    outbox_bytes: Annotated[Count, gauge("Size of those messages, of those on disk about.")] = UNSET
    outbox_age_seconds: Annotated[Float, gauge("Age of the oldest of them.")] = UNSET
    sent_messages: Annotated[Count, counter("Messages that the broker acknowledged.")] = UNSET
    sent_bytes: Annotated[Count, counter("Size of those messages.")] = UNSET
    dropped_messages: Annotated[
        Count, counter("Messages given up before they were sent: no room, too old, or not to be read any more.")
    ] = UNSET
    replayed_messages: Annotated[Count, counter("Messages sent once more because a consumer asked for them.")] = UNSET
    replay_unavailable_messages: Annotated[Count, counter("Messages asked for that are no longer there.")] = UNSET
    connections: Annotated[Count, counter("Connections made to the broker.")] = UNSET
    collector: Annotated[Map[PublisherCollector], table("Each collector.")] = UNSET


class ConsumerMember(Fields):
    """One consumer of this machine."""

    cpu_percent: Annotated[Float, rate("CPU time of the consumer, in percent of one CPU.")] = UNSET
    memory_bytes: Annotated[Count, gauge("Resident memory of the consumer.")] = UNSET
    received_messages: Annotated[Count, counter("Messages of any kind that were received and taken.")] = UNSET
    stored_rows: Annotated[Count, counter("Rows that were stored.")] = UNSET
    dead_letter_messages: Annotated[Count, counter("Messages and rows that were unusable and set aside.")] = UNSET
    lag_seconds: Annotated[
        Float, gauge("Age of the newest sample of the last batch when it was stored: how far behind storing is.")
    ] = UNSET
    firing_alerts: Annotated[Count, gauge("Alerts that are not ok, told or not.")] = UNSET
    waiting_notifications: Annotated[
        Count, gauge("Transitions that people are to be told of and were not yet, of all routes together.")
    ] = UNSET
    sent_notifications: Annotated[Count, counter("Notifications that were taken from us.")] = UNSET
    failed_notifications: Annotated[Count, counter("Attempts that failed; each is tried again.")] = UNSET
    failing_routes: Annotated[Count, gauge("Routes whose last attempt failed.")] = UNSET


class Consumer(SubsystemFields):
    """The account of what is missing, from the consumer that keeps it, and the health of each consumer."""

    missing_messages: Annotated[Count, gauge("Messages that are known to be missing now.")] = UNSET
    asked_messages: Annotated[Count, counter("Messages asked for, each as often as it was.")] = UNSET
    recovered_messages: Annotated[Count, counter("Messages that came after they had been asked for.")] = UNSET
    lost_messages: Annotated[Count, counter("Messages given up: their publisher does not have them.")] = UNSET
    member: Annotated[Map[ConsumerMember], table("Each consumer of the machine.")] = UNSET


class Event(SubsystemFields):
    """What happened to an alert of the host, and when the consumer that evaluates the rules saw it."""

    event_id: Annotated[Text, happening("The same when it is told again: alert, moment and kind.")] = UNSET
    rule: Annotated[Text, happening("Name of the rule.")] = UNSET
    labels: Annotated[Text, happening("Which one of several of a kind: mount=/. Absent where a host has one.")] = UNSET
    kind: Annotated[
        Text,
        happening("fired, escalated, eased, resolved, repeated, announced, no_data or acknowledged."),
    ] = UNSET
    before: Annotated[Text, happening("Level before: ok, warning or critical.")] = UNSET
    level: Annotated[Text, happening("Level from then on.")] = UNSET
    metric: Annotated[Text, happening("What the rule is about: disk_mount.used_percent.")] = UNSET
    unit: Annotated[Text, happening("Unit of value and limit; absent where they have none.")] = UNSET
    value: Annotated[Float, happening("What was judged, reduced over the rule's window.")] = UNSET
    value_text: Annotated[Text, happening("The same where it is a word.")] = UNSET
    limit: Annotated[Float, happening("What it was compared with.")] = UNSET
    limit_text: Annotated[Text, happening("The same where it is words.")] = UNSET
    summary: Annotated[Text, happening("A sentence for people.")] = UNSET
    duration_seconds: Annotated[Float, happening("For how long the alert has been at a level at all.")] = UNSET
    delay_seconds: Annotated[
        Float, happening("From the sample until then; below 0 where the host's clock is ahead of the consumer's.")
    ] = UNSET
    flapping: Annotated[Flag, happening("Whether the alert fired three times or more within an hour.")] = UNSET
    told: Annotated[Flag, happening("Whether people are notified.")] = UNSET
    why: Annotated[Text, happening("Why they are not; absent where they are.")] = UNSET


EVENT = "event"
"""What happens to alerts. A consumer says it in a host's name: it is no sign of life, and no sample of it."""

FROM_CONSUMERS = frozenset({"consumer", EVENT})
"""Subsystems whose messages come from consumers, and from no publisher."""

SUBSYSTEMS: Mapping[str, type[Fields]] = {
    "cpu": Cpu,
    "memory": Memory,
    "disk": Disk,
    "network": Network,
    "gpu": Gpu,
    "sensors": Sensors,
    "battery": Battery,
    "smart": Smart,
    "system": System,
    "publisher": Publisher,
    "consumer": Consumer,
    EVENT: Event,
}
"""Every subsystem and the struct of its fields."""

TABLES: Mapping[str, Table] = {
    table.name: table for subsystem, struct in SUBSYSTEMS.items() for table in tables_of(subsystem, struct)
}
"""Every table by name."""
