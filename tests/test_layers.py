"""The house: which room may import which, and how large a room's things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import textgen

PACKAGE = Path(textgen.__file__).parent
FILES = sorted(p for p in PACKAGE.rglob("*.py"))
# from the ground up; a room imports only from itself and from rooms before it
ROOMS = ["errors", "bounds", "config", "architecture", "events"]
ROOMS += ["text", "store", "model", "sharing", "inference", "serving", "training", "studies"]
ROOMS += ["", "cli"]
GROUND = {"errors", "bounds", "config", "architecture", "events"}
LONGEST_FILE = 300  # lines
LONGEST_FUNCTION = 60  # lines, flag signatures excepted
MOST_POSITIONAL = 5  # arguments of a call


def room_of(path: Path) -> str:
    """`text` for textgen/text/corpus.py, `errors` for textgen/errors.py, '' for the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return {"__init__": "", "__main__": "cli"}.get(parts[0], parts[0])


def imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """The modules that a file imports; with lazy=False only those it imports at once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not lazy and id(node) in late:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from found if node.module in ("textgen", "textgen.cli") else [str(node.module)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_before_it(path: Path) -> None:
    above = ROOMS.index(room_of(path))
    for name in imports(path):
        if name == "textgen" or name.startswith("textgen."):
            room = [*name.split("."), ""][1]
            room = room if room in ROOMS else ""  # textgen.train, textgen.__version__
            assert ROOMS.index(room) <= above, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_library_does_without_the_command_lines_libraries(path: Path) -> None:
    if room_of(path) != "cli":
        assert not {"typer", "rich", "click"} & {name.split(".")[0] for name in imports(path)}


def test_the_ground_is_the_standard_library_alone() -> None:
    for room in GROUND:
        for name in imports(PACKAGE / f"{room}.py"):
            assert name.split(".")[0] in {*sys.stdlib_module_names, "textgen"}


def test_no_command_imports_torch_or_numpy_before_it_computes() -> None:
    reached, ahead = set(), [PACKAGE / "cli" / "app.py"]
    while ahead:
        path = ahead.pop()
        reached.add(path)
        for name in imports(path, lazy=False):
            assert name.split(".")[0] not in ("torch", "numpy", "safetensors"), f"{path}: {name}"
            if name.startswith("textgen"):
                base = PACKAGE.joinpath(*name.split(".")[1:])
                files = {base.with_suffix(".py"), base / "__init__.py"}
                ahead += [f for f in files if f.exists() and f not in reached]
    assert PACKAGE / "cli" / "info.py" in reached


def test_the_light_commands_leave_torch_and_numpy_alone(trained: Path) -> None:
    program = (
        "import sys; sys.argv = ['textgen', *sys.argv[1:]]\n"
        "from textgen.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code in (None, 0, 2), end.code\n"
        "print(*{'torch', 'numpy'} & {*sys.modules}, file=sys.stderr)"
    )
    asked = ["info", str(trained)], ["ls", "--checkpoints", str(trained.parent)]
    for arguments in (*asked, ["--version"], ["--help"], ["train", "-h"], []):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stderr == "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_functions_and_calls_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            flags = room_of(path) == "cli" and len(node.args.args) > 5
            begin = node.body[0].lineno if flags else node.lineno
            assert (node.end_lineno or 0) - begin < LONGEST_FUNCTION, node.name
        if isinstance(node, ast.Call):
            assert len(node.args) <= MOST_POSITIONAL, ast.unparse(node)


def test_the_modules_that_the_documents_name_are_there_when_asked_for() -> None:
    program = (
        "import sys, textgen\n"
        "assert not {'textgen.config', 'textgen.events', 'torch'} & {*sys.modules}\n"
        "textgen.config.SamplingOptions, textgen.events.Evaluated, textgen.studies\n"
        "print(hasattr(textgen, 'nothing'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert (PACKAGE / "py.typed").exists()
