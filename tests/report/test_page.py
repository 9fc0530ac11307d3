"""The page as a file: its numbers are those of the scores, it needs nothing from outside, and names cannot break it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score, precision_recall_fscore_support

from segwright.contracts import IGNORE, UserError
from segwright.evaluation.hardest import worst_mistakes
from segwright.labels import load_label_space
from segwright.report.appendix import mark_yaml
from segwright.report.content import MistakePicture, ReportPicture, RunReport
from segwright.report.html import render_report, write_report
from tests.report.examples import HOSTILE, NAMES, Page, Scene, build, evaluate, example, hostile, scenes, space

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def report() -> RunReport:
    return example()


@pytest.fixture(scope="module")
def text(report: RunReport) -> str:
    return render_report(report, written=NOON)


@pytest.fixture(scope="module")
def parsed(text: str) -> Page:
    return Page(text)


def table_rows(text: str) -> list[list[float]]:
    """The data-values of each row of the per-class table: id, share, IoU, precision, recall, F1, pictures, taken share."""
    body = re.search(r'id="scores">.*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr.*?</tr>", body[1], re.DOTALL)
    return [[float(v) for v in re.findall(r'data-value="([^"]*)"', row)] for row in rows]


def test_every_number_equals_the_scores_and_scikit_learn(report: RunReport, text: str, parsed: Page) -> None:
    scores = report.evaluation.scores
    rows = np.array(table_rows(text)).T
    present = np.array([0, 1, 2, 3, 4])
    for mine, theirs in zip(
        rows[1:6], (scores.share, scores.iou, scores.precision, scores.recall, scores.f1), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)  # the very same floats; the absent class is NaN in both
    truth = np.concatenate([s.truth.ravel() for s in scenes()])
    prediction = np.concatenate([s.prediction.ravel() for s in scenes()])[truth != IGNORE]
    truth = truth[truth != IGNORE]
    iou = jaccard_score(truth, prediction, labels=present, average=None)
    precision, recall, f1, support = precision_recall_fscore_support(truth, prediction, labels=present)
    for mine, theirs in zip(rows[1:6, :5], (support / len(truth), iou, precision, recall, f1), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    assert float(parsed.all("data", id="miou")[0]["value"]) == report.evaluation.miou == pytest.approx(iou.mean())
    shown = [float(a["value"]) for a in parsed.all("data")]
    expected = (
        scores.accuracy, scores.mean_accuracy, scores.weighted_iou, scores.micro_iou, scores.macro_f1,
        *(m.gain for m in worst_mistakes(report.evaluation, count=8)),
    )  # fmt: skip
    assert set(expected) <= set(shown)
    assert scores.accuracy == accuracy_score(truth, prediction)


def test_the_matrix_carries_the_counts_and_first_shows_shares_of_the_truth(
    report: RunReport, text: str, parsed: Page
) -> None:
    counts = report.evaluation.counts_KK
    data = next(
        json.loads(s) for s, a in zip(parsed.scripts, parsed.all("script"), strict=True) if a.get("id") == "matrix"
    )
    assert data["counts"] == counts.tolist()
    assert data["names"] == list(NAMES)
    body = re.search(r'id="cells".*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    assert body is not None
    cells = re.findall(r'<td class="([hm])(\d+)"[^>]*title="([^"]*)">(\d*)</td>', body[1])
    assert len(cells) == counts.size
    for index, (kind, shade, title, percent) in enumerate(cells):
        t, p = divmod(index, len(counts))
        rate = counts[t, p] / counts[t].sum() if counts[t].sum() else 0
        assert kind == ("h" if t == p else "m")
        assert (shade == "0") == (rate == 0)
        assert percent == (str(int(rate * 100 + 0.5)) if rate >= 0.005 else "")
        assert f"{counts[t, p]:,}".replace(",", "\u202f") + " pixels" in title


def test_the_answer_comes_first_with_its_protocol_and_the_mistakes_in_words(report: RunReport, text: str) -> None:
    shown = html.unescape(re.sub(r"<(style|script).*?</\1>", "", text, flags=re.DOTALL))
    order = [
        f"{report.evaluation.miou * 100:.1f}", "protocol: pooled", report.mistakes[0].mistake.sentence,  # type: ignore[union-attr]
        'id="curves"', 'id="classes"', 'id="confusion"', 'id="frequency"', 'id="pictures"', 'id="recipe"', 'id="reading"',
    ]  # fmt: skip
    body = shown[shown.index("<main>") :]
    places = [body.index(part) for part in order]
    assert places == sorted(places)
    assert all(m.mistake.sentence in body for m in report.mistakes if isinstance(m, MistakePicture))
    assert "Training stopped after 12 of 20 epochs." in body


def test_an_absent_class_is_a_dash_and_said_to_be_left_out(text: str, parsed: Page) -> None:
    train = table_rows(text)[NAMES.index("train")]
    assert all(math.isnan(v) for v in train[2:6])
    assert "Class train is in neither truth nor prediction: shown as “–” and left out of the mean." in parsed.text
    assert "mean IoU over 5 classes" in parsed.text
    assert not re.search(r"\bnan\b", parsed.text, re.IGNORECASE)


def test_pictures_of_one_group_bring_a_caveat(parsed: Page) -> None:
    of = scenes()
    alone = Page(render_report(build(of, evaluate(of, space(), groups=["0016E5"] * len(of)))))
    assert "All 7 pictures come from one sequence (0016E5): expect other scenes to differ" in alone.text
    assert "come from one sequence" not in parsed.text


def test_the_page_needs_nothing_from_outside(text: str, parsed: Page) -> None:
    for _, attributes in parsed.elements:
        for key in ("src", "href", "srcset", "action", "poster", "data", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/"))
    namespaces = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\(", namespaces)


def test_only_the_pages_own_style_and_script_may_run(parsed: Page) -> None:
    policy = parsed.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for kind, content in (("style", parsed.styles[0]), ("script", parsed.scripts[-1])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    handlers = [
        (tag, key) for tag, attributes in parsed.elements for key in attributes if key == "style" or key[:2] == "on"
    ]
    assert handlers == []


def test_hostile_names_are_inert() -> None:
    text = render_report(hostile())
    page = Page(text)
    assert [a.get("type", "") for a in page.all("script")] == ["application/json", "application/json", ""]
    assert len(page.styles) == 1
    assert all(
        a["src"].startswith(("data:image/webp;base64,", "data:image/png;base64,"))
        for a in page.all("img")
        if "src" in a
    )
    assert not [key for _, attributes in page.elements for key in attributes if key[:2] == "on"]
    assert json.loads(page.scripts[0])["names"] == list(HOSTILE)
    for name in HOSTILE:
        assert name in page.text  # shown as it is, character by character
    assert "49{%" not in page.text  # templates inside names are not evaluated


def test_the_page_is_written_whole_or_not_at_all(report: RunReport, tmp_path: Path) -> None:
    path = write_report(report, tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match=r"taken: the report cannot be written \("):
        write_report(report, tmp_path / "taken")
    assert [p.name for p in tmp_path.rglob("*.tmp")] == []


def test_the_same_report_gives_the_same_page(report: RunReport, text: str) -> None:
    assert render_report(example(), written=NOON) == text


def test_little_content_still_makes_a_page() -> None:
    of = scenes(1)
    void = [Scene(of[0].name, of[0].image, np.full_like(of[0].truth, IGNORE), of[0].prediction)]
    bare = {
        "history": [],
        "recipe_text": "",
        "environment": {},
        "data": {},
        "pictures": [],
        "mistakes": [],
        "notes": [],
    }
    for labels, pictures in ((space(), void), (space(), of), (space(["all"]), void), (space(), [])):
        page = Page(render_report(build(pictures, evaluate(pictures, labels), **bare)))
        assert "No training history comes with this report" in page.text
        assert "No pictures come with this report" in page.text
        assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    assert "No class has true pixels" in Page(render_report(build(void, evaluate(void, space()), **bare))).text


def test_history_may_have_gaps() -> None:
    of = scenes()
    rows = [
        {"kind": "train", "epoch": 1, "loss": None, "lr": 0.1},
        {"kind": "train", "epoch": 2, "loss": math.inf, "lr": 0.1},
        {"kind": "val", "epoch": 2, "miou": None, "iou": None, "best": False},
        {"kind": "something new"},
    ]
    text = render_report(build(of, evaluate(of, space()), history=rows))
    assert "Learning rate" in text
    assert "Validation mIoU" not in text


def test_a_page_about_101_real_pictures_stays_under_4_mb(camvid: Path) -> None:
    labels = load_label_space("camvid11")
    of = []
    for file in sorted((camvid / "val").glob("*.png")):
        truth = labels.encode(np.asarray(Image.open(camvid / "valannot" / file.name)), source=file)
        prediction = np.where(truth == IGNORE, 1, np.roll(truth, (2, 5), (0, 1)) % 11).astype(np.uint8)
        of.append(Scene(file.name, np.asarray(Image.open(file)), truth, prediction))
    report = build(of, evaluate(of, labels, groups=["0016E5"] * len(of)))
    assert len(of) == 101
    assert len(render_report(report).encode()) < 4_000_000


def test_150_classes_stay_light() -> None:
    names = [f"class number {k}" for k in range(150)]
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(150, dtype=np.uint8), 8).reshape(30, 40)
    scene = Scene("many", np.zeros((30, 40, 3), np.uint8), truth, rng.integers(0, 150, (30, 40)).astype(np.uint8))
    text = render_report(build([scene], evaluate([scene], space(names))))
    assert len(text.encode()) < 1_200_000
    assert len(Page(text).all("td")) > 150 * 150


def test_pictures_that_do_not_fit_together_are_refused() -> None:
    scene = scenes(1)[0]
    with pytest.raises(
        UserError, match=r"report picture a.png: the truth is uint8 \[47, 72\]; expected uint8 \[48, 72\]"
    ):
        ReportPicture(
            name="a.png", role="best", image=scene.image, truth=scene.truth[1:], prediction=scene.prediction, miou=None
        )
    mistake = worst_mistakes(evaluate([scene], space()))[0]
    with pytest.raises(UserError, match="must lie inside the picture of 48 rows and 72 columns"):
        MistakePicture(
            mistake=mistake, name="a.png", image=scene.image, truth=scene.truth, prediction=scene.prediction,
            box=(0, 0, 49, 3),  # type: ignore[arg-type]
        )  # fmt: skip


@given(st.text(alphabet=st.characters(exclude_characters="\r"), max_size=200))
@settings(max_examples=60, deadline=None)
def test_marking_yaml_adds_and_drops_nothing(text: str) -> None:
    marked = str(mark_yaml(text))
    assert html.unescape(re.sub(r"</?[bi]>", "", marked)) == text.rstrip("\n")
    assert set(re.findall(r"<[^>]*>", marked)) <= {"<b>", "</b>", "<i>", "</i>"}
