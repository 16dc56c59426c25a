"""Texts in a normal form of Unicode (Unicode Standard Annex 15)."""

import unicodedata
from collections.abc import Iterator
from typing import Literal

_FORMS: dict[str, Literal["NFC", "NFKC"]] = {"nfc": "NFC", "nfkc": "NFKC"}


def in_form(texts: Iterator[str], form: str) -> Iterator[str]:
    """`texts` in a normal form, cut only where no character composes with one before it."""
    if form == "none":
        yield from texts
        return
    kept = ""
    for text in texts:
        kept += text
        cut = next((i for i in range(len(kept) - 1, 0, -1) if _begins(kept[i])), 0)
        if cut:
            yield normalized(kept[:cut], form)
            kept = kept[cut:]
    if kept:
        yield normalized(kept, form)


def normalized(text: str, form: str) -> str:
    """A text in a normal form: none, nfc or nfkc."""
    return text if form == "none" else unicodedata.normalize(_FORMS[form], text)


def _begins(character: str) -> bool:
    """Whether no normal form changes with what stands before the character.

    Unicode Standard Annex 15: what composes with a character before it is a mark, a Hangul vowel or
    final consonant, or a vowel sign of Kirat Rai.
    """
    first = unicodedata.normalize("NFKD", character)[:1]
    code = ord(first)
    joins = 0x1160 <= code < 0x1200 or 0x16D63 <= code < 0x16D6B
    return not (joins or unicodedata.combining(first) or unicodedata.category(first)[0] == "M")
