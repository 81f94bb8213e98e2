"""Tests of rules: what is sampled, what happens meanwhile, and the whole transcript that is expected.

for case in load_cases("tests.toml", text).cases:
    difference = compare(case, play(case, rules))
"""

from .case import Case, CaseFile, CasesError, load_cases
from .play import play
from .transcript import compare, line_of

__all__ = ["Case", "CaseFile", "CasesError", "compare", "line_of", "load_cases", "play"]
