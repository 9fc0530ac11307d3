"""Writes docs/performance.md and its plots from the results: words from performance.md.j2, figures from the JSON.

python -m benchmarks.page [--results FOLDER] [--docs FOLDER]
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.cells import number, shown, table
from benchmarks.plots import plot_growth, plot_targets
from benchmarks.recording import PROJECT, RESULTS
from benchmarks.suite import LONG, SHORT
from benchmarks.targets import Content, Row, load_results, lower_is_better, ratios, rows
from benchmarks.wishes import LIMITS, TARGETS

DOCS = PROJECT / "docs"
CAMVID = ("camvid_cpu", "camvid_5", "camvid_20", "camvid_60")
"""Results of `benchmarks.camvid_cpu`: its own recipe, and those of 5, 20 and 60 minutes."""
AXES = {"pictures": "pictures", "size": "pixels", "classes": "classes"}


def page(results: Mapping[str, Content]) -> str:
    """The whole of docs/performance.md."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    asked = rows(results, TARGETS)
    parts: dict[str, Any] = {
        "machines": machines(results),
        "last_run": last_run(results.get("suite", {}).get("parts", {})),
        "targets": target_table(asked),
        "notes": notes(asked),
        "pictured": any(row.ratio is not None for row in asked),
        "limits": limit_table(rows(results, LIMITS)),
        "slower": slower(results),
        "scripts": scripts(results),
    }
    sections = (
        epoch,
        dilated,
        loop,
        ddp,
        loading,
        augmentation,
        validation,
        confusion,
        scoring,
        backends,
        prediction,
        video,
        serving,
        growth,
    )
    for section in (*sections, start_up):
        content = results.get(section.__name__)
        parts[section.__name__] = None if content is None else section(content)
    parts["camvid"] = [camvid(results[name]) for name in CAMVID if name in results]
    if parts["confusion"]:
        c_loop = results.get("limits", {}).get("c_confusion_ms")
        parts["confusion"]["c_loop"] = None if c_loop is None else number(c_loop)
    return re.sub(r"\n{3,}", "\n\n", environment.get_template("performance.md.j2").render(parts))


def machines(results: Mapping[str, Content]) -> str:
    """One sentence for each machine that results come from."""
    seen: dict[str, list[str]] = {}
    for name, content in results.items():
        if (found := content.get("environment")) is not None:
            gpus = ", ".join(found["gpus"]) or "no GPU"
            text = f"{found['cores']} cores of {found['processor']}, {found['memory_gib']} GiB, {gpus}, torch "
            seen.setdefault(f"{text}{found['packages']['torch']}", []).append(name)
    if len(seen) == 1:
        return f"The machine: {next(iter(seen))}."
    return "\n".join(f"- {text}: {', '.join(names)}" for text, names in seen.items())


def last_run(parts: Mapping[str, Content]) -> str:
    """How long `make bench` took last, and what it did not do; nothing where it has not run."""
    if not parts:
        return ""
    minutes = sum(one["seconds"] for one in parts.values()) / 60
    left = [f"{name} ({one['status']}: {one['why']})" for name, one in parts.items() if one["status"] != "done"]
    return f"The last `make bench` took {minutes:.0f} minutes{'; not done: ' + ', '.join(left) if left else ''}."


def target_table(asked: Sequence[Row]) -> str:
    lines = []
    for row in asked:
        unit = f" {row.target.unit}" if row.target.unit else ""
        found = "–" if row.ratio is None else shown(row.ratio)
        ours, peer = ("–" if value is None else f"{number(value)}{unit}" for value in (row.ours, row.peer))
        wish = f"{'≤' if row.target.lower else '≥'} {row.target.wish:g}"
        lines.append((row.target.what, row.target.beside, ours, peer, found, wish, row.verdict))
    return table(("what", "beside", "ours", "theirs", "ratio", "asked", "met"), lines)


def notes(asked: Sequence[Row]) -> str:
    told: dict[str, list[str]] = {}
    for row in asked:
        if row.target.note and not (row.ratio and "at hand" in row.target.note):
            told.setdefault(row.target.note, []).append(row.target.what.split(": time over")[0])
    return "\n".join(f"- {', '.join(whats)}: {note}." for note, whats in told.items())


def limit_table(asked: Sequence[Row]) -> str:
    lines = [
        (
            f"{row.target.what}{f' ({row.target.beside})' if row.target.beside else ''}",
            "–" if row.ratio is None else shown(row.ratio),
            f"{'at most' if row.target.lower else 'at least'} {row.target.wish:g}",
            row.verdict,
        )
        for row in asked
    ]
    return table(("what", "found", "asked", "met"), lines)


def slower(results: Mapping[str, Content]) -> str:
    """Every ratio whose whole interval says that the peer, or the limit, is faster."""
    lines = []
    for file, content in results.items():
        if file == "suite":
            continue
        for path, ratio in ratios(content):
            worse = ratio["low"] > 1 if lower_is_better(path) else ratio["high"] < 1
            if worse:
                name = " · ".join(part.replace("_", " ") for part in path if part not in ("results", "nets", "ratios"))
                lines.append((f"`{file}`", name, shown(ratio)))
    if not lines:
        return "In no comparison is the whole interval on the peer's side."
    text = "All comparisons, limits among them, whose whole interval is on the other side:"
    return f"{text}\n\n{table(('results', 'what', 'ratio'), lines)}"


def epoch(content: Content) -> dict[str, Any]:
    lines = []
    for net, found in content["nets"].items():
        speed = found["pictures_per_second"]
        lines.append(
            (
                net, f"{found['parameters'] / 1e6:.1f} M", found["our_mode"], number(speed["ours"]),
                number(speed[found["best_peer"]]), shown(found["times_faster_epoch"]), shown(found["times_faster_step"]),
            )
        )  # fmt: skip
    heads = ("network", "parameters", "our mode", "ours, pictures/s", "theirs", "epoch, times faster", "step alone")
    counts = sorted({found["pictures"] for found in content["nets"].values()})
    count = " or ".join(map(str, counts))
    return {"batch": 4, "count": count, "rounds": content["rounds"], "table": table(heads, lines)}


def dilated(content: Content) -> dict[str, Any]:
    lines = []
    for layer, found in content["layers"].items():
        times, errors = found["ms"], found["gradient_error"]
        lines.append(
            (
                layer,
                *(number(times[who]) for who in ("ours", "torch")),
                shown(found["times_faster"]),
                errors["ours"],
                errors["torch"],
            )
        )
    heads = ("layer", "ours, ms", "torch's, ms", "times faster", "error of our gradient", "of torch's")
    return {"rounds": content["rounds"], "table": table(heads, lines)}


def loop(content: Content) -> dict[str, Any]:
    return {
        "pairs": content["pairs"],
        "step": shown(content["step over bare"]),
        "training": shown(content["training over bare"]),
        "saving": f"{content['checkpoint_share']['median']:.2%}".replace("%", " %"),
        "wait": f"{content['data_wait']['median']:.1%}".replace("%", " %"),
    }


def ddp(content: Content) -> dict[str, Any]:
    return {
        "pairs": content["pairs"],
        "together": shown(content["two processes over twice one"]),
        "limit": shown(content["side by side over twice one"]),
        "of_limit": shown(content["two processes over side by side"]),
    }


def loading(content: Content) -> dict[str, Any] | None:
    found = content["results"]["batches"]
    if "skipped" in found:
        return None
    speed = found["pictures_per_second"]
    mapped = "memory map + Albumentations, 0 workers"
    lines = [
        (f"cv2 + Albumentations from PNG, its best number of workers ({number(speed['segwright'])} against "
         f"{number(speed[found['best_peer']])} pictures a second)", shown(found["times_faster_than_best_peer"])),
        (f"Albumentations fed from a ready memory map, no decoding ({number(speed[mapped])} pictures a second)",
         shown(found["times_faster_than_mapped_peer"])),
    ]  # fmt: skip
    return {
        "rounds": content["rounds"],
        "table": table(("Segwright from its pack is … times faster than", "ratio"), lines),
    }


def augmentation(content: Content) -> dict[str, Any]:
    speed = content["pictures_per_second"]
    told = [
        f"{shown(content[f'times_faster_than_{peer}'])} times faster than {peer} ({number(speed[peer])})"
        for peer in ("Albumentations", "torchvision v2")
    ]
    limit = f"normalising alone would allow {number(speed['limit: normalise only'])}"
    text = f"{number(speed['segwright'])} pictures a second, {' and '.join(told)}; {limit}"
    return {"rounds": content["rounds"], "text": text}


def validation(content: Content) -> dict[str, Any]:
    argmax, best = "interpolate + argmax(1)", "interpolate + max(1).indices"
    lines = [
        (
            case, number(found["median_ms"]["segwright"]), number(found["limit_ms"]),
            f"{number(found['median_ms'][argmax])} · {shown(found[f'{argmax} / segwright'])}",
            f"{number(found['median_ms'][best])} · {shown(found[f'{best} / segwright'])}",
        )
        for case, found in content["tails"].items()
    ]  # fmt: skip
    heads = ("scores", "`ids`, ms", "limit, ms", f"`{argmax}`, ms · ratio", f"`{best}`, ms · ratio")
    whole = shown(content["fast_scnn_360x480"]["plain loop / segwright"])
    return {"rounds": content["rounds"], "table": table(heads, lines), "whole": whole}


def confusion(content: Content) -> dict[str, Any]:
    kinds = content["results"]
    names = next(iter(kinds.values()))["median_ms"]
    lines: list[tuple[str, ...]] = [
        (name, *(number(found["median_ms"][name]) for found in kinds.values())) for name in names
    ]
    compared = [key for key in next(iter(kinds.values())) if key != "median_ms"]
    lines += [(f"*{key}*", *(shown(found[key]) for found in kinds.values())) for key in compared]
    return {"rounds": content["rounds"], "table": table(("", *kinds), lines)}


def scoring(content: Content) -> dict[str, Any]:
    count = str(content["what"]).split(" ", 1)[0]
    seconds = {name: median(times) for name, times in content["results"]["seconds"].items()}
    share = seconds["decoding alone"] / seconds["official"] if "decoding alone" in seconds else None
    ratio = shown(content["results"]["segwright / official"])
    return {"pictures": count, "ratio": ratio, "decoding": None if share is None else f"{share:.0%}".replace("%", " %")}


def backends(content: Content) -> dict[str, Any]:
    lines = [
        (net, mode, number(found["ms"]), shown(found["eager_over_this"]), found["peak_mb"])
        for net, modes in content["nets"].items()
        for mode, found in modes.items()
        if "eager_over_this" in found
    ]
    heads = ("network", "engine", "ms", "times faster than eager", "peak MB")
    return {key: content[key] for key in ("size", "threads", "rounds")} | {"table": table(heads, lines)}


def prediction(content: Content) -> dict[str, Any]:
    speed = content["pictures_per_second"]
    text = (
        f"{number(speed['segwright'])} pictures a second, {shown(content['times_faster_than_plain_loop'])} times a plain loop "
        f"({number(speed['plain loop'])}) and {shown(content['share_of_the_network_alone'])} of the network alone "
        f"({number(speed['limit: the network alone'])}); with overlays and colour masks "
        f"{number(speed['segwright, with overlays and colour masks'])}"
    )
    return {"rounds": content["rounds"], "text": text}


def video(content: Content) -> dict[str, Any]:
    lines = []
    for backend, found in content["backends"].items():
        speed = found["frames_per_second"]
        calls = [number(speed[call]) for call in ("end to end", "without the model", "the model alone")]
        lines.append((backend, *calls, shown(found["seconds_beside_the_model_alone"])))
    heads = (
        "runtime",
        "end to end, frames/s",
        "without the model",
        "the model alone",
        "time ÷ that of the model alone",
    )
    facts = {key: content[key] for key in ("rounds", "frames", "threads")}
    return facts | {"table": table(heads, lines)}


def serving(content: Content) -> dict[str, Any]:
    levels = {f"{clients} clients": found for clients, found in content["closed"].items()}
    levels["four times the best rate"] = content["overload"]
    lines = [
        (name, *(number(found[key]) for key in ("pictures_per_second", "p50_ms", "p99_ms")))
        for name, found in levels.items()
    ]
    heads = ("load", "pictures/s", "median, ms", "99 % within, ms")
    facts = {key: content[key] for key in ("size", "backend", "seconds_each")}
    return facts | {"table": table(heads, lines), "soak": _soaked(content)}


def _soaked(content: Content) -> str:
    """One sentence on the long load; nothing where there was none."""
    found = content.get("soak")
    if not found:
        return ""
    told = found["statuses"]
    return (
        f"At four fifths of the best rate for {content['soak_seconds'] / 60:.0f} minutes: {told['200']} answers, "
        f"{told.get('503', 0)} refusals, {found['other_bytes']} answers with other bytes than offline prediction, "
        f"{found['broken_connections']} broken connections; memory grew by {content['memory_mb']['growth']:.1%} in all."
    ).replace("%", " %")


def growth(content: Content) -> dict[str, Any]:
    axes = content["axes"]
    jobs = list(dict.fromkeys(job for found in axes.values() for job in found))
    lines = []
    for job in jobs:
        cells = [str(axes[axis][job]["exponent"]) if job in axes.get(axis, {}) else "–" for axis in AXES]
        of_pictures = axes.get("pictures", {}).get(job)
        memory = "–" if of_pictures is None else f"{of_pictures['mb'][-1]:.0f} MB at {of_pictures['at'][-1]}"
        each = "–" if of_pictures is None else f"{max(0.0, of_pictures['kb_each']):.1f} kB"
        lines.append((job, *cells, memory, each))
    heads = ("job", *(f"exponent over {name}" for name in AXES.values()), "memory", "each picture more")
    steep = [f"{job} over {AXES[axis]}" for axis in axes for job, f in axes[axis].items() if not f["linear_or_better"]]
    grown = [job for job, found in axes.get("pictures", {}).items() if not found["flat"]]
    verdict = f"Steeper than linear: {', '.join(steep) or 'nothing'}."
    verdict += f" More than {content['limits']['kb']:g} kB a picture: {', '.join(grown) or 'nothing'}."
    return {"table": table(heads, lines), "verdict": verdict, "linear": content["limits"]["exponent"]}


def camvid(content: Content) -> dict[str, Any]:
    lines = []
    for one in content["seeds"]:
        curve = one["curve_minutes_epoch_miou"]
        passed = next((str(minutes) for minutes, _, miou in curve if miou >= 0.58), "not")
        best, waited = 100 * one["best_val_miou"], 100 * one["data_wait_share"]
        lines.append((one["seed"], one["whole_command_minutes"], passed, f"{best:.1f} %", f"{waited:.1f} %"))
    heads = ("seed", "whole command, minutes", "58 % passed after, minutes", "val mIoU", "data wait")
    command = " ".join([content["command"].removesuffix(" seed=N"), *content["overrides"]])
    return {"command": command, "table": table(heads, lines)}


def start_up(content: Content) -> dict[str, Any]:
    lines = [(f"`{command}`", f"{seconds:.3f}") for command, seconds in content["median_s"].items()]
    return {"rounds": content["rounds"], "table": table(("command", "seconds"), lines)}


def scripts(results: Mapping[str, Content]) -> str:
    """Every benchmark with the date of its result and what its first line says."""
    lines = []
    for name in (*(part.name for part in SHORT), *LONG):
        module = ast.parse(
            (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        )  # not imported: that takes seconds
        about = str(ast.get_docstring(module)).split("\n", 1)[0].rstrip(".")
        date = str(results.get(name, {}).get("date", "not yet"))[:10]
        lines.append((f"`benchmarks.{name}`", about, LONG.get(name, "in `make bench`"), date))
    return table(("script", "what", "takes", "result of"), lines)


def write_page(results: Path = RESULTS, docs: Path = DOCS) -> Path:
    """docs/performance.md and docs/images/*.svg; returns the page."""
    found = load_results(results)
    pictures = docs / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    plot_targets(rows(found, TARGETS), pictures / "targets.svg")
    if "growth" in found:
        plot_growth(found["growth"], pictures / "growth.svg")
    target = docs / "performance.md"
    target.write_text(page(found), encoding="utf-8")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=DOCS)
    options = parser.parse_args()
    print(write_page(options.results, options.docs))


if __name__ == "__main__":
    main()
