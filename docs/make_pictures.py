"""Make the pictures in docs/pictures from a real run: python docs/make_pictures.py

It trains a small model on the bundled fables for a minute or two, in a temporary folder, by steps,
so that the losses are the same on a busy machine. It needs the extra `dev` and Chromium.
"""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

import textgen
from textgen.cli.display import _Panel
from textgen.events import Stepped

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
SMALL = {"hidden": (128, 128), "batch_size": 32, "bptt": 32, "precision": "fp32"}
OFTEN = {"steps": 1000, "eval_every": 50, "sample_every": 250}
SHOWN = 0.7  # share of the steps after which the live display is drawn
SECTION, WIDTH, HEIGHT = "Memory", 900, 1000  # of the report: from which heading, pixels
FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # rich names fonts of another site


def trained(checkpoints: Path) -> str:
    """Train a run there; its live display as an SVG."""
    console = Console(file=io.StringIO(), force_terminal=True, record=True, width=80, height=24)
    panel, picture = _Panel(console), ""
    for event in textgen.train(checkpoints=checkpoints, run="fables", **SMALL, **OFTEN):
        panel.show(event)
        if isinstance(event, Stepped) and event.step >= SHOWN * event.steps and not picture:
            console.print(panel.frame())
            picture = FONT.sub("", console.export_svg(title="textgen train"))
    return picture.replace(str(checkpoints), "checkpoints")


def photographed(report: Path, folder: Path) -> bytes:
    """A part of a report as a PNG."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import Browser

    with Browser(folder) as browser:
        browser.open(report)
        browser.look(WIDTH)
        heading = f"[...document.querySelectorAll('h3')].find(h => h.textContent === '{SECTION}')"
        top = browser.value(f"{heading}.getBoundingClientRect().top + window.scrollY") - 16
        clip = {"x": 0, "y": top, "width": WIDTH, "height": HEIGHT, "scale": 1}
        taken = browser.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    return base64.b64decode(taken["data"])


def command(*words: object) -> None:
    """Run textgen."""
    subprocess.run([sys.executable, "-m", "textgen", *map(str, words)], cwd=ROOT, check=True)


def main() -> None:
    """Train, and write the three pictures."""
    PICTURES.mkdir(exist_ok=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (PICTURES / "live.svg").write_text(trained(folder), encoding="utf-8")
        command("plot", folder / "fables", "-o", PICTURES / "loss.svg")
        command("report", folder / "fables", "-o", folder / "report.html")
        photo = photographed(folder / "report.html", folder / "browser")
        (PICTURES / "report.png").write_bytes(photo)


if __name__ == "__main__":
    main()
