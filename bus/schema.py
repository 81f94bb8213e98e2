"""The contract for other programs: JSON Schema of the messages, AsyncAPI of the topics, and a page of all fields."""

from typing import Any

import msgspec

from .alert import AlertState
from .codec import MAXIMUM_MESSAGE_BYTES, VERSION, Envelope
from .inventory import Inventory
from .messages import SUBSYSTEMS, TABLES
from .replay import MAXIMUM_REQUEST_BYTES, ReplayRequest
from .topics import ONLY_INSTANCE

__all__ = ["asyncapi_document", "message_schema", "metrics_page", "to_text"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_METRICS_HEAD = """\
# Metrics

Generated from `bus/messages.py`. A table is what `hostpulse history` and `hostpulse export` take; a map of a message
(`core` of `cpu`) is a table of its own (`cpu_core`). Names end in their unit. A rate is over the time since the sample
before; what is not known is absent. An event happened once: it has no mean.
"""
_HOST = {"description": "The machine, with every character outside [A-Za-z0-9_.-] as _xHH."}
_PLACES = {"alert": "alert/{rule}/{instance}"}
"""Where below a host a message is, if not at its own name."""
_PARAMETERS = {
    "alert": {
        "rule": {"description": "Name of the rule, escaped like the host."},
        "instance": {
            "description": f"Which one of several, such as the mount, escaped; `{ONLY_INSTANCE}` where there is one."
        },
    }
}
_RETAINED = frozenset({"alert", "info", "status"})


def to_text(document: dict[str, Any]) -> str:
    """Return a document as JSON for people and for diffs."""
    return msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=2).decode() + "\n"


def _definitions() -> dict[str, Any]:
    """Return the schema of every struct, and of each subsystem's message: the envelope's fields and its own."""
    _, structs = msgspec.json.schema_components([Envelope, *SUBSYSTEMS.values(), Inventory, ReplayRequest, AlertState])
    definitions: dict[str, Any] = dict(structs)
    envelope = definitions.pop("Envelope")
    for subsystem, struct in SUBSYSTEMS.items():
        fields = definitions.pop(struct.__name__)
        own = {"v": {"const": VERSION}, "subsystem": {"const": subsystem}}
        definitions[subsystem] = {
            "title": subsystem,
            "description": fields["description"],
            "type": "object",
            "properties": envelope["properties"]
            | {name: envelope["properties"][name] | const for name, const in own.items()}
            | fields["properties"],
            "required": envelope["required"],
        }
    return definitions


def message_schema(subsystem: str | None = None) -> dict[str, Any]:
    """Return the JSON Schema of the messages of a subsystem, or of all."""
    definitions = _definitions()
    wanted = list(SUBSYSTEMS) if subsystem is None else [subsystem]
    references = [{"$ref": f"#/$defs/{name}"} for name in wanted]
    return {
        "$schema": _DIALECT,
        "title": "hostpulse messages" if subsystem is None else f"hostpulse {subsystem} message",
        "description": f"One JSON object of at most {MAXIMUM_MESSAGE_BYTES} bytes. What is not known is absent.",
        **({"oneOf": references} if subsystem is None else references[0]),
        "$defs": _needed(definitions, wanted),
    }


def _needed(definitions: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    """Return the definitions that some need, and those that these need."""
    found: dict[str, Any] = {}
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = definitions[name]
            text = msgspec.json.encode(definitions[name]).decode()
            waiting += [other for other in definitions if f'"#/$defs/{other}"' in text]
    return found


def asyncapi_document(prefix: str = "hostpulse") -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of every topic that a publisher writes or reads, and of what consumers tell."""
    text = msgspec.json.encode(_definitions()).replace(b"#/$defs/", b"#/components/schemas/")
    schemas = msgspec.json.decode(text, type=dict[str, Any])
    messages: dict[str, Any] = {
        name: {"contentType": "application/json", "payload": {"$ref": f"#/components/schemas/{name}"}}
        for name in SUBSYSTEMS
    }
    messages["alert"] = {
        "contentType": "application/json",
        "summary": "How an alert is now; empty for one that nobody knows any more.",
        "payload": {"$ref": "#/components/schemas/AlertState"},
    }
    messages["info"] = {"contentType": "application/json", "payload": {"$ref": "#/components/schemas/Inventory"}}
    messages["replay"] = {
        "contentType": "application/json",
        "summary": f"At most {MAXIMUM_REQUEST_BYTES} bytes; answered by messages on their usual topics, or by nothing.",
        "payload": {"$ref": "#/components/schemas/ReplayRequest"},
    }
    messages["status"] = {"contentType": "text/plain", "payload": {"type": "string", "enum": ["online", "offline"]}}
    retained = {"bindings": {"mqtt": {"qos": 1, "retain": True}}}
    sampled = {"bindings": {"mqtt": {"qos": 1, "retain": False}}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "hostpulse",
            "version": str(VERSION),
            "description": (
                "What a publisher says, and what it is asked for. `status` is also its Last Will. Messages of "
                "`consumer` and `event` and the states of alerts come from consumers."
            ),
        },
        "channels": {
            name: {
                "address": f"{prefix}/{{host}}/{_PLACES.get(name, name)}",
                "parameters": {"host": _HOST, **_PARAMETERS.get(name, {})},
                "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            }
            for name in messages
        },
        "operations": {
            ("receive_replay" if name == "replay" else f"publish_{name}"): {
                "action": "receive" if name == "replay" else "send",
                "channel": {"$ref": f"#/channels/{name}"},
                **(retained if name in _RETAINED else sampled),
            }
            for name in messages
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def metrics_page() -> str:
    """Return the page of all tables and fields, in Markdown."""
    parts = [_METRICS_HEAD]
    for table in TABLES.values():
        where = "" if table.map is None else f" In the message: `{table.map}`, keyed by {table.key}."
        parts.append(f"\n## {table.name}\n\n{table.meaning}{where}\n")
        if table.fields:
            parts.append("\n| field | unit | kind | meaning |\n|---|---|---|---|\n")
            parts += [f"| `{one.name}` | {one.unit} | {one.kind} | {one.meaning} |\n" for one in table.fields]
    return "".join(parts)
