from __future__ import annotations

import shutil
import subprocess

import pytest

from textgen.errors import quoted

NAMES = ["plays", "two words", "-x", "it's", "$HOME", "a\nb", "tab\t\\", "caf\udce9", "é", "*", "~"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("name", NAMES)
def test_a_quoted_word_is_one_printable_line_that_a_shell_reads_back(name: str) -> None:
    typed = quoted(name)
    assert typed.isprintable()
    command = ["bash", "-c", f"printf %s {typed}"] if name[0] != "-" else ["printf", "%s", name]
    read = subprocess.run(command, capture_output=True, check=True).stdout
    assert read == name.encode("utf-8", "surrogateescape")


def test_a_word_that_no_file_can_be_named_is_quoted_too() -> None:
    assert quoted("\ud800") == "$'\\355\\240\\200'"
