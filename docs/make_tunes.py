"""Composes corpora/tunes.abc: run `python docs/make_tunes.py` after a change.

A tune has two or three strains of eight bars. Each bar has one chord, or a chord for each of its
groups of notes. A group is a figure: a short pattern in steps of the scale and of the chord, which
begins on a chord tone. The bars of a strain follow a form of letters; the same letter is the same
bar, so that a strain has a motif, returns to it, and ends on the tonic.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from tune_genres import GENRES, KEYS, MINOR, Genre

FILE = Path(__file__).parents[1] / "corpora" / "tunes.abc"
SEED = 1
HALF, TRIPLET = Fraction(1, 2), Fraction(2, 3)

# A pitch is a number of letters above middle C, so the key's signature does the sharps and flats.
Note = tuple[int, Fraction]  # pitch, length in eighths
Bar = list[list[Note]]  # one list for each group


# `-` is the bar before it, a step or two higher or lower; `z` the cadence
FORMS = "abacabdz abcdabez a-bca-dz abcdaefz abacdbez a-bcddez abcdefbz abacdefz".split()
LEAP_COST = (1.0, 0.0, 0.3, 1.2, 1.5, 2.4, 4.0, 2.6)  # by steps between two groups; more: 8


def read(figure: str) -> list[tuple[bool, int, Fraction]]:
    """The notes of a figure: whether it counts chord tones, the step, the length in eighths."""
    notes = []
    for note in figure.split():
        step, _, length = note.partition(":")
        eighths = TRIPLET if step.startswith("t") else Fraction(length or 1)
        notes.append((step.startswith("c"), int(step.lstrip("ct")), eighths))
    return notes


class Composer:
    """Writes the strains of one tune: a key, a genre and a few of the genre's figures."""

    def __init__(self, rng: random.Random, genre: Genre) -> None:
        self.rng, self.genre = rng, genre
        self.key = rng.choice(genre.keys.split())
        self.mode, self.tonic = KEYS[self.key]
        self.low, self.high = max(self.tonic - 4, -3), min(self.tonic + 9, 13)
        figures = [figure.strip() for figure in genre.figures.split(",")]
        self.figures = [read(figure) for figure in rng.sample(figures, 8)]
        self.raised = self.mode is MINOR and rng.random() < 0.6  # the seventh degree at cadences
        self.pickup = rng.choice(genre.pickups)
        self.known: dict[tuple[int, int], list[list[Note]]] = {}  # by chord and length

    def degree(self, pitch: int) -> int:
        return (pitch - self.tonic) % 7

    def chord_tones(self, chord: int) -> list[int]:
        tones = {chord, (chord + 2) % 7, (chord + 4) % 7}
        return [p for p in range(self.low - 7, self.high + 8) if self.degree(p) in tones]

    def semitones(self, pitch: int) -> int:
        octave, degree = divmod(pitch - self.tonic, 7)
        return 12 * octave + self.mode.scale[degree]

    def options(self, chord: int, length: int) -> list[list[Note]]:
        """Every figure of so many eighths from every tone of the chord that stays in range."""
        if (chord, length) in self.known:
            return self.known[chord, length]
        tones, found = self.chord_tones(chord), []
        for figure in self.figures:
            if sum(eighths for _, _, eighths in figure) == length:
                for at, first in enumerate(tones[3:-3], 3):
                    steps = (tones[at + n] if by_chord else first + n for by_chord, n, _ in figure)
                    notes = [(p, e) for p, (_, _, e) in zip(steps, figure, strict=True)]
                    if all(self.low <= pitch <= self.high for pitch, _ in notes):
                        found.append(notes)
        self.known[chord, length] = found
        return found

    def group(self, chord: int, length: int, before: int, centre: float) -> list[Note]:
        """A figure of so many eighths on a chord, near the note before and near the centre."""
        options = self.options(chord, length)
        weights = []
        for notes in options:
            leap = abs(notes[0][0] - before)
            far = sum(pitch for pitch, _ in notes) / len(notes) - centre
            cost = LEAP_COST[leap] if leap < len(LEAP_COST) else 8.0
            weights.append(math.exp(-cost - far**2 / 10))
        return self.rng.choices(options, weights)[0]

    def bar(self, chords: Iterable[int], before: int, centre: float) -> Bar:
        bar: Bar = []
        for chord, length in zip(chords, self.genre.groups, strict=True):
            bar.append(self.group(chord, length, before, centre))
            before = bar[-1][-1][0]
        return bar

    def cadence(self, before: int, centre: float) -> Bar:
        """The last bar: the dominant where there is room, then the tonic held."""
        *lead, last = self.genre.groups
        bar: Bar = []
        for length in lead:
            bar.append(self.group(self.mode.dominant, length, before, centre))
            before = bar[-1][-1][0]
        octaves = [p for p in (self.tonic, self.tonic + 7) if p <= self.high]
        final = min(octaves, key=lambda p: abs(p - before))
        return [*bar, [(final, Fraction(last - self.pickup))]]

    def sequence(self, bar: Bar) -> Bar:
        """The bar, a step or two higher or lower where that stays in range."""
        pitches = [pitch for group in bar for pitch, _ in group]
        low, high = self.low - min(pitches), self.high - max(pitches)
        shift = self.rng.choice([n for n in (1, -1, 2, -2) if low <= n <= high])
        return [[(pitch + shift, eighths) for pitch, eighths in group] for group in bar]

    def draft(self, centre: float, opening: int, ending: list[Bar]) -> list[Bar]:
        """Eight bars that begin on the chord `opening`; their last are `ending` if it is given."""
        groups, mode = len(self.genre.groups), self.mode
        form = self.rng.choice(FORMS)
        chords = {letter: [self.rng.choice(mode.chords)] * groups for letter in form}
        chords["a"] = [opening] * groups
        chords[form[3]] = [*chords[form[3]][:-1], mode.dominant]
        chords[form[6]] = [self.rng.choice((3, mode.dominant))] * (groups - 1) + [mode.dominant]
        made: dict[str, Bar] = {}
        bars: list[Bar] = []
        for n, letter in enumerate(form[: 8 - len(ending)]):
            before = bars[-1][-1][-1][0] if bars else round(centre)
            arch = centre + 1.5 * math.sin(math.pi * (n % 4 + 0.5) / 4) - 0.75
            if letter == "-":
                bars.append(self.sequence(bars[-1]))
            elif letter == "z":
                bars.append(self.cadence(before, self.tonic + 1))
            else:
                made.setdefault(letter, self.bar(chords[letter], before, arch))
                bars.append(made[letter])
        return bars + ending

    def faults(self, bars: list[Bar]) -> float:
        """How far eight bars are from a good strain; lower is better."""
        pitches = [pitch for bar in bars for group in bar for pitch, _ in group]
        leaps = [abs(b - a) for a, b in pairwise(pitches)]
        tritones = sum(
            abs(self.semitones(b) - self.semitones(a)) in (6, 10, 11) for a, b in pairwise(pitches)
        )
        wide, narrow = max(leaps) - 5, 6 - (max(pitches) - min(pitches))
        lead = abs(bars[-1][-1][0][0] - pitches[-2])  # into the last note
        held = sum(len(group) == 1 for bar in bars[:-1] for group in bar)
        still = leaps.count(0) / len(leaps)
        alike = sum(a == b for a, b in pairwise(bars))
        penalties = (3 * tritones, 2 * max(wide, 0), 2 * max(narrow, 0), 2 * max(lead - 2, 0))
        shape = pitches.count(max(pitches)) / 4
        return sum(penalties) + held + 8 * max(still - 0.15, 0) + 4 * alike + shape

    def strain(self, centre: float, opening: int, ending: list[Bar]) -> list[Bar]:
        drafts = [self.draft(centre, opening, ending) for _ in range(12)]
        return min(drafts, key=self.faults)

    def tune(self) -> list[list[Bar]]:
        """Two or three strains; the second lies higher, and often ends as the first does."""
        first = self.strain(self.tonic + 2.5, 0, [])
        ending = first[-2:] if self.rng.random() < 0.5 else []
        away = self.rng.choice(self.mode.chords)
        strains = [first, self.strain(self.tonic + 5.5, away, ending)]
        if self.genre.name in ("jig", "march") and self.rng.random() < 0.2:
            strains.append(self.strain(self.tonic + 4, self.rng.choice(self.mode.chords), []))
        return strains

    def name(self, pitch: int) -> str:
        """The pitch in ABC: `C,` below middle C, then `C`, then `c`, then `c'`."""
        octave, letter = divmod(pitch, 7)
        upper = "CDEFGAB"[letter]
        return (upper + "," * -octave) if octave < 1 else upper.lower() + "'" * (octave - 1)

    def spell_group(self, group: list[Note], accidentals: dict[int, str]) -> str:
        """The group in ABC; an accidental is written once, for it holds to the end of the bar."""
        text, place = "", Fraction(0)
        for n, (pitch, eighths) in enumerate(group):
            following = group[n + 1][1] if n + 1 < len(group) else None
            pair = (eighths, following)
            swung = self.genre.swung and pair == (1, 1) and place % 2 == 0
            mark = accidentals.pop(pitch, "")
            triplet = "(3" if eighths == TRIPLET and place % 2 == 0 else ""
            length = {HALF: "/", TRIPLET: "", Fraction(1): ""}.get(eighths, str(eighths))
            if swung or pair == (3 * HALF, HALF):
                length = ">"
            elif text.endswith(">") and eighths == HALF:
                length = ""
            text, place = text + triplet + mark + self.name(pitch) + length, place + eighths
        return text

    def spell(self, bar: Bar) -> str:
        degrees = {self.degree(pitch): pitch for group in bar for pitch, _ in group}
        raise_it = self.raised and 6 in degrees and 0 in degrees and 5 not in degrees
        sevenths = {p for group in bar for p, _ in group if self.degree(p) == 6}
        accidentals = dict.fromkeys(sevenths, "^") if raise_it else {}
        return " ".join(self.spell_group(group, accidentals) for group in bar)

    def spell_strain(self, bars: list[Bar]) -> str:
        """Two lines of four bars between repeat signs, after the pickup if there is one."""
        first = bars[0][0][0][0]
        steps = range(first - self.pickup, first)
        lead = [[(pitch, Fraction(1)) for pitch in steps]] if self.pickup else []
        spelt = [self.spell(bar) for bar in bars]
        pickup = f"{self.spell(lead)}|" if lead else ""
        return f"|:{pickup}{'|'.join(spelt[:4])}|\n{'|'.join(spelt[4:])}:|"


ANIMALS = """Badger Bear Beaver Bittern Blackbird Carp Cat Cockerel Cormorant Crane Cricket Crow
Cuckoo Curlew Donkey Dormouse Dove Drake Eel Fox Frog Goat Goose Hare Hedgehog Heron Jackdaw
Kingfisher Lamb Lark Magpie Mole Moth Mouse Newt Nightingale Otter Owl Ox Pike Rabbit Raven Robin
Rook Seal Shrew Snail Sparrow Squirrel Stag Starling Stoat Swallow Swan Thrush Toad Trout Vole Wasp
Weasel Wolf Wren""".split()
PLACES = """Barley Orchard Rushes Snow Clover Chimney Mill Hedge Churchyard Reeds Bracken Hayloft
Rain Moonlight Ivy Frost Furrow Woodpile Mist Thaw""".split()
THINGS = """Wedding Supper Morning Fancy Farewell Return Delight Journey Bargain Spring Summer
Autumn Winter Sunday Errand Harvest Holiday Answer Promise Doorstep""".split()
KINDS = "Old Grey Merry Idle Early Sleepy Proud Patient Wandering Frosty Last Hungry".split()
MONTHS = "March April May June July August September October November December".split()


def title(rng: random.Random, animal: str, genre: str) -> str:
    """A title of one of five kinds."""
    other = rng.choice([name for name in ANIMALS if name != animal])
    kinds = (
        f"The {animal} in the {rng.choice(PLACES)}",
        f"The {animal}'s {rng.choice([*THINGS, genre.title()])}",
        f"The {rng.choice(KINDS)} {animal}",
        f"The {animal} in {rng.choice(MONTHS)}",
        f"The {animal} and the {other}",
    )
    return rng.choice(kinds)


def tunes() -> Iterator[str]:
    """The tunes in ABC, each with its headers; no two share more than two bars."""
    rng = random.Random(SEED)
    genres = [genre for genre in GENRES for _ in range(genre.count)]
    rng.shuffle(genres)
    bars_before: list[set[str]] = []
    titles: set[str] = set()
    for number, genre in enumerate(genres, 1):
        alike = True
        while alike:
            composer = Composer(rng, genre)
            body = "\n".join(map(composer.spell_strain, composer.tune()))
            bars = {bar for bar in body.replace("\n", "").strip("|:").split("|") if len(bar) > 3}
            alike = any(len(bars & other) > 2 for other in bars_before)
        bars_before.append(bars)
        animal, name = ANIMALS[number % len(ANIMALS)], ""
        while not name or name in titles:
            name = title(rng, animal, genre.name)
        titles.add(name)
        headers = f"X:{number}\nT:{name}\nR:{genre.name}\nM:{genre.metre}\nL:1/8\nK:{composer.key}"
        yield f"{headers}\n{body}\n"


if __name__ == "__main__":
    FILE.write_text("\n".join(tunes()), encoding="utf-8")
