"""The documents name what there is: commands, settings, columns, reasons, verbs and files."""

import re
from pathlib import Path

import pytest

from pipelines.errors import RejectReason

ROOT = Path(__file__).parents[2]
CLI = ROOT / "docs" / "cli.md"
_SKIPPED = {".venv", ".git", "node_modules", "build", "dist"}


def documents() -> list[Path]:
    files = [file for file in ROOT.rglob("*.md") if not _SKIPPED & set(file.relative_to(ROOT).parts)]
    assert len(files) > 5
    return sorted(files)


def of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def prose(file: Path) -> str:
    """The document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_every_command_is_documented() -> None:
    from typer.main import get_command

    from workers.cli import app

    text = CLI.read_text(encoding="utf-8")
    commands = leaves(get_command(app), ("triad",))
    assert len(commands) >= 9
    missing = [name for name in commands if not re.search(rf"`{name}[ `]", text)]
    assert not missing


def leaves(command: object, path: tuple[str, ...]) -> list[str]:
    """Every command that does something, by its whole name."""
    nested = getattr(command, "commands", None)
    if nested is None:
        return [" ".join(path)]
    return [name for key, child in nested.items() for name in leaves(child, (*path, key))]


def test_every_documented_command_exists() -> None:
    from typer.main import get_command

    from workers.cli import app

    commands = leaves(get_command(app), ("triad",))
    for file in documents():
        for words in re.findall(r"`triad ([a-z]+(?: [a-z]+)?)", file.read_text(encoding="utf-8")):
            parts = words.split()
            known = {f"triad {parts[0]}", f"triad {words}"} & set(commands)
            assert known or words == "is", f"{of(file)}: triad {words}"


def test_every_option_in_the_documents_exists() -> None:
    from typer.main import get_command

    from workers.cli import app

    known: set[str] = set()

    def collect(command: object) -> None:
        for parameter in getattr(command, "params", []):
            known.update(parameter.opts)
        for child in getattr(command, "commands", {}).values():
            collect(child)

    collect(get_command(app))
    for file in documents():
        for line in re.findall(r"triad [a-z]+ [^\n|]*", file.read_text(encoding="utf-8")):
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line):
                assert option in known | {"--help"}, f"{of(file)}: {option}"


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    from workers.settings import PREFIX, Settings

    known = {PREFIX + name.upper() for name in Settings.model_fields}
    text = CLI.read_text(encoding="utf-8")
    assert [name for name in sorted(known) if f"| `{name}` |" not in text] == []
    for file in documents():
        for name in re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", file.read_text(encoding="utf-8")):
            assert name in known, f"{of(file)}: {name}"


def test_every_column_of_an_export_is_documented_in_order() -> None:
    from console.columns import COLUMNS

    text = CLI.read_text(encoding="utf-8").split("## Columns of an export")[1].split("## Settings")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", text, flags=re.MULTILINE)
    assert rows == [(column.name, column.kind.value, column.meaning) for column in COLUMNS]


@pytest.mark.parametrize("reason", list(RejectReason))
def test_every_reason_for_a_dead_letter_is_documented(reason: RejectReason) -> None:
    assert f"| `{reason}` |" in CLI.read_text(encoding="utf-8")


def test_every_exit_code_is_documented() -> None:
    from workers import exit_codes
    from workers.processes import EXIT_HUNG

    codes = {value for name, value in vars(exit_codes).items() if name.startswith("EXIT_")} | {EXIT_HUNG}
    assert len(codes) >= 7
    text = CLI.read_text(encoding="utf-8").split("## Exit codes")[1].split("## ")[0]
    assert [code for code in sorted(codes) if f"\n| {code} |" not in text] == []


def test_every_metric_in_the_documents_is_in_the_one_about_metrics() -> None:
    known = set(re.findall(r"\btriad_\w+", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    named = {
        (of(file), name)
        for file in documents()
        if file.name != "experiments.md"  # it names modules
        for name in re.findall(r"\btriad_\w+", file.read_text(encoding="utf-8"))
    }
    assert len(named) > len(known)
    assert [(file, name) for file, name in sorted(named) if name not in known] == []


def test_every_alert_has_its_line_in_the_runbook() -> None:
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8")
    runbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").split("## Runbook")[1]
    names = re.findall(r"- alert: (\w+)", alerts)
    assert len(names) >= 6
    assert [name for name in names if f"| {name} |" not in runbook] == []


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    named = {
        (of(file), target)
        for file in documents()
        for target in re.findall(
            r"(?:`|^)make ([a-z-]+)", file.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
    }
    assert len(named) > 5
    assert [(file, target) for file, target in sorted(named) if target not in targets] == []


def test_every_relative_link_leads_somewhere() -> None:
    links = [(file, link) for file in documents() for link in re.findall(r"\]\(([^)\s]+)\)", prose(file))]
    within = [(file, link.split("#")[0]) for file, link in links if not re.match(r"[a-z]+:|#", link)]
    assert len(within) > 10
    assert [f"{of(file)}: {link}" for file, link in within if not (file.parent / link).exists()] == []


def test_no_document_names_this_machine_or_a_registry() -> None:
    for file in [*documents(), ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "constraints.txt"]:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"index-url|/root/|/home/|/work/|/tmp/", text), of(file)
