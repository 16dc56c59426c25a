"""The report opened from the disk in a real browser, with the network off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser

from textgen.cli.app import app

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
# the ratio of luminances of text and ground: WCAG 2.2, "contrast ratio"
CONTRAST = """
(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return parts(colour)[3] === 0 ? ground(element.parentElement) : colour;
  };
  const found = [...document.querySelectorAll('p, td, th, dt, dd, span, polyline, h1, h2, h3')]
    .filter(element => element.getClientRects().length).map(element => {
      const pair = [getComputedStyle(element).color, ground(element)];
      const [high, low] = pair.map(parts).map(luminance).sort((a, b) => b - a);
      return (high + 0.05) / (low + 0.05);
    });
  return Math.min(...found);
})()
"""


def test_it_reads_well_in_light_in_dark_and_on_a_phone(
    trained: Path, lines: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    app(["report", str(trained), str(lines), "-o", str(page)], standalone_mode=False)
    with Browser(tmp_path / "browser") as browser:
        browser.open(page)
        grounds = set()
        for dark in (False, True):
            for width in (400, 1000):
                browser.look(width, dark)
                ground = browser.value("getComputedStyle(document.body).backgroundColor")
                grounds.add(ground)
                assert browser.value("document.documentElement.scrollWidth") <= width
                assert browser.value(CONTRAST) > 4.5
                boxes = json.loads(
                    browser.value(
                        "JSON.stringify([...document.querySelectorAll('.charts svg')]"
                        ".map(svg => svg.getBoundingClientRect()))"
                    )
                )
                assert len(boxes) == 3 + 2
                assert all(box["width"] > 250 and box["right"] <= width for box in boxes)
        assert len(grounds) == 2
        assert browser.problems == []
        assert browser.requests == [page.as_uri()]
