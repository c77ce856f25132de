"""The one place where text from servers, hosts and files becomes safe to show.

Rows and JSON keep the exact value, because it names the object that an action touches. What reaches
a terminal passes `clean()`: whatever could drive the terminal or reorder what is read is made
visible, not dropped. No result is ever interpreted as markup.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# Cc control, Cf format (bidi overrides, zero width), Cs lone surrogates (bytes that were no UTF-8),
# Co private use, Cn unassigned, Zl/Zp line and paragraph separators.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_CONTROL_PICTURES = 0x2400
_PLAIN = re.compile(r"[\x20-\x7e]*\Z")

# Each pattern begins with a fixed word: with anything open in front, a long text would take minutes.
_NAMES = r"(?:passw(?:or)?d|pwd|passphrase|cipher-pass|key-secret|sas-token)"
# Rather too much than too little: a quote or a comma inside a password does not end it, a quote before a
# blank or the end does.
_SECRETS = (
    # statements: PASSWORD 'x', PASSWORD $$x$$
    (
        re.compile(r"(?i)\b(password)(\s+)(?:E?'(?:[^'\\]|\\.|'')*'?|\$(\w*)\$.*?(?:\$\3\$|\Z))", re.S),
        r"\1\2'****'",
    ),
    # keyword form inside a statement's literal: password=''x y''
    (re.compile(rf"(?i)({_NAMES}\s*=\s*)''(?=[^\s'])(?:[^'\\]|\\.)*(?:''|\Z)"), r"\1****"),
    # keyword form: password=x, password = 'x y', --password=x, PGPASSWORD=x; the next URI parameter stays
    (
        re.compile(
            rf"(?i)({_NAMES}\s*=\s*)"
            r"(?:'(?:[^'\\]|\\.|'')*'?|(?:\\.|[^\s'\"&\\]|['\"](?=[^\s'\"])|&(?![\w-]+=))+)",
        ),
        r"\1****",
    ),
    # JSON: "password": "x"
    (re.compile(rf'(?i)({_NAMES}"\s*:\s*)"(?:[^"\\]|\\.)*"?'), r'\1"****"'),
    # URI form: scheme://user:secret@host; a password may hold an @ that nobody encoded
    (re.compile(r"(://[^\s:/@'\"]{0,128}):[^\s'\"]{0,512}@"), r"\1:****@"),
)


def _visible(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    if code == 0x7F:
        return "\u2421"
    if 0xDC80 <= code <= 0xDCFF:  # a byte kept by surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"<U+{code:04X}>"


def clean(text: str) -> str:
    """One line that is safe to show: control, escape and bidi characters made visible.

    Idempotent; printable text passes unchanged.
    """
    if _PLAIN.match(text):
        return text
    return "".join(_visible(c) if unicodedata.category(c) in _UNSAFE_CATEGORIES else c for c in text)


def clean_lines(text: str) -> str:
    """Several lines that are safe to show: line ends kept, tabs as four spaces, all else as `clean`."""
    plain = text.replace("\r\n", "\n").replace("\t", "    ")
    return "\n".join(clean(line) for line in plain.split("\n"))


# Most texts hold none of these words, and the patterns above are slow to find that out.
_MAYBE = re.compile(r"(?i)pass|pwd|secret|token|://")


def mask(text: str) -> str:
    """The text with passwords in connection strings and statements replaced by ****."""
    if not _MAYBE.search(text):
        return text
    while (masked := _masked(text)) != text:
        text = masked
    return text


def _masked(text: str) -> str:
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def mask_all(value: Any) -> Any:
    """The value with every text in it masked."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {k: mask_all(v) for k, v in value.items()}
    return [mask_all(v) for v in value] if isinstance(value, (list, tuple)) else value
