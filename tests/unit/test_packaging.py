"""What is installed: every library is declared and pinned, and heavy ones load only where needed."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipelines", "storage", "workers", "console", "migrations")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = ("torch", "torchvision", "transformers", "tokenizers", "faiss", "sklearn", "scipy")


def name_of(requirement: str) -> str:
    return canonical(re.split(r"[\[<>=!~ ]", requirement)[0])


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    lists = [PROJECT["project"]["dependencies"]]
    lists += [PROJECT["project"]["optional-dependencies"][extra] for extra in extras]
    return {name_of(requirement) for requirements in lists for requirement in requirements}


def imported_by(folders: tuple[str, ...]) -> dict[str, Path]:
    """Top-level names of all that is imported, here or inside functions, and a file that does."""
    found: dict[str, Path] = {}
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0]: file for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found[node.module.partition(".")[0]] = file
    return {name: file for name, file in found.items() if name not in sys.stdlib_module_names}


def test_every_library_that_the_packages_import_is_declared() -> None:
    known = declared("cpu", "gpu", "models")
    distributions = packages_distributions()
    for name, file in imported_by(PACKAGES).items():
        if name not in PACKAGES:
            assert {canonical(each) for each in distributions.get(name, [name])} & known, f"{name} in {file}"


def test_every_library_that_tests_import_is_declared() -> None:
    known = declared("cpu", "gpu", "models", "dev")
    distributions = packages_distributions()
    for name, file in imported_by(("tests", "benchmarks")).items():
        if name not in (*PACKAGES, "tests", "benchmarks"):
            assert {canonical(each) for each in distributions.get(name, [name])} & known, f"{name} in {file}"


def test_every_direct_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {name_of(line): line for line in lines if line and not line.startswith("#")}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pinned.values())
    assert declared("cpu", "gpu", "models", "dev") - {"triadline"} - set(pinned) == set()


def test_the_two_builds_of_faiss_are_never_installed_together() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    for name, requirements in extras.items():
        builds = [each for each in requirements if name_of(each) in ("faiss-cpu", "faiss-gpu")]
        assert len(builds) == (1 if name in ("cpu", "gpu") else 0), name


@pytest.mark.parametrize(
    "module",
    [
        "workers.cli",
        "workers.planner",
        "workers.tasks",
        "workers.products",
        "pipelines.localize.experts",
        "pipelines.triad.manifest",
        "storage.*",
        "console.*",
    ],
)
def test_who_plans_stores_or_shows_starts_without_models(module: str) -> None:
    package, _, rest = module.partition(".")
    names = [module]
    if rest == "*":
        names = [
            f"{package}.{file.stem}" for file in (ROOT / package).glob("*.py") if file.stem != "__init__"
        ]
        assert names
    imports = "".join(f"import {name}\n" for name in names)
    program = f"{imports}import sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
