"""Every import runs downwards: a room uses what is on its own floor or below, never in a circle.

Imports inside functions and for type checkers count as any other.
"""

import ast
import graphlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the top down. A name stands for all modules below it that have no floor of their own.
FLOORS = {
    "commands": (
        "train",
        "sweep",
        "envs.__main__",
        "purejax_simba",
        "purejax_simba.__main__",
        "purejax_simba.commands",
        "purejax_simba.datasets.__main__",
        "purejax_simba.export",
        "purejax_simba.report.__main__",
    ),
    "sweep and report": ("purejax_simba.sweep", "purejax_simba.report"),
    "runs": (
        "purejax_simba.runs",
        "purejax_simba.loggers",
        "purejax_simba.datasets",
        "purejax_simba.videos",
    ),
    "program": (
        "purejax_simba.program",
        "purejax_simba.training",
        "purejax_simba.offline",
        "purejax_simba.run_state",
        "purejax_simba.division",
        "purejax_simba.evaluation",
        "purejax_simba.diagnostics",
        "purejax_simba.config",
        "purejax_simba.defaults",
        "purejax_simba.checks",
        "purejax_simba.names",
        "purejax_simba.trust",
    ),
    "agents and data": ("purejax_simba.agents", "purejax_simba.data"),
    "envs": ("envs",),
    "physics": ("envs.physics", "envs.host_call", "envs.cores", "envs.jax_internals"),
    "base": (
        "purejax_simba.aggregates",
        "purejax_simba.drawing",
        "purejax_simba.errors",
        "purejax_simba.files",
        "purejax_simba.precision",
        "purejax_simba.settings",
        "purejax_simba.stopping",
        "purejax_simba.waiting",
    ),
}
HEIGHTS = {name: height for height, names in enumerate(reversed(FLOORS.values())) for name in names}


def modules() -> dict[str, Path]:
    """All modules by name."""
    files = [ROOT / "train.py", ROOT / "sweep.py"]
    for folder in ("envs", "purejax_simba"):
        files += sorted((ROOT / folder).rglob("*.py"))
    found = {}
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def imports(source: str, known: set[str]) -> set[str]:
    """The known modules that a source imports anywhere, also by name in a string."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = names & known
            # What is taken from a package's face is an import of that face.
            found |= modules | ({node.module or ""} if names - modules else set())
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "find_spec"):
            found |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return found & known


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


IMPORTS = {name: imports(file.read_text(), set(MODULES)) for name, file in MODULES.items()}


def height(module: str) -> int:
    """How high the floor of a module is; the nearest name above it counts."""
    while module not in HEIGHTS:
        module, dot, _ = module.rpartition(".")
        assert dot, "a module without a floor"
    return HEIGHTS[module]


def test_every_module_has_a_floor_of_its_own():
    """A new module directly under `purejax_simba` is not a command by accident."""
    own = [name for name in MODULES if name.count(".") == 1 and name.startswith("purejax_simba.")]
    assert [name for name in own if name not in HEIGHTS] == []
    assert [name for name in HEIGHTS if name not in MODULES] == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards(module):
    upwards = [other for other in IMPORTS[module] if height(other) > height(module)]
    assert upwards == []


def test_there_is_no_circle():
    # A package's face and what it hands on are one room.
    graph = {name: {n for n in found if n != name} for name, found in IMPORTS.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_environments_know_nothing_of_agents():
    """But for the command, which can draw what a trained policy does."""
    for name, found in IMPORTS.items():
        if name.startswith("envs") and name != "envs.__main__":
            assert [other for other in found if not other.startswith("envs")] == [], name


def test_agents_are_told_all_that_they_need():
    """They know nothing of environments, replay, files or configurations."""
    base = ("precision", "settings", "errors")
    allowed = ("purejax_simba.agents", *(f"purejax_simba.{name}" for name in base))
    for name, found in IMPORTS.items():
        if name.startswith("purejax_simba.agents"):
            assert [other for other in found if not other.startswith(allowed)] == [], name


def test_training_imports_nothing_of_sweeps_and_reports():
    reached, waiting = set(), ["purejax_simba.commands.train"]
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting += IMPORTS[module] - reached
    assert [name for name in reached if name.startswith("purejax_simba.sweep")] == []
    assert [name for name in reached if name.startswith("purejax_simba.report")] == []


def test_no_module_has_the_name_of_one_of_python():
    names = {name.rpartition(".")[2] for name in MODULES} - {"__main__"}
    assert names & sys.stdlib_module_names == set()


def test_what_is_private_to_libraries_stands_in_one_room_each():
    rooms = {"jax": "envs.jax_internals", "mujoco.mjx": "envs.physics.corrections"}
    for name, file in MODULES.items():
        for library, room in rooms.items():
            is_used = re.search(rf"\b{re.escape(library)}(\._src| import _src)\b", file.read_text())
            assert not is_used or name.startswith(room), (name, library)


@pytest.mark.parametrize(
    "source",
    [
        "import envs.physics.mjx",
        "from envs.physics import mjx",
        "from envs.physics.mjx import anything",
        "def later():\n    from envs.physics.mjx import anything",
        "if TYPE_CHECKING:\n    import envs.physics.mjx",
        "importlib.import_module('envs.physics.mjx')",
    ],
)
def test_all_kinds_of_import_are_seen(source):
    known = {"envs", "envs.physics", "envs.physics.mjx"}
    assert "envs.physics.mjx" in imports(source, known)
