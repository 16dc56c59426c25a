"""How large the page of a run is, how soon it is ready, and how fast it writes in Chromium.

    python benchmarks/page.py RUN --precision int8 --rounds 5

Opened from the disk in a headless Chromium with the network off, as in the tests. Ready is when its
button can be pressed; the rate is that of the page's own clock.
"""

import argparse
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from browser import Browser

import textgen
from textgen.store.run import usual_folder
from textgen.store.runs import find_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--precision", default="int8", help="of the weights: int8, fp16, fp32")
    parser.add_argument("--length", type=int, default=4000, help="characters of a text")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Browser(Path(name) / "browser") as browser:
        page = Path(name) / "page.html"
        textgen.load(find_checkpoint(options.run, usual_folder())).export(
            page, precision=options.precision
        )
        print(f"{page.stat().st_size / 1e6:.2f} MB")
        ready, rates = [], []
        for _ in range(options.rounds):
            began = time.monotonic()
            browser.open(page)
            browser.wait("!document.getElementById('write').disabled")
            ready.append(time.monotonic() - began)
            browser.value(f"document.getElementById('length').value = {options.length}")
            browser.value("document.getElementById('write').click()")
            browser.wait("document.getElementById('write').textContent !== 'Stop'")
            said = browser.value("document.getElementById('status').textContent")
            rates.append(float(re.search(r"(\d+) per second", said)[1]))
        for what, values, form in (
            ("ready, s", ready, ".2f"),
            ("characters per second", rates, ",.0f"),
        ):
            low, middle, high = (format(f(values), form) for f in (min, statistics.median, max))
            print(f"{what}: {middle} ({low} to {high})")


if __name__ == "__main__":
    main()
