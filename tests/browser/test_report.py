"""The report in a real browser: it filters by keyboard's controls, and runs nothing that is not its own."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from console.overlay import png
from console.report import Report, ReportFrame, write_report
from pipelines.verdict import Outcome
from tests.services import missing

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--virtual-time-budget=4000",
)  # fmt: skip
ATTACK = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">.png"


@pytest.fixture(scope="module")
def chromium() -> str:
    found = [
        path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))
    ]
    return found[0] if found else missing("Chromium", remedy="run deploy/local/install-services.sh")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    picture = png(np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8))
    outcomes = [Outcome.FAIL, Outcome.FAIL, Outcome.REVIEW, Outcome.PASS]
    frames = tuple(
        ReportFrame(
            name=ATTACK if number == 0 else f"frame-{number}.png",
            line="line-1",
            product="metal" if number % 2 else "fabric",
            outcome=outcome,
            fast_outcome=outcome,
            score=1.0,
            p_value=0.01 * (number + 1),
            recipe="ab" * 32,
            width_px=96,
            height_px=96,
            picture=picture,
            reference=picture,
        )
        for number, outcome in enumerate(outcomes)
    )
    report = Report(
        title="Four frames", subtitle="of two products", made_at=datetime.now(UTC), counts=(), frames=frames
    )
    return write_report(tmp_path_factory.mktemp("report") / "report.html", report)


def run(chromium: str, page: Path, *flags: str) -> str:
    """What Chromium prints for a page; a profile of its own, so that no test sees another's."""
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *_FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True, env=_environment()
        )
    return done.stdout


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def state_after(chromium: str, page: Path, action: str, *flags: str) -> dict[str, object]:
    """What the page shows after a script of the test acted on it.

    The page's own policy would refuse that script, so a copy is driven whose policy allows it.
    """
    text = page.read_text(encoding="utf-8")
    probe = f"""<script>
        const controls = document.getElementById("controls");
        const input = () => controls.dispatchEvent(new Event("input", {{bubbles: true}}));
        {action}
        const visible = (all) => [...document.querySelectorAll(all)].filter((one) => !one.hidden).length;
        const state = {{
            cards: visible("[data-frame]"), articles: visible("article"), title: document.title,
            shown: document.getElementById("shown").textContent, isHidden: controls.hidden,
            wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
            heat: getComputedStyle(document.documentElement).getPropertyValue("--heat"),
        }};
        document.body.dataset.state = JSON.stringify(state);
    </script>"""
    copy = page.with_name("driven.html")
    policy = re.compile(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>")
    copy.write_text(policy.sub("", text).replace("</body>", f"{probe}</body>"), encoding="utf-8")
    written = run(chromium, copy, "--dump-dom", *flags)
    found = re.search(r'data-state="([^"]*)"', written)
    assert found is not None, written[-2000:]
    state: dict[str, object] = json.loads(found.group(1).replace("&quot;", '"'))
    return state


def test_the_pages_own_script_runs_under_its_policy_and_no_other(chromium: str, page: Path) -> None:
    written = run(chromium, page, "--dump-dom")
    assert '<output id="shown" aria-live="polite">4 of 4 frames</output>' in written
    assert "<title>Four frames · Triadline</title>" in written
    assert "--heat: 0.75" in written


def test_the_filter_by_outcome_and_product_hides_cards_and_details(chromium: str, page: Path) -> None:
    state = state_after(
        chromium,
        page,
        """controls.querySelector("[value=pass]").checked = false;
        controls.elements.product.value = "fabric"; input();""",
    )
    assert (state["cards"], state["articles"], state["shown"]) == (2, 2, "2 of 4 frames")


def test_the_filter_by_name_takes_any_part_of_it(chromium: str, page: Path) -> None:
    state = state_after(chromium, page, """controls.elements.name.value = "FRAME-3"; input();""")
    assert state["shown"] == "1 of 4 frames"


def test_evidence_can_be_faded(chromium: str, page: Path) -> None:
    assert state_after(chromium, page, "controls.elements.heat.value = 20; input();")["heat"] == "0.2"


@pytest.mark.parametrize("width", [500, 1366])
def test_the_page_is_never_wider_than_its_window(chromium: str, page: Path, width: int) -> None:
    assert state_after(chromium, page, "", f"--window-size={width},768")["wide"] == 0
