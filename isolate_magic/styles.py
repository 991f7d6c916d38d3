"""The CSS of an untrusted companion, of which only colours, borders and alignment stay (host).

A declaration stays if its property is listed and its value has no address, no escape, and nothing that
could move or blow up an element. Of style sheets only the rules for tables of pandas' Styler stay, whose
selectors begin with the id of the table, and they are renamed with the table.
"""

from __future__ import annotations

import re

PROPERTIES = set(
    "color background-color background font-weight font-style text-align text-decoration vertical-align"  # noqa: SIM905
    " white-space width max-width min-width border border-top border-right border-bottom border-left"
    " border-color border-style border-width border-collapse border-spacing padding padding-top padding-right"
    " padding-bottom padding-left opacity font-size font-variant-numeric caption-side".split()
)
ID = re.compile(r"T_[A-Za-z0-9_]{1,80}\Z")
CLASS = re.compile(
    r"(?:data|blank|dataframe|(?:row|col)_?(?:heading|trim)|index_name|(?:row|col|level)\d{1,6})\Z", re.ASCII
)
_SELECTOR = re.compile(
    r"#(T_[A-Za-z0-9_]{1,80})((?: (?:t[hdr]|thead|tbody|table|caption|\.[a-z_0-9]{1,20})|:hover)*)\Z"
)
_STYLE = re.compile(r"<style\b[^<>]*>", re.IGNORECASE | re.ASCII)
_STYLE_END = re.compile(r"</style", re.IGNORECASE | re.ASCII)
_WORDS = r"[-#%.,+ a-z0-9]*"
_VALUE = re.compile(rf"{_WORDS}(?:(?:rgba?|hsla?|linear-gradient)\([-#%.,+ a-z0-9()]*\){_WORDS})?\Z")
_FUNCTION = re.compile(r"([a-z-]*)\(")
_FUNCTIONS = {"rgb", "rgba", "hsl", "hsla", "linear-gradient"}
_LENGTH = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:px|em|rem|ex|ch|pt|pc|in|cm|mm|vw|vh)", re.ASCII)
_FONT_SIZE = re.compile(
    r"(?:[1-3]?\d(?:\.\d+)?(?:px|pt)|(?:0?\.\d+|1(?:\.0+)?)em|(?:x-|xx-)?small|medium|(?:x-)?large)\Z",
    re.ASCII,
)
_MOST_RULES = 20_000


def declarations(text: str) -> str:
    """Return the declarations that can stay."""
    kept = []
    for declaration in text[:4096].lower().split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip(), " ".join(value.replace("!important", "").split())
        if name in PROPERTIES and value and len(value) <= 400 and _harmless(name, value):
            kept.append(f"{name}: {value}")
    return "; ".join(kept)


def _harmless(name: str, value: str) -> bool:
    if name == "font-size":  # larger than its parent's, nested, it would grow without end
        return _FONT_SIZE.match(value) is not None
    return (
        _VALUE.match(value) is not None
        and value.count("(") == value.count(")")
        and set(_FUNCTION.findall(value)) <= _FUNCTIONS
        and all(float(number) <= 2000 for number in _LENGTH.findall(value))
    )


def sheet(text: str, prefix: str) -> str:
    """Return a `<style>` with those rules of an HTML text that can stay, or nothing.

    Args:
        text: the HTML; only its `<style>` elements are read.
        prefix: what ids and classes are renamed with.
    """
    rules: list[str] = []
    place = 0
    while len(rules) < _MOST_RULES and (found := _STYLE.search(text, place)):
        end = _STYLE_END.search(text, found.end())
        place = end.start() if end else len(text)
        rules += filter(None, (_rule(rule, prefix) for rule in text[found.end() : place].split("}")))
    return f"<style>{' '.join(rules)}</style>" if rules else ""


def _rule(text: str, prefix: str) -> str:
    names, _, body = text.partition("{")
    found = (_SELECTOR.match(" ".join(name.split())) for name in names.split(","))
    selectors = [f"#{prefix}{one[1]}{one[2].replace('.', '.' + prefix)}" for one in found if one]
    kept = declarations(body) if selectors else ""
    return f"{', '.join(selectors)} {{{kept}}}" if kept else ""
