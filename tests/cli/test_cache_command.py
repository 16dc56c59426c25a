from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import prose

from textgen.cli.app import app
from textgen.config import Choices, CorpusConfig
from textgen.errors import UsageError
from textgen.text import cache, corpus


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    app(list(words), standalone_mode=False)
    return capsys.readouterr()


def test_what_is_kept_is_listed_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    assert run(capsys, "cache") == ("", f"nothing is kept in {tmp_path / 'cache'}\n")
    monkeypatch.setattr(corpus, "WORTH", 0.0)
    monkeypatch.setattr(cache, "AT_REST", -1.0)
    path = tmp_path / "a.txt"
    path.write_text(prose(3000))
    corpus.read_corpus(CorpusConfig.of(Choices(), (str(path),), None))
    header, line = run(capsys, "cache", "ls")[0].splitlines()
    assert header.split() == ["BYTES", "CHARACTERS", "USED", "TEXT"]
    assert line.split()[1] == "3,000"
    assert line.endswith(str(path))
    entry = json.loads(run(capsys, "cache", "ls", "--json")[0])
    assert (entry["files"], entry["characters"]) == ([str(path)], 3000)
    assert Path(entry["path"]).is_dir()
    with pytest.raises(UsageError, match="--json lists"):
        run(capsys, "cache", "clear", "--json")
    assert run(capsys, "cache", "clear")[1].startswith("freed 3.")
    assert list((tmp_path / "cache").iterdir()) == []
