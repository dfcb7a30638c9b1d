"""Finds the places where a voice may stop: ends of sentences, clauses and words, for any script, in linear time.

Text is expected with single blanks and none around it. A full stop is judged by the word in front of it and the
letter after it, so abbreviations, initials, ordinals, decimals and addresses stay whole.
"""

# ruff: noqa: RUF001 - punctuation of all scripts is what this module is about

from __future__ import annotations

import re
from dataclasses import dataclass

_NARROW_STOPS = ".!?…"
_WIDE_STOPS = "。！？｡।॥؟۔።။។៕։"  # these end a sentence without a blank behind them
_NARROW_CLAUSES = ",;:–"
_WIDE_CLAUSES = "、，；：،؛—―"
_CLOSERS = "\"'”’»›)\\]}】』」）》〉"
# Every match is taken, whatever follows it: a look-ahead would make runs of dots quadratic.
_MARK = re.compile(
    rf"(?:(?P<stop>[{_NARROW_STOPS}{_WIDE_STOPS}]+)|(?P<clause>[{_NARROW_CLAUSES}{_WIDE_CLAUSES}]+|(?<= )-))"
    rf"[{_CLOSERS}]*(?:(?:[“«‹]| »)(?= |$))?"  # “ and « open in one language and close in another
)
_OPENERS = "\"'“”„‚‘«»‹›([{¿¡（《「『【*_-"
_FIRST_CJK = "\u2e80"
# Thai, Lao, Myanmar, Khmer; ideographs, kana and what stands beside them. Korean has blanks.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff]"
)
_LONE = re.compile(r" (?:\.|[!?,;:»›]+)(?= |$)")  # as in French, or where words were joined by machines
_LISTS = frozenset(",;、，；،؛")
_LONGEST_ABBREVIATION = 16


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ABBREVIATIONS = _set("""
    mr mrs ms mx messrs dr drs prof vs viz cf al approx dept eds tel ext incl excl resp orig capt cmdr sgt cpl
    hr hrn frl dipl bzw bspw ca evtl exkl ggf inkl ggü geb gest jh jhd lfd mwst sog tsd usf vgl vorm wg zb zzgl
    sr sra srta sres sras dña ud uds vd vds gral cía pág págs aprox dpto avda exmo exma ilmo ilma sta sto
    mme mmes mlle mlles mgr sig sigg dott avv
""")
_TITLES = _set(
    "rev hon pres gov sen rep gen col maj lt st mt ave blvd fr ing lic eng arch jan feb aug sept oct nov dec"
)
"""These are abbreviations only with a capital: in small letters they are words."""
_BEFORE_A_NUMBER = _set(
    "no nos nr nrn núm num art arts pp vol vols ch chap fig figs sec sect abs abb kap bd bde op cap"
)
_ALSO_LAST = _set("""
    etc usw u.s.w ecc inc ltd co corp bros jr esq a.m p.m a.d b.c ph.d m.d b.a m.a ft min std str mio mrd
""")
"""These end a sentence when a capital follows."""
_AFTER_AN_ORDINAL = _set("""
    januar jänner februar feber märz april mai juni juli august september oktober november dezember
    jahrhundert jahrhunderts jahrtausend weltkrieg klasse stock platz mal geburtstag marts maj december mars
""")


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Ascending indices behind the last character of every sentence, clause and word.

    A sentence ends a clause too, and a clause a word; the end of the text ends all three.
    """

    sentences: list[int]
    clauses: list[int]
    words: list[int]


def find(text: str) -> Boundaries:
    """Return the boundaries of `text`."""
    sentences: list[int] = []
    clauses: list[int] = []
    lone = {match.start() for match in _LONE.finditer(text)}
    for match in _MARK.finditer(text):
        if match.end() in lone:
            continue
        if _ends_sentence(text, match, sentences[-1] if sentences else 0):
            sentences.append(match.end())
        elif not _ends_clause(text, match):
            continue
        clauses.append(match.end())
    blanks = [index for index, char in enumerate(text) if char == " "]
    return Boundaries(_closed(sentences, text), _closed(clauses, text), _closed([*blanks, *clauses], text))


def tears(text: str, end: int) -> bool:
    """Tell whether a voice that stops at the blank at `end` would tear a number, an abbreviation or a mark from a word.

    The end of a sentence looks like an abbreviation: ask only where none ends.
    """
    if text[end : end + 1] != " ":
        return False
    before, after = text[end - 1], text[end + 1]
    return before == "." or before.isdigit() or after.isdigit() or _LONE.match(text, end) is not None


def is_wide(char: str) -> bool:
    """Tell whether a character belongs to a script without blanks, as ideographs and kana do."""
    return char >= _FIRST_CJK


def is_unspaced(char: str) -> bool:
    """Tell whether a character belongs to a script whose words have no blanks between them."""
    return _UNSPACED.match(char) is not None


def _closed(ends: list[int], text: str) -> list[int]:
    return sorted({*ends, len(text)})


def _ends_sentence(text: str, match: re.Match[str], begin: int) -> bool:
    stop, end = match["stop"], match.end()
    if not stop:
        return False
    if end == len(text) or not set(stop).isdisjoint(_WIDE_STOPS):
        return True
    if text[end] != " ":
        return stop[-1] in "!?" and text[end] >= _FIRST_CJK
    following = text[end + 1 : end + 1 + _LONGEST_ABBREVIATION].lstrip(_OPENERS)
    if stop == ".":
        return not _is_part_of_a_word(text, match.start(), begin, following)
    return not following[:1].islower()


def _ends_clause(text: str, match: re.Match[str]) -> bool:
    if _is_between_digits(text, match):
        return False
    if stop := match["stop"]:
        return stop != "." and text[match.end()] == " "
    return not set(match["clause"]).isdisjoint(_WIDE_CLAUSES) or text[match.end() : match.end() + 1] in {"", " "}


def _is_between_digits(text: str, match: re.Match[str]) -> bool:
    """Tell whether a mark belongs to a score, a range or a sum; a comma between numbers is one of a list."""
    if not _LISTS.isdisjoint(match[0]):
        return False
    before = text[max(0, match.start() - 2) : match.start()].rstrip()
    after = text[match.end() : match.end() + 2].lstrip()
    return before[-1:].isdigit() and after[:1].isdigit()


def _is_part_of_a_word(text: str, dot: int, begin: int, following: str) -> bool:
    """Tell whether the full stop at `dot` belongs to the word in front of it; the sentence starts at `begin`."""
    start = max(begin, dot - _LONGEST_ABBREVIATION)
    before, _, token = text[start:dot].rpartition(" ")
    token = token.lstrip(_OPENERS)
    word = token.casefold()
    if word.isdecimal():
        return _is_ordinal(word, is_first=start == begin and not before.strip(_OPENERS + " "), following=following)
    if len(token) == 1:
        return token.lower() != token.upper()  # an initial
    if word in _ALSO_LAST:
        return not following[:1].isupper()
    if word in _BEFORE_A_NUMBER:
        return following[:1].isdecimal()
    return word in _ABBREVIATIONS or (word in _TITLES and token[0].isupper()) or _is_dotted(word)


def _is_ordinal(number: str, *, is_first: bool, following: str) -> bool:
    if len(number) > 2:  # noqa: PLR2004 - a year ends a sentence more often than it counts something
        return False
    next_word = following.partition(" ")[0].strip(".,;:!?").casefold()
    return is_first or following[:1].islower() or next_word in _AFTER_AN_ORDINAL


def _is_dotted(word: str) -> bool:
    parts = word.split(".")
    return len(parts) > 1 and all(part.isalpha() and len(part) <= 2 for part in parts)  # noqa: PLR2004 - as in z.B.
