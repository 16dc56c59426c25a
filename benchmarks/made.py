"""Texts made by rule, for the kinds of which no file is at hand: names, a log, tunes, markup.

Each is a function of its seed alone, so that every machine measures the same characters.
"""

import random
from collections.abc import Callable, Iterator

ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr r s sh sk st t th tr v w y z".split()
VOWELS = "a a a e e e i i o o u ae ai ea ee ie ou".split()
CODAS = ["", "", "", *"l m n n r r s t ck nd ng rt st".split()]
KEYS = ("C", "G", "D", "A", "F", "Am", "Em", "Dm", "Ador", "Edor", "Gmix")
SCALE = "C D E F G A B c d e f g a b".split()
RHYTHMS = {"6/8": (3, 3), "4/4": (4, 4), "3/4": (2, 2, 2), "9/8": (3, 3, 3)}
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64)",
    "Mozilla/5.0 (Windows NT 10.0)",
    "curl/8.5.0",
    "bot/2.1",
)
STATUS = (200, 200, 200, 200, 200, 304, 304, 301, 404, 500)


def word(rng: random.Random, longest: int = 3) -> str:
    syllables = rng.choices(range(1, longest + 1), weights=range(longest, 0, -1))[0]
    made = (rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(syllables))
    return "".join(made) + rng.choice(CODAS)


def words(rng: random.Random, number: int) -> Callable[[], str]:
    """Draws from so many words, the n-th with a weight of 1/n (Zipf)."""
    known = [word(rng) for _ in range(number)]
    weights = [1 / n for n in range(1, number + 1)]
    return lambda: rng.choices(known, weights)[0]


def names(rng: random.Random) -> Iterator[str]:
    families = [
        word(rng).capitalize() + rng.choice(("", "", "son", "er", "mann", "ov"))
        for _ in range(4000)
    ]
    while True:
        yield f"{word(rng).capitalize()} {rng.choice(families)}\n"


def log(rng: random.Random) -> Iterator[str]:
    draw, second = words(rng, 300), 0.0
    paths = ["/" + "/".join(draw() for _ in range(rng.randint(1, 4))) for _ in range(400)]
    hosts = [".".join(str(rng.randint(1, 254)) for _ in range(4)) for _ in range(300)]
    while True:
        second += rng.expovariate(1.5)
        day, rest = divmod(int(second), 86400)
        hour, minute = divmod(rest // 60, 60)
        when = f"{1 + day:02}/Mar/2026:{hour:02}:{minute:02}:{rest % 60:02} +0000"
        path = paths[min(399, int(rng.paretovariate(0.7)) - 1)]
        status = rng.choice(STATUS)
        size = 0 if status == 304 else int(rng.lognormvariate(8, 1.5))
        method = "POST" if rng.random() < 0.1 else "GET"
        host, agent = rng.choice(hosts), rng.choice(AGENTS)
        yield f'{host} - - [{when}] "{method} {path} HTTP/1.1" {status} {size} "{agent}"\n'


def tunes(rng: random.Random) -> Iterator[str]:
    draw = words(rng, 600)
    for number in range(1, 1 << 30):
        meter = rng.choice((*RHYTHMS,))
        title = " ".join(draw().capitalize() for _ in range(rng.randint(1, 3)))
        yield f"X:{number}\nT:The {title}\nM:{meter}\nL:1/8\nK:{rng.choice(KEYS)}\n"
        for _ in range(2):
            place, motif = rng.randrange(4, 9), [_bar(rng, meter) for _ in range(2)]
            bars = []
            for n in range(8):
                place = max(2, min(11, place + rng.choice((-2, -1, 0, 0, 1, 2))))
                steps = motif[n % 2] if n not in (3, 7) else _bar(rng, meter)
                bars.append(_notes(place, steps))
            yield f"|: {' | '.join(bars[:4])} |\n{' | '.join(bars[4:])} :|\n"
        yield "\n"


def _bar(rng: random.Random, meter: str) -> list[list[tuple[int, int]]]:
    """For each beat its notes: steps of the scale from where the bar begins, and eighths."""
    beats = []
    for eighths in RHYTHMS[meter]:
        left, beat = eighths, []
        while left:
            length = rng.choice((1, 1, 1, 2))
            beat.append((rng.choice((-2, -1, -1, 0, 1, 1, 2, 3)), min(left, length)))
            left -= beat[-1][1]
        beats.append(beat)
    return beats


def _notes(place: int, beats: list[list[tuple[int, int]]]) -> str:
    def note(step: int, eighths: int) -> str:
        name = SCALE[max(0, min(13, place + step))]
        return name if eighths == 1 else f"{name}{eighths}"

    return " ".join("".join(note(*one) for one in beat) for beat in beats)


def markup(rng: random.Random) -> Iterator[str]:
    draw = words(rng, 2000)

    def sentence() -> str:
        parts = [draw() for _ in range(rng.randint(4, 14))]
        if rng.random() < 0.3:
            at = rng.randrange(len(parts))
            parts[at] = f'<a href="/{draw()}.html">{parts[at]}</a>'
        if rng.random() < 0.2:
            at = rng.randrange(len(parts))
            parts[at] = f"<em>{parts[at]}</em>"
        return " ".join(parts).capitalize() + "."

    def block(depth: int) -> Iterator[str]:
        pad = "  " * depth
        kind = rng.choice(("p", "p", "p", "ul", "table", "div")) if depth < 5 else "p"
        if kind == "p":
            yield f"{pad}<p>{' '.join(sentence() for _ in range(rng.randint(1, 3)))}</p>\n"
        elif kind == "ul":
            items = (f"{pad}  <li>{sentence()}</li>\n" for _ in range(rng.randint(2, 5)))
            yield f"{pad}<ul>\n{''.join(items)}{pad}</ul>\n"
        elif kind == "table":
            columns = rng.randint(2, 4)
            yield f'{pad}<table class="{draw()}">\n'
            for _ in range(rng.randint(2, 5)):
                cells = "".join(
                    f"<td>{rng.choice((draw(), str(rng.randint(1, 9999))))}</td>"
                    for _ in range(columns)
                )
                yield f"{pad}  <tr>{cells}</tr>\n"
            yield f"{pad}</table>\n"
        else:
            yield f'{pad}<div id="{draw()}-{rng.randint(1, 99)}" class="{draw()}">\n'
            for _ in range(rng.randint(1, 4)):
                yield from block(depth + 1)
            yield f"{pad}</div>\n"

    while True:
        yield f"<section>\n  <h2>{draw().capitalize()} {draw()}</h2>\n"
        for _ in range(rng.randint(2, 6)):
            yield from block(1)
        yield "</section>\n"


KINDS = {"names": names, "log": log, "tunes": tunes, "markup": markup}


def made(kind: str, characters: int = 800_000) -> str:
    """So many characters of a kind, its last line cut where they end."""
    parts, size = [], 0
    for part in KINDS[kind](random.Random(f"textgen {kind}")):
        parts.append(part)
        size += len(part)
        if size >= characters:
            return "".join(parts)[:characters]
    raise AssertionError("the texts have no end")
