"""The one place where text from servers, hosts and files becomes safe to show.

Rows and JSON keep the exact value, because it names the object that an action touches. What reaches
a terminal passes `clean()`: whatever could drive the terminal or reorder what is read is made
visible, not dropped. No result is ever interpreted as markup.
"""

from __future__ import annotations

import re
import unicodedata

# Cc control, Cf format (bidi overrides, zero width), Cs lone surrogates (bytes that were no UTF-8),
# Co private use, Cn unassigned, Zl/Zp line and paragraph separators.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_CONTROL_PICTURES = 0x2400
_PLAIN = re.compile(r"[\x20-\x7e]*\Z")

_SECRETS = (
    # keyword form: password=x, password='x y', sslpassword = x, pwd=x
    (
        re.compile(
            r"(?i)\b((?:ssl)?passw(?:or)?d|pwd|passphrase)(\s*=\s*)('(?:[^'\\]|\\.|'')*'?|[^\s'\",;&)]+)"
        ),
        r"\1\2****",
    ),
    # URI form: scheme://user:secret@host
    (re.compile(r"(?i)\b(postgres(?:ql)?://[^\s:/@]*):[^\s@]*@"), r"\1:****@"),
    # statements: PASSWORD 'x', IDENTIFIED BY style
    (re.compile(r"(?i)\b(password)(\s+)(E?'(?:[^'\\]|\\.|'')*'?)"), r"\1\2'****'"),
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


def mask(text: str) -> str:
    """The text with passwords in connection strings and statements replaced by ****."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text
