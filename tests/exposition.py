"""What a scrape of our metrics says."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.services import missing
from workers.build import this_build
from workers.metrics import Metrics


def fresh_metrics(*, lines: Sequence[str] = ()) -> Metrics:
    return Metrics(CollectorRegistry(), build=this_build(revision="abc123"), lines=lines)


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """By name and labels, as in ``triad_verdicts_total{line="a",verdict="pass"}``, labels in their order."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def promtool(*arguments: str | Path, given: bytes = b"") -> None:
    """Run promtool and require that it has nothing to say against it."""
    tool = shutil.which("promtool")
    if tool is None:
        missing("promtool", remedy="install the package 'prometheus'")
    done = subprocess.run(
        [tool, *map(str, arguments)], input=given, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b""), (done.stdout + done.stderr).decode()
