"""The HTML of an untrusted companion, of which only text, tables, plain styles and pictures stay (host).

Two passes. The first writes the HTML anew from a list of allowed tags, attributes and style properties,
nested properly and at most 64 deep; the second is nh3, a sanitiser that parses as browsers do. The first
is needed for nh3's sake: tags closed out of order make any HTML5 parser repeat them, so that 16 kB of
them become 12 MB and 1 MB would end the host (https://html.spec.whatwg.org/#reconstruct-the-active-formatting-elements),
and 40,000 nested `<div>` take it 5 s.

No id, name, class or data-* of the companion's stays, so nothing there can be taken for a part of the
page or for a command of JupyterLab's (CVE-2026-42557); no link stays, for a link can phish, only its
text; no address is loaded. The ids and classes that pandas' Styler needs are renamed at random.
"""

from __future__ import annotations

import html
import re
import secrets
from collections import Counter

import nh3

from isolate_magic import pictures, styles
from isolate_magic.escapes import plain

_MOST = 4 << 20
_DEEPEST = 64
_MOST_REFERENCES = 100_000  # the parser's time grows with their square: 0.3 s for these
_PARENTS = {
    "caption": ("table",),
    "colgroup": ("table",),
    "col": ("colgroup", "table"),
    "thead": ("table",),
    "tbody": ("table",),
    "tfoot": ("table",),
    "tr": ("tbody", "thead", "tfoot", "table"),
    "td": ("tr",),
    "th": ("tr",),
}
_ROWS = {"table", "colgroup", "thead", "tbody", "tfoot", "tr"}  # no text stands right in these
_ENDED_BY_NEXT = {"p", "li", "dt", "dd"}
_VOID = {"br", "hr", "img", "col", "wbr"}
_TAGS = _VOID | set(
    "table thead tbody tfoot tr th td caption colgroup div span p pre code samp kbd var b strong i em u s"  # noqa: SIM905
    " small sub sup mark del ins h1 h2 h3 h4 h5 h6 ul ol li dl dt dd blockquote details summary progress"
    " meter abbr".split()
)
_WHOLE = set(
    "script style title textarea noscript iframe svg math xmp template noembed noframes object embed select"  # noqa: SIM905
    " applet frameset audio video canvas head plaintext".split()
)
_NAMED = {"form", "input", "button", "link", "meta", "base", "label", "option", "marquee", "portal", "frame"}
_ATTRIBUTES = {
    "th": {"colspan", "rowspan"},
    "td": {"colspan", "rowspan"},
    "col": {"span"},
    "colgroup": {"span"},
    "img": {"src", "width", "height", "alt"},
    "progress": {"value", "max"},
    "meter": {"value", "max", "min"},
    "ol": {"start"},
    "details": {"open"},
}
_EVERYWHERE = {"style", "title", "align", "id", "class"}
_NUMBERS = {"colspan", "rowspan", "span", "width", "height", "value", "max", "min", "start"}
_NAME = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)(?=[\s/>])")
_ATTRIBUTE = re.compile(r"[\s/]*([^\s/=<>\"']+)[ \t\n]*(=?)[ \t\n]*")
_BARE = re.compile(r"[^\s\"'<>]*")
_URL = re.compile(r"data:image/(png|jpeg|svg\+xml);base64,")
_CHECKED = {"png": pictures.png, "jpeg": pictures.jpeg}


class Cleaner:
    """Write one HTML fragment anew.

    Args:
        dropped: counts what is left out.
    """

    def __init__(self, dropped: Counter[str]) -> None:
        self.dropped = dropped
        self.prefix = f"i{secrets.token_hex(4)}-"
        self.out: list[str] = []
        self.open: list[str] = []
        self.too_deep = 0
        self.references = 0

    def clean(self, text: str) -> str:
        """Return the fragment, safe to insert into a page."""
        self._read(text)
        if self.references > _MOST_REFERENCES:
            self.dropped["HTML with too many entities"] += 1
            return ""
        self.out += [f"</{name}>" for name in reversed(self.open)]
        return styles.sheet(text, self.prefix) + nh3.clean(
            "".join(self.out),
            tags=_TAGS,
            clean_content_tags=_WHOLE - _TAGS,
            attributes={"*": _EVERYWHERE, **_ATTRIBUTES},
            url_schemes={"data"},
            url_relative="deny",
            filter_style_properties=styles.PROPERTIES,
            link_rel=None,
        )

    def _read(self, text: str) -> None:
        place = 0
        while place < len(text):
            start = text.find("<", place)
            start = len(text) if start < 0 else start
            self._words(plain(html.unescape(text[place:start])))
            if start == len(text):
                return
            place = self._tag(text, start)

    def _words(self, words: str) -> None:
        if self.open and self.open[-1] in _ROWS:
            words = " " if words[:1].isspace() else ""
        self.references += words.count("&") + words.count("<") + words.count("\xa0")
        self.out.append(words.replace("&", "&amp;").replace("<", "&lt;"))

    def _tag(self, text: str, start: int) -> int:
        """Take what begins with `<`; return where it ends."""
        if text.startswith("<!--", start):
            return _after(text, "-->", start + 4)
        end = text.find(">", start)
        if end < 0:
            return len(text)
        if text[start + 1] in "!?":
            return end + 1
        if found := _NAME.match(text, start):
            return self._named(text, found, end)
        self._words("<")
        return start + 1

    def _named(self, text: str, found: re.Match[str], end: int) -> int:
        name = found[2].lower()
        if name in _WHOLE:
            if not found[1] and name != "style":
                self.dropped[f"<{name}>"] += 1
            return end + 1 if found[1] else _past(text, name, end + 1)
        if name in _TAGS and found[1]:
            self._close(name)
        elif name in _TAGS:
            self._open(name, text[found.end() : end])
        elif not found[1] and name not in ("html", "body", "a", "center", "font", "section", "article"):
            self.dropped[f"<{name}>" if name in _NAMED else "unknown tag"] += 1
        return end + 1

    def _open(self, name: str, attributes: str) -> None:
        if not self._placed(name):
            return
        if name not in _VOID:
            if len(self.open) >= _DEEPEST:
                self.too_deep += 1
                return
            self.open.append(name)
        written = "".join(self._attributes(name, attributes))
        if name != "img" or ' src="' in written:
            self.out.append(f"<{name}{written}>")

    def _placed(self, name: str) -> bool:
        """End what the tag ends by beginning; return whether it may stand here.

        A browser moves what stands wrong in a table out of it, which takes time that grows with its square.
        """
        if name in _ENDED_BY_NEXT and self.open[-1:] == [name]:
            self._close(name)
        if name not in _PARENTS:
            return not self.open or self.open[-1] not in _ROWS
        within = (
            self.open[len(self.open) - self.open[::-1].index("table") - 1 :] if "table" in self.open else []
        )
        for parent in reversed(within):
            if parent in _PARENTS[name]:
                while self.open[-1] != parent:
                    self.out.append(f"</{self.open.pop()}>")
                return True
        return False

    def _close(self, name: str) -> None:
        """Close the innermost open tag of that name and all within; a stray one is nothing."""
        if self.too_deep:
            self.too_deep -= 1
        elif name in self.open:
            while (last := self.open.pop()) != name:
                self.out.append(f"</{last}>")
            self.out.append(f"</{name}>")

    def _attributes(self, name: str, text: str) -> list[str]:
        kept: dict[str, str] = {}
        place = 0
        while found := _ATTRIBUTE.match(text, place):
            place = found.end()
            value = ""
            if found[2]:
                quote = text[place : place + 1]
                if quote and quote in "\"'":
                    end = text.find(quote, place + 1)
                    if end < 0:
                        break
                    value, place = text[place + 1 : end], end + 1
                elif bare := _BARE.match(text, place):
                    value, place = bare.group(), bare.end()
            key = found[1].lower()
            if key.startswith("on") or key in ("href", "srcset", "formaction"):
                self.dropped[key if key == "href" else "script or address in HTML"] += 1
            elif key not in kept and (key in _EVERYWHERE or key in _ATTRIBUTES.get(name, ())):
                kept[key] = self._value(key, html.unescape(value))
        return [
            f' {key}="{html.escape(value)}"' for key, value in kept.items() if value or key in ("alt", "open")
        ]

    def _value(self, key: str, value: str) -> str:
        """Return the value of an attribute, empty if it cannot stay."""
        if key == "style":
            return styles.declarations(value)
        if key == "src":
            return self._source(value)
        if key == "id":
            return self.prefix + value if styles.ID.match(value) else ""
        if key == "class":
            return " ".join(self.prefix + name for name in value.split()[:8] if styles.CLASS.match(name))
        if key in _NUMBERS:
            return value if re.fullmatch(r"\d{1,4}(?:\.\d{1,6})?", value, re.ASCII) else ""
        if key == "align":
            return value.lower() if value.lower() in ("left", "right", "center") else ""
        return plain(value)[:200] if key in ("title", "alt") else ""

    def _source(self, value: str) -> str:
        value = value.strip()
        try:
            if found := _URL.match(value):
                body = value[found.end() :]
                checked = _inner_svg(body) if found[1] == "svg+xml" else _CHECKED[found[1]](body)
                return f"{found.group()}{checked}"
        except ValueError:
            pass
        self.dropped["picture in HTML"] += 1
        return ""


def _inner_svg(body: str) -> str:
    return pictures.svg(pictures.decoded(body).decode("utf-8"))


def _after(text: str, end: str, place: int) -> int:
    """Return where the text after `end` begins, or its length."""
    place = text.find(end, place)
    return len(text) if place < 0 else place + len(end)


def _past(text: str, name: str, place: int) -> int:
    """Return where the text after the end tag begins, or its length."""
    found = re.compile(f"</{name}", re.IGNORECASE | re.ASCII).search(text, place)
    return _after(text, ">", found.end()) if found else len(text)


def clean(text: str, dropped: Counter[str]) -> str:
    """Return HTML safe to insert into a page, with nothing of it when it is longer than 4 MiB.

    Args:
        text: the companion's HTML.
        dropped: counts what is left out.
    """
    if len(text) > _MOST:
        dropped["HTML over 4 MiB"] += 1
        return ""
    return Cleaner(dropped).clean(text)


def shows_something(body: str) -> bool:
    """Tell whether cleaned HTML has any text, picture or bar."""
    text = re.sub(r"<style>[^<]*</style>|<(?!img|progress|meter|hr)[^<>]*>", "", body)
    return bool(text.strip())


def framed(body: str, name: str) -> str:
    """Return HTML within a thin border that says whose it is."""
    label = html.escape(f"companion {name!r}" if name else "companion")
    return (
        '<div style="border-left: 2px solid #999; padding-left: 8px; overflow: auto; max-width: 100%">'
        f'<div style="color: #888; font: 75% sans-serif">{label}</div>{body}</div>'
    )


def picture(kind: str, body: str, size: dict[str, int]) -> str:
    """Return an `<img>` of a checked picture.

    Args:
        kind: its MIME type.
        body: it in base64.
        size: width and height to show it at, either may lack.
    """
    sizes = "".join(f' {key}="{value}"' for key, value in size.items())
    return f'<img src="data:{kind};base64,{body}" alt=""{sizes} style="max-width: 100%">'
