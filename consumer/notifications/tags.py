"""Tags of rules, by which routes choose."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from .options import RouteOptions

__all__ = ["unknown_tags"]


def unknown_tags(tags: Mapping[str, Iterable[str]], routes: Sequence[RouteOptions]) -> list[str]:
    """Return a line for each tag of a rule that no route has; none where nobody is notified at all.

    Args:
        tags: of each rule, by its name.
        routes: all of them.
    """
    if not routes:
        return []
    known = sorted({tag for route in routes for tag in route.tags})
    lines: list[str] = []
    for rule, named in tags.items():
        for tag in named:
            if tag not in known:
                meant = get_close_matches(tag, known, n=1)
                hint = f"did you mean {meant[0]}?" if meant else "name it in alerts.notify.NAME.tags of one"
                lines.append(f"rule.{rule}.notify names the tag {tag!r}, which no route has; {hint}")
    return lines
