"""What a person can name of every place in a text: inside quotes, how deep in brackets, ..."""

import re

import numpy as np
from numpy.typing import NDArray

_BLANK = r"\n[ \t]*\n"
_LONGEST = 5000  # characters of a quotation; what is longer was never closed
# straight quotes end with their paragraph; single ones, if no apostrophes, with their line
_QUOTES = re.compile(
    rf'"""[\s\S]{{0,{_LONGEST}}}?"""'
    rf"|'''[\s\S]{{0,{_LONGEST}}}?'''"
    rf"|“[^”]{{0,{_LONGEST}}}”|«[^»]{{0,{_LONGEST}}}»|„[^“”]{{0,{_LONGEST}}}[“”]"
    rf"|「[^」]{{0,{_LONGEST}}}」"
    rf'|"(?:(?!{_BLANK})(?:\\[\s\S]|[^"\\])){{0,{_LONGEST}}}"'
    r"|(?<!\w)'(?:\\.|[^'\\\n])*'(?!\w)"
)
_DEPTH = dict.fromkeys("([{\uff08", 1) | dict.fromkeys(")]}\uff09", -1)  # and the fullwidth ones
_TAB = 8  # columns


def features(text: str) -> dict[str, NDArray[np.float64]]:
    """By name what stands at each of the n characters once it is read, (n,).

    inside quotes: 1 from an opening quote up to the closing one; depth of brackets: 0 again after a
    blank line; place in the line: characters since its begin; indentation: columns of white space
    at the line's begin, as far as they are read; capitals: 1 at a capital; time since a blank line:
    ln(1 + characters), for a state that is bounded cannot tell thousands apart.
    """
    quotes = np.zeros(len(text))
    for match in _QUOTES.finditer(text):
        quotes[match.start() : match.end() - 1] = 1
    rows = []
    depth = place = indent = waited = 0
    blank = True  # so far the line has white space alone
    for character in text:
        place, waited = place + 1, waited + 1
        depth = max(0, depth + _DEPTH.get(character, 0))
        if character == "\n":
            if blank:
                depth = waited = 0
            place, indent, blank = 0, 0, True
        elif blank and character in " \t":
            indent += 1 if character == " " else _TAB - indent % _TAB
        else:
            blank = False
        rows.append((depth, place, indent, character.isupper(), waited))
    depths, places, indents, capitals, since = np.array(rows, np.float64).reshape(-1, 5).T
    return {
        "inside quotes": quotes,
        "depth of brackets": depths,
        "place in the line": places,
        "indentation": indents,
        "capitals": capitals,
        "time since a blank line": np.log1p(since),
    }
