"""The live lines say what they should, and fit terminals of any width."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from segwright.training.progress import SPARK, Counting, TrainingProgress, sparkline


def console(width: int, *, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, width=width, force_terminal=True, record=True, color_system=None, legacy_windows=False)


def progress(screen: Console, *, validations: int = 20) -> TrainingProgress:
    shown = TrainingProgress(screen, total=24_000, epochs=120, memory_mb=lambda: 12_345)
    shown.update(12_000, epoch=60, loss=0.5, rate=3.2e-3, wait=0.123, images_per_s=412.34)
    for number in range(validations):
        shown.validated(0.3 + 0.01 * number, best="0.4900 in epoch 57")
    return shown


def lines(screen: Console, shown: TrainingProgress) -> list[str]:
    screen.print(shown)
    return screen.export_text().splitlines()


def test_at_80_columns_it_is_three_lines() -> None:
    screen = console(80)
    bar, state, validations = lines(screen, progress(screen))
    assert bar.startswith("epoch 61/120 ━━━")
    assert bar.endswith("  50%  step 12000/24000  0:00 left")
    assert len(bar) == 80
    assert state == "loss 0.500 · lr 3.20e-03 · data wait 12.3% · 412.3 img/s · 12.3 GB"
    assert validations == "mIoU ▁▁▂▂▃▃▄▄▅▅▆▆▇▇██ 0.4900 · best 0.4900 in epoch 57"


@pytest.mark.parametrize("width", [20, 40, 41, 60, 79, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_every_line_fits_and_nothing_is_lost(width: int, encoding: str) -> None:
    screen = console(width, encoding=encoding)
    shown = progress(screen)
    shown.validation(1234, 5000)
    found = lines(screen, shown)
    assert max(map(len, found)) <= width
    if width >= 40:
        whole = "\n".join(found)
        for part in ("epoch 61/120", "50%", "left", "loss 0.500", "lr 3.20e-03", "data wait 12.3%", "412.3 img/s"):
            assert part in whole
        for part in ("12.3 GB", "validating 1234/5000", "0.4900", "best 0.4900 in epoch 57"):
            assert part in whole
        assert "…" not in whole
    if encoding == "ascii":
        "".join(found).encode("ascii")


def test_before_the_first_step_and_validation_only_the_bar_is_there() -> None:
    screen = console(80)
    shown = TrainingProgress(screen, total=100, epochs=10)
    assert [line.split()[0] for line in lines(screen, shown)] == ["epoch"]


def test_the_loss_is_smoothed_and_ignores_refused_batches() -> None:
    shown = TrainingProgress(Console(quiet=True), total=100, epochs=1)
    assert math.isnan(shown.loss)
    for step, loss in enumerate([2.0, math.nan, 2.0, math.inf, 2.0], start=1):
        shown.update(step, epoch=0, loss=loss, rate=0.1, wait=0, images_per_s=1)
    assert shown.loss == pytest.approx(2.0)
    shown.update(6, epoch=0, loss=1.0, rate=0.1, wait=0, images_per_s=1)
    assert 1.5 < shown.loss < 2.0


def test_a_validation_without_a_score_leaves_no_block() -> None:
    shown = TrainingProgress(Console(quiet=True), total=100, epochs=1)
    shown.validated(math.nan, best="")
    assert shown.mious == []


def test_sparklines_go_from_lowest_to_highest() -> None:
    assert sparkline([0.0, 1.0]) == SPARK[0] + SPARK[-1]
    assert sparkline([0.4, 0.4, 0.4]) == SPARK[3] * 3
    assert sparkline([0.2, 0.25, 0.3, 0.35, 0.9])[-1] == SPARK[-1]


def test_what_is_said_stands_above_the_live_lines() -> None:
    screen = console(80)
    shown = progress(screen)
    with shown.live(12_000, [0.1, 0.2], best="0.2000 in epoch 3"):
        shown.say("[yellow]a word[/]")
    text = screen.export_text()
    assert text.index("a word") < text.rindex("best 0.2000 in epoch 3")


def test_without_a_terminal_there_are_plain_lines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    shown = TrainingProgress(Console(file=file, width=140), total=100, epochs=2, memory_mb=lambda: 800)
    with shown.live(0):
        shown.update(1, epoch=0, loss=1.0, rate=0.1, wait=0.01, images_per_s=10)
        assert file.getvalue() == ""
        shown._last_line -= 31
        shown.update(2, epoch=0, loss=1.0, rate=0.1, wait=0.01, images_per_s=10)
    (line,) = file.getvalue().splitlines()
    assert line.startswith(
        "epoch 1/2 · step 2/100 · loss 1.000 · lr 1.00e-01 · data wait 1.0% · 10.0 img/s · 0.8 GB · "
    )
    assert "\x1b" not in line


def test_counting_tells_logs_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segwright.training.progress.PLAIN_INTERVAL_S", 0.0)
    written = io.StringIO()
    with Counting(Console(file=written, width=80), "predicting") as count:
        for done in (1, 2, 4):
            count(done, 4)
    lines = written.getvalue().splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["predicting 1/4", "predicting 2/4"]
    assert all(line.endswith(" left") for line in lines)
