"""The levels of a rule, their limits, and its condition, from TOML."""

from hostpulse.bus.fields import Field, Table

from .metrics import hint
from .model import Bound, Condition, Limit, Reading, Side
from .reading import Keys, shown

__all__ = ["read_bound", "read_condition"]

_LEVEL_KEYS = ("above", "below", "equals", "clear", "changed_from", "for")
_CONDITION_KEYS = ("field", "above", "below", "equals")
_LIMIT_KEYS = ("field", "add", "else")


def read_bound(
    keys: Keys, word: str, about: tuple[Table, Field], *, hold: float, references: list[str]
) -> Bound | None:
    """Return what a level of a rule means; None if it has none, or it cannot be told.

    Args:
        keys: of the rule.
        word: name of the level.
        about: table and field of the rule's metric.
        hold: seconds, where the level says nothing of its own.
        references: takes the names of other fields that the level looks at.
    """
    if keys.raw(word) is False:  # a level of the defaults that a user does not want
        return None
    level = keys.table(word)
    if level is None or not level.check_names(_LEVEL_KEYS):
        return None
    table, field = about
    hold = level.duration("for", hold)
    is_number = _is_number(field) or "reduce" in keys
    if not is_number:
        return _word_bound(level, field, hold)
    return _number_bound(level, table, field, hold=hold, references=references)


def _number_bound(level: Keys, table: Table, field: Field, *, hold: float, references: list[str]) -> Bound | None:
    side = _side(level, field)
    limit = None if side is None else _limit(level, side, table, references)
    if side is None or limit is None:
        return None
    clear = _limit(level, "clear", table, references) if "clear" in level else limit
    if clear is None:
        return None
    _check_clear(level, side, limit, clear)
    return Bound(side, limit, clear, frozenset(), frozenset(), hold)


def _side(level: Keys, field: Field) -> Side | None:
    for key in ("equals", "changed_from"):
        if key in level:
            level.wrong(key, f"is for text and flags, and {field.name} is a number; use above or below")
            return None
    sides = [side for side in Side if side in level]
    if not sides:
        level.wrong("above", "is missing, and so is below; give one of them")
    elif len(sides) > 1:
        level.wrong(sides[-1], f"cannot stand beside {sides[0]}; give one of them")
    return sides[0] if len(sides) == 1 else None


def _word_bound(level: Keys, field: Field, hold: float) -> Bound | None:
    for key in ("above", "below", "clear"):
        if key in level:
            kind = "text" if field.type is str else "true or false"
            level.wrong(key, f"is for numbers, and {field.name} is {kind}; use equals")
            return None
    if "equals" not in level:
        level.wrong("equals", f"is missing; give the values of {field.name} that are bad")
        return None
    words = _words(level, "equals", field)
    before = _words(level, "changed_from", field) if "changed_from" in level else frozenset()
    if words & before:
        level.wrong("changed_from", "has a value that is in equals, too")
    return Bound(None, Limit(None), Limit(None), words, before, hold)


def _words(level: Keys, key: str, field: Field) -> frozenset[Reading]:
    if field.type is str:
        return frozenset(level.texts(key))
    value = level.raw(key)
    many: list[object] = value if isinstance(value, list) else [value]
    flags = frozenset(one for one in many if isinstance(one, bool))
    if all(isinstance(one, bool) for one in many):
        return flags
    level.wrong(key, f"must be true or false, not {shown(value)}")
    return frozenset()


def _limit(level: Keys, key: str, table: Table, references: list[str]) -> Limit | None:
    if not isinstance(level.raw(key), dict):
        number = level.number(key)
        return None if number is None else Limit(number)
    relative = level.table(key)
    if relative is None or not relative.check_names(_LIMIT_KEYS):
        return None
    name = _field_of(relative, table)
    if name is None:
        return None
    if not _is_number(name):
        relative.wrong("field", f"names {name.name}, which is no number")
        return None
    references.append(name.name)
    add = relative.number("add")
    return Limit(relative.number("else"), name.name, 0.0 if add is None else add)


def _field_of(keys: Keys, table: Table) -> Field | None:
    name = keys.text("field", "")
    if "field" not in keys:
        keys.wrong("field", f"is missing; name a field of {table.name}")
        return None
    field = table.field(name)
    if field is None and name:
        known = [one.name for one in table.fields]
        keys.wrong("field", f"names {shown(name)}, which {table.name} does not have{hint(name, known)}")
    return field


def _check_clear(level: Keys, side: Side, limit: Limit, clear: Limit) -> None:
    pairs = [(limit.number, clear.number)]
    if limit.field is not None and limit.field == clear.field:
        pairs.append((limit.add, clear.add))
    elif limit.field != clear.field:
        pairs = []  # only the samples will tell
    for at, back in pairs:
        if at is not None and back is not None and (back > at if side is Side.ABOVE else back < at):
            rather = "at most" if side is Side.ABOVE else "at least"
            level.wrong_together(
                "clear", f"= {back:g} is on the wrong side of {side} = {at:g}; it must be {rather} that"
            )
            return


def read_condition(keys: Keys, table: Table, references: list[str]) -> Condition | None:
    """Return a rule's `only_if`; None if it has none, or it cannot be told.

    Args:
        keys: of the rule.
        table: whose fields it may name.
        references: takes the name of the field.
    """
    if keys.raw("only_if") is False:  # a condition of the defaults that a user does not want
        return None
    only_if = keys.table("only_if")
    if only_if is None or not only_if.check_names(_CONDITION_KEYS):
        return None
    field = _field_of(only_if, table)
    if field is None:
        return None
    references.append(field.name)
    return _number_condition(only_if, field) if _is_number(field) else _word_condition(only_if, field)


def _word_condition(only_if: Keys, field: Field) -> Condition | None:
    if "equals" not in only_if or "above" in only_if or "below" in only_if:
        only_if.wrong("field", f"= {field.name} is no number; give equals, and neither above nor below")
        return None
    return Condition(field.name, None, 0.0, _words(only_if, "equals", field))


def _number_condition(only_if: Keys, field: Field) -> Condition | None:
    sides = [side for side in Side if side in only_if]
    if len(sides) != 1 or "equals" in only_if:
        only_if.wrong("field", f"= {field.name} is a number; give above or below, and nothing else")
        return None
    number = only_if.number(sides[0])
    return None if number is None else Condition(field.name, sides[0], number, frozenset())


def _is_number(field: Field) -> bool:
    return field.type is not str and field.type is not bool
