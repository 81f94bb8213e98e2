"""What a machine is: the retained message on `<prefix>/<host>/info`."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct

from .fields import Count, Flag, Text

__all__ = ["Drive", "Interface", "Inventory", "Processor"]


class Processor(Struct, kw_only=True):
    """The processor."""

    model: Annotated[Text, Meta(description="What it calls itself.")] = UNSET
    architecture: Annotated[Text, Meta(description="x86_64, aarch64, …")] = UNSET
    packages: Annotated[Count, Meta(description="Processors in sockets.")] = UNSET
    cores: Annotated[Count, Meta(description="Cores of all packages.")] = UNSET
    threads: Annotated[Count, Meta(description="CPUs that the system schedules on.")] = UNSET
    maximum_hertz: Annotated[Count, Meta(description="Highest clock.")] = UNSET


class Drive(Struct, kw_only=True):
    """A block device."""

    model: Annotated[Text, Meta(description="What it calls itself.")] = UNSET
    size_bytes: Annotated[Count, Meta(description="Its size.")] = UNSET
    rotational: Annotated[Flag, Meta(description="Whether it has moving parts.")] = UNSET


class Interface(Struct, kw_only=True):
    """A network interface."""

    address: Annotated[Text, Meta(description="Hardware address.")] = UNSET
    physical: Annotated[Flag, Meta(description="Whether there is hardware behind it.")] = UNSET


class Inventory(Struct, kw_only=True):
    """What a machine is and what it publishes how often."""

    v: Annotated[int, Meta(description="Version of this contract.")]
    host: Annotated[str, Meta(description="Name of the machine.", min_length=1, max_length=255)]
    timestamp: Annotated[str, Meta(description="When it was gathered; RFC 3339, UTC.")]
    session: Annotated[str, Meta(description="When the publisher was started; RFC 3339, UTC.")]
    versions: Annotated[dict[str, str], Meta(description="Of hostpulse and Python.")]
    earlier_sessions: Annotated[
        dict[str, dict[str, Annotated[int, Meta(ge=1, le=2**63 - 1)]]],
        Meta(
            description="Earlier starts of which the publisher still has messages; last sequence of each subsystem.",
            max_length=64,
        ),
    ] = {}
    intervals: Annotated[dict[str, float], Meta(description="Seconds between two readings of each collector.")]
    platform: Annotated[Text, Meta(description="Operating system and its version.")] = UNSET
    kernel: Annotated[Text, Meta(description="Release of the kernel.")] = UNSET
    vendor: Annotated[Text, Meta(description="Who made the machine.")] = UNSET
    product: Annotated[Text, Meta(description="What its maker calls it.")] = UNSET
    memory_bytes: Annotated[Count, Meta(description="Main memory.")] = UNSET
    swap_bytes: Annotated[Count, Meta(description="Swap.")] = UNSET
    processor: Annotated[Processor, Meta(description="The processor.")]
    drives: Annotated[dict[str, Drive], Meta(description="Block devices by kernel name.")]
    interfaces: Annotated[dict[str, Interface], Meta(description="Network interfaces by name.")]
