"""The keys, the kinds of tune and their figures, from which make_tunes.py composes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """A scale and the chords that go with it, all counted from the tonic."""

    scale: tuple[int, ...]  # semitones above the tonic
    dominant: int  # degree of the chord of a half cadence
    chords: tuple[int, ...]  # degrees of the other chords; the tonic has degree 0


MAJOR = Mode((0, 2, 4, 5, 7, 9, 11), 4, (0, 3, 3, 4, 5, 1))
MINOR = Mode((0, 2, 3, 5, 7, 8, 10), 4, (0, 3, 5, 6, 6, 2))
DORIAN = Mode((0, 2, 3, 5, 7, 9, 10), 6, (0, 6, 6, 3, 2))
MIXOLYDIAN = Mode((0, 2, 4, 5, 7, 9, 10), 6, (0, 6, 3, 3, 4))
KEYS = {  # mode, pitch of the tonic
    "C": (MAJOR, 0),
    "D": (MAJOR, 1),
    "F": (MAJOR, 3),
    "G": (MAJOR, 4),
    "A": (MAJOR, 5),
    "Dm": (MINOR, 1),
    "Em": (MINOR, 2),
    "Am": (MINOR, 5),
    "Edor": (DORIAN, 2),
    "Ador": (DORIAN, 5),
    "Dmix": (MIXOLYDIAN, 1),
    "Amix": (MIXOLYDIAN, 5),
}


@dataclass(frozen=True)
class Genre:
    """A kind of tune: how many there are, and what they are made from."""

    name: str
    count: int
    metre: str
    groups: tuple[int, ...]  # lengths in eighths
    keys: str
    pickups: tuple[int, ...]  # lengths in eighths, to choose from
    figures: str  # divided by commas
    swung: bool = False  # pairs of eighths are dotted


# A note of a figure is STEP or STEP:LENGTH in eighths. A step counts letters from the first note
# of the figure, or chord tones after a `c`; `t` marks the notes of a triplet.
JIG = """0 1 2, 0 -1 -2, 0 1 0, 0 -1 0, 0 c1 0, 0 c-1 0, 0 c1 c2, 0 c-1 c-2, 0:2 1, 0:2 -1, 0:2 c1,
0:2 c-1, 0 c-1 c-1, 0 c1 c1, 0 2 1, 0 -2 -1, 0:3, 0 1:1/2 0:1/2 -1, 0:3/2 1:1/2 2"""
REEL = """0 1 2 3, 0 -1 -2 -3, 0 1 0 -1, 0 -1 0 1, 0 c-1 0 1, 0 c1 0 -1, 0 c1 c2 c1, 0 1 2 0,
0 c-1 -1 c-1, 0 0 c1 0, 0 2 1 0, 0:2 c1 0, 0:2 c-1 0, 0:2 1 2, 0:3 1, 0 c1 1 -1, 0 c-1 c-2 c-1,
0 1 t2 t1 t0, t0 t1 t2 c2 c1"""
HORNPIPE = """0 1 2 3, 0 -1 -2 -3, 0 c1 c2 c1, 0 c-1 c-2 c-1, 0 1 2 0, 0 c1 0 -1, 0 c-1 0 1,
0 1 0 -1, 0:2 c1 0, 0:2 1 2, t0 t1 t2 c2 c1, t0 t-1 t-2 c-2 c-1, 0 -1 t0 t1 t2"""
POLKA = """0 1, 0 -1, 0 c1, 0 c-1, 0 0, 0:2, 0:3/2 1:1/2, 0:3/2 -1:1/2, 0 1:1/2 2:1/2,
0:1/2 1:1/2 2, 0:1/2 -1:1/2 -2, 0:1/2 1:1/2 0:1/2 -1:1/2, 0 c1:1/2 0:1/2"""
MARCH = """0:2 c1:2, 0:2 c-1:2, 0:3 1, 0:3 -1, 0:2 1:2, 0:2 -1:2, 0:2 0:2, 0:4, 0:2 1 2, 0:2 -1 -2,
0:3/2 0:1/2 c1:2, 0:3/2 1:1/2 2:2, 0:3/2 -1:1/2 -2:2, 0:2 1:3/2 0:1/2, 0:3/2 1:1/2 0:3/2 -1:1/2"""
WALTZ = """0:4 1:2, 0:4 -1:2, 0:4 c1:2, 0:4 c-1:2, 0:2 1:2 2:2, 0:2 -1:2 -2:2, 0:2 c1:2 c2:2,
0:2 c1:2 1:2, 0:2 1:2 -1:2, 0:2 c-1:2 0:2, 0:3 1 0:2, 0:3 1 2:2, 0:3 -1 -2:2, 0:2 1 0 -1:2,
0:2 1 2 c2:2, 0:2 0:2 1:2, 0:6"""
AIR = """0:2 1:2, 0:2 -1:2, 0:2 c1:2, 0:2 c-1:2, 0:3 1, 0:3 -1, 0:4, 0:2 1 2, 0:2 -1 -2, 0 1 2:2,
0:2 1 0, 0 -1 -2:2, 0:3 c1"""
GENRES = (
    Genre("jig", 76, "6/8", (3, 3), "G G D D A C Em Em Am Ador Edor Dmix Amix", (0, 0, 1), JIG),
    Genre("slip jig", 16, "9/8", (3, 3, 3), "G D Em Edor Ador Dmix", (0, 0, 1), JIG),
    Genre("reel", 72, "4/4", (4, 4), "G G D D A A C Em Edor Ador Dmix Amix Dm", (0, 0, 1, 2), REEL),
    Genre("hornpipe", 22, "4/4", (4, 4), "G D A C F", (0, 2), HORNPIPE, swung=True),
    Genre("polka", 36, "2/4", (2, 2), "G D A C F Am Dm Em", (0, 0, 1), POLKA),
    Genre("march", 28, "4/4", (4, 4), "G D A C F Am Amix Dm", (0, 2), MARCH, swung=True),
    Genre("waltz", 46, "3/4", (6,), "G D A C F F Am Em Dm", (0, 2), WALTZ),
    Genre("air", 24, "4/4", (4, 4), "G D C F Am Em Dm Dmix Ador", (0, 2), AIR),
)
