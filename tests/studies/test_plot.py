from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import prose, train

import textgen
from textgen.cli.app import app
from textgen.errors import RunError, TextgenError, UsageError
from textgen.sharing.export import export
from textgen.store.checkpoint import read_header, write_checkpoint
from textgen.store.contents import read_weights
from textgen.studies.curves import AXES, curve, unit_of
from textgen.studies.plot import draw

SVG = "{http://www.w3.org/2000/svg}"


def plot(*words: object) -> None:
    app(["plot", *map(str, words)], standalone_mode=False)


def drawn_lines(picture: bytes) -> list[np.ndarray]:
    """The points of the lines inside the panels, in the order in which they were drawn."""
    lines = []
    for path in ElementTree.fromstring(picture).iter(f"{SVG}path"):
        if "clip-path" in path.attrib and "stroke: #b0b0b0" not in path.attrib["style"]:
            points = re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.attrib["d"])
            lines.append(np.array(points, float))
    return lines


def test_lines_are_the_losses_but_for_a_scale(trained: Path) -> None:
    one = curve(str(trained), trained.parent)
    history = one.record.history
    more = tuple(
        replace(history[-1], step=step, characters=8 * step**2, seconds=step**0.5, **losses)
        for step, losses in (
            (100, {"train_nats": 2.0, "val_nats": 2.5}),
            (200, {"train_nats": 1.0, "val_nats": 1.5}),
        )
    )
    one = replace(one, record=replace(one.record, history=history + more))
    lines = drawn_lines(draw([one], [*AXES], ".svg"))
    assert len(lines) == 6  # two losses in three panels
    fields = [f for f in ("step", "characters", "seconds") for _ in range(2)]
    losses = ["train_nats", "val_nats"] * 3
    for line, field, loss in zip(lines, fields, losses, strict=True):
        for drawn, name in zip(line.T, (field, loss), strict=True):
            values = [getattr(event, name) for event in one.evaluations]
            scale, offset = np.polyfit(values, drawn, 1)
            np.testing.assert_allclose(drawn, np.array(values) * scale + offset, atol=0.01)
            assert (scale > 0) == (name == field)  # y grows downward in an SVG


def test_one_or_several_runs_as_svg_or_png(trained: Path, lines: Path, tmp_path: Path) -> None:
    plot(trained, lines, "-o", tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert ">tales<" in text
    assert ">words<" in text
    assert ">minutes of training<" in text
    assert len(drawn_lines(text.encode())) == 12
    plot(trained, "--against", "steps", "-o", tmp_path / "a.PNG")
    assert (tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG")
    plot("--checkpoints", trained.parent, "-o", tmp_path / "b.svg")  # the latest
    assert ">tales<" in (tmp_path / "b.svg").read_text()


def test_the_same_runs_are_the_same_bytes(trained: Path) -> None:
    one = curve(str(trained / "last.safetensors"), trained.parent)
    assert one.name == "tales"
    assert draw([one], ["time"], ".svg") == draw([one], ["time"], ".svg")


def test_what_is_drawn_names_no_folder_of_the_machine(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = textgen.load(trained)
    model.export(tmp_path / "weights.safetensors")
    assert curve(str(tmp_path / "weights.safetensors"), tmp_path).name == "weights"
    monkeypatch.chdir(trained)
    assert curve("last.safetensors", tmp_path).name == "tales"


def test_a_name_is_shown_as_it_is(trained: Path) -> None:
    one = replace(curve(str(trained), trained.parent), name="_a$b$ <i> 狐")
    assert ">_a$b$ &lt;i&gt; 狐<" in draw([one], ["steps"], ".svg").decode()


def test_only_an_earlier_plot_is_replaced(trained: Path, tmp_path: Path) -> None:
    for name in ("a.svg", "a.png"):
        plot(trained, "-o", tmp_path / name)
        plot(trained, "-o", tmp_path / name, "--against", "time")
    for name in ("mine.svg", "mine.png"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(RunError, match="it is no plot"):
            plot(trained, "-o", tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"
    (tmp_path / "link.svg").symlink_to(tmp_path / "a.svg")
    with pytest.raises(RunError, match="it is a symbolic link"):
        plot(trained, "-o", tmp_path / "link.svg")
    with pytest.raises(RunError, match="which is no folder"):
        plot(trained, "-o", tmp_path / "none" / "a.svg")
    with pytest.raises(UsageError, match=r"ends in '.pdf'; expected .svg or .png"):
        plot(trained, "-o", tmp_path / "a.pdf")


def test_a_run_without_a_loss_and_a_machine_without_matplotlib(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot(trained, "-o", tmp_path / "a.svg")
    header = read_header(trained / "last.safetensors")
    empty = replace(header, record=replace(header.record, history=()))
    with monkeypatch.context() as patch:
        patch.setattr("textgen.studies.curves.read_header", lambda _: empty)
        with pytest.raises(RunError, match="was not validated yet"):
            plot(trained, "-o", tmp_path / "a.svg")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(TextgenError, match="matplotlib, which is not installed") as caught:
        plot(trained, "-o", tmp_path / "a.svg")
    assert "textgen-lstm[plot]" in caught.value.hint


def test_a_picture_that_mentions_plots_is_not_replaced(trained: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.svg"
    mine.write_text("<svg><!-- notes on textgen plot --></svg>")
    with pytest.raises(RunError, match="it is no plot"):
        plot(trained, "-o", mine)
    for name in ("a.svg", "a.png"):
        plot(trained, "-o", tmp_path / name)
        plot(trained, "-o", tmp_path / name)


def test_hints_of_a_run_without_a_loss_name_it(trained: Path, tmp_path: Path) -> None:
    header = read_header(trained / "last.safetensors")
    run = tmp_path / "runs" / "a b"
    run.mkdir(parents=True)
    weights = {"model": read_weights(header)}
    write_checkpoint(run / "last.safetensors", replace(header.record, history=()), weights)
    with pytest.raises(RunError) as error:
        plot(run, "-o", tmp_path / "a.svg")
    assert error.value.hint == f"train on: textgen resume 'a b' --checkpoints {run.parent}"
    export(read_header(run / "last.safetensors"), tmp_path / "w.safetensors")
    with pytest.raises(RunError, match="was exported without losses") as error:
        plot(tmp_path / "w.safetensors", "-o", tmp_path / "a.svg")
    assert "resume" not in error.value.hint


def test_losses_are_per_what_the_runs_model(trained: Path, tmp_path: Path) -> None:
    text = tmp_path / "b.txt"
    text.write_text(prose(1000))
    train(text, tmp_path, steps=1, level="byte")
    one, other = (curve(str(run), tmp_path) for run in (trained, tmp_path / "b"))
    units = [unit_of(curves) for curves in ([one], [other], [other, one])]
    assert units == ["character", "byte", "character, or byte"]
    assert b"nats per byte" in draw([other], ["steps"], ".svg")
