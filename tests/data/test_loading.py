"""The loader: same batches whatever the workers, cache or interruption; no thread or process left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import torch

from segwright.contracts import Batch, DataError, Sample, UserError
from segwright.data import PairedFolders
from segwright.data.augment import none, sample_rng, standard
from segwright.data.cache import MemoryCache, fits_in_memory, free_memory
from segwright.data.loading import TrainLoader
from segwright.data.prefetch import Check, prefetched

from .files import FOUR, FakeDataset, fake_dataset, photo, sample, save, write_pairs

LEVEL = standard((10, 14))


def loader(dataset: Any, **settings: Any) -> TrainLoader:
    return TrainLoader(dataset, settings.pop("augmentation", LEVEL), **({"batch": 4, "seed": 3} | settings))


def content(batches: Iterator[Batch]) -> list[tuple[int, tuple[str, ...], bytes, bytes]]:
    return [(b.index, b.names, b.image.numpy().tobytes(), b.labels.numpy().tobytes()) for b in batches]


def left_behind() -> list[str]:
    """Threads and processes of loaders that are still alive."""
    threads = [t.name for t in threading.enumerate() if t.name.startswith("segwright")]
    alive = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    # Python's own bookkeeping of shared resources, which other tests start, lives as long as this process.
    return threads + [str(p.pid) for p in alive if not any("resource_tracker" in part for part in p.cmdline())]


def fail_after_first(batches: Iterator[Batch]) -> None:
    for _ in batches:
        raise ZeroDivisionError


class Troubled(FakeDataset):
    """Does something bad when sample 7 is read."""

    def __init__(self, trouble: Callable[[], None]) -> None:
        super().__init__([sample(i) for i in range(20)])
        self.trouble = trouble

    def __getitem__(self, index: int) -> Sample:
        if index == 7:
            self.trouble()
        return super().__getitem__(index)


def test_batches_have_the_promised_form() -> None:
    data = fake_dataset(10)
    with loader(data) as one:
        batches = list(one.epoch(0))
    assert [len(b.names) for b in batches] == [4, 4, 2]
    assert [b.index for b in batches] == [0, 1, 2]
    assert sorted(n for b in batches for n in b.names) == sorted(data.names)
    for batch in batches:
        count = len(batch.names)
        assert batch.image.dtype == torch.uint8
        assert batch.image.shape == (count, 3, 10, 14)
        assert batch.image.is_contiguous()
        assert batch.labels.dtype == torch.int64
        assert batch.labels.shape == (count, 10, 14)
        assert batch.weights.tolist() == [1.0] * count


def test_pixels_are_those_of_the_augmentation_by_seed_epoch_and_index() -> None:
    data = fake_dataset(6)
    with loader(data) as one:
        for batch in one.epoch(5):
            for row, name in enumerate(batch.names):
                index = data.names.index(name)
                image, labels = LEVEL(data.samples[index], sample_rng(3, 5, index))
                np.testing.assert_array_equal(batch.image[row].permute(1, 2, 0), image)
                np.testing.assert_array_equal(batch.labels[row], labels)


@pytest.mark.parametrize(
    ("count", "batch", "sizes"), [(8, 4, [4, 4]), (9, 4, [4, 4]), (10, 4, [4, 4, 2]), (3, 8, [3]), (3, 1, [1, 1, 1])]
)
def test_only_a_last_batch_of_one_is_dropped(count: int, batch: int, sizes: list[int]) -> None:
    with loader(fake_dataset(count), batch=batch) as one:
        assert [len(b.names) for b in one.epoch(0)] == sizes
        assert one.batches_per_epoch == len(sizes)


def test_workers_caches_and_resume_give_the_same_batches(tmp_path: Path) -> None:
    data = PairedFolders(write_pairs(tmp_path, [f"p{i:02d}" for i in range(14)]), "all", FOUR)
    with loader(data, cache="none") as one:
        first, second = content(one.epoch(0)), content(one.epoch(1))
        assert first == content(one.epoch(0))
        assert first != second
        assert [names for _, names, *_ in first] != [names for _, names, *_ in second]
        for start in range(one.batches_per_epoch + 1):
            assert content(one.epoch(1, start)) == second[start:]
    others = ({"workers": n, "cache": "none"} for n in (1, 2, 4))
    for settings in (*others, {"workers": 2, "cache": "memory"}, {"cache": "memory"}):
        with loader(data, **settings) as other:
            assert content(other.epoch(0)) == first
            assert content(other.epoch(1, 2)) == second[2:]
            assert content(other.epoch(1)) == second
    with loader(data, seed=4) as other:
        assert content(other.epoch(0)) != first


@pytest.mark.parametrize("workers", [0, 2])
def test_torch_and_numpy_random_states_are_not_touched(workers: int) -> None:
    torch_state, numpy_state = torch.get_rng_state(), pickle.dumps(np.random.get_state())
    with loader(fake_dataset(8), workers=workers) as one:
        list(one.epoch(0))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert numpy_state == pickle.dumps(np.random.get_state())


# leaving


@pytest.mark.parametrize("workers", [0, 2])
def test_leaving_early_leaves_nothing_behind(workers: int) -> None:
    one = loader(fake_dataset(40), workers=workers, cache="none")
    for batch in one.epoch(0):
        if batch.index == 2:
            break
    assert left_behind() == []
    with pytest.raises(ZeroDivisionError):
        fail_after_first(one.epoch(0))
    assert left_behind() == []
    running = one.epoch(0)
    next(running)
    assert left_behind() != []
    one.close()
    assert left_behind() == []
    with pytest.raises(StopIteration):
        next(running)
    assert len(content(one.epoch(0))) == 10  # the loader can be used again
    one.close()
    assert left_behind() == []


def test_a_new_epoch_closes_the_one_before() -> None:
    with loader(fake_dataset(40), cache="none") as one:
        old = one.epoch(0)
        next(old)
        new = one.epoch(1)
        next(new)
        assert 1 <= len(left_behind()) <= 2  # the threads of the new epoch alone
        assert list(old) == []
        assert next(new).index == 1
    assert left_behind() == []


def test_workers_stay_between_epochs() -> None:
    with loader(fake_dataset(8), workers=1) as one:
        list(one.epoch(0))
        processes = left_behind()
        list(one.epoch(1))
        assert processes
        assert left_behind() == processes
    assert left_behind() == []


def test_workers_start_after_opencv_has_run_threads_here() -> None:
    cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (3000, 3000))
    with loader(fake_dataset(8), workers=2) as one:
        assert len(list(one.epoch(0))) == 2


# trouble


def fail_with_bug() -> None:
    raise KeyError("no such thing")


def fail_with_data() -> None:
    raise DataError("pictures/x.png: broken")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [0, 2])
def test_failures_name_the_sample(workers: int) -> None:
    one = loader(Troubled(fail_with_bug), workers=workers, cache="none")
    with pytest.raises(RuntimeError, match=r"sample 'b_007' \(number 7\).*KeyError.*no such thing"):
        list(one.epoch(0))
    one = loader(Troubled(fail_with_data), workers=workers, cache="none")
    with pytest.raises(DataError, match=r"^pictures/x\.png: broken$"):
        list(one.epoch(0))
    assert left_behind() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_before_the_failure_arrive(workers: int) -> None:
    one = loader(Troubled(fail_with_bug), workers=workers, cache="none")
    bad = next(i for i, indices in enumerate(one.order(0)) if 7 in indices)
    running = one.epoch(0)
    assert [next(running).index for _ in range(bad)] == list(range(bad))
    with pytest.raises(RuntimeError):
        next(running)


def test_a_killed_worker_is_an_error_that_names_what_it_read() -> None:
    one = loader(Troubled(die), workers=2, cache="none")
    with pytest.raises(RuntimeError, match=r"loader process died.*b_007.*workers"):
        list(one.epoch(0))
    assert left_behind() == []


def test_a_worker_killed_from_outside_is_an_error_too() -> None:
    with loader(fake_dataset(400), workers=1, cache="none") as one:
        running = one.epoch(0)
        next(running)
        psutil.Process(int(left_behind()[0])).kill()
        with pytest.raises(RuntimeError, match="loader process died"):
            list(running)
    assert left_behind() == []


ORPHANS = """
import sys, time
sys.path.insert(0, {tests!r})
from tests.data.files import fake_dataset
from segwright.data.assembling import BatchMaker
from segwright.data.augment import none
from segwright.data.processes import Workers
import psutil
running = Workers(BatchMaker(fake_dataset(400), none((8, 8)), 0), 2).run(0, [[i] for i in range(400)])
next(running)
print(*[p.pid for p in psutil.Process().children()], flush=True)
time.sleep(60)
"""


def test_workers_do_not_outlive_a_killed_training() -> None:
    code = ORPHANS.format(tests=str(Path(__file__).resolve().parents[2]))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        workers = [int(pid) for pid in training.stdout.readline().split()]
        assert len(workers) == 2
        training.kill()
        deadline = time.monotonic() + 20
        while any(map(alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not any(map(alive, workers))


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# settings


@pytest.mark.parametrize(
    ("count", "settings", "words"),
    [
        (0, {}, "empty"),
        (1, {}, "one picture"),
        (4, {"batch": 0}, "batch is 0"),
        (4, {"workers": -1}, "workers is -1"),
        (4, {"cache": "disk"}, "cache is 'disk'"),
    ],
)
def test_impossible_settings_are_refused(count: int, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        loader(fake_dataset(count), **settings)


def test_a_start_outside_the_epoch_is_refused() -> None:
    with (
        loader(fake_dataset(8)) as one,
        pytest.raises(UserError, match=r"start_batch is 3; this epoch has batches 0\.\.1"),
    ):
        one.epoch(0, 3)


def test_only_waiting_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("segwright.data.loading.time.perf_counter", lambda: float(next(clock)))
    with loader(fake_dataset(12)) as one:
        for _ in one.epoch(0):
            next(clock)  # the consumer's own time
        assert one.waited_s == one.batches_per_epoch


# the cache


def test_the_cache_reads_each_sample_once_and_reports() -> None:
    data = fake_dataset(9)
    done: list[tuple[int, int]] = []
    with loader(data, cache="memory") as one:
        assert one.cached
        one.preload(lambda *at: done.append(at))
        assert done == [(i, 9) for i in range(1, 10)]
        list(one.epoch(0))
        list(one.epoch(1))
    assert sorted(data.reads) == list(range(9))
    assert left_behind() == []


def test_the_cache_keeps_pictures_and_labels_but_no_instances() -> None:
    one = sample(0)
    data = FakeDataset([Sample(name="a", planes=one.planes, labels=one.labels, instances=np.zeros((12, 20), np.int32))])
    kept = MemoryCache(data)[0]
    assert kept.instances is None
    np.testing.assert_array_equal(kept.rgb, one.rgb)
    assert MemoryCache(data).names == data.names


def test_preloading_lists_every_bad_sample(tmp_path: Path) -> None:
    write_pairs(tmp_path, [f"p{i}" for i in range(6)])
    for name in ("p2", "p5"):
        (tmp_path / "images" / f"{name}.png").write_bytes(b"no picture")
    one = loader(PairedFolders(tmp_path, "all", FOUR), cache="memory")
    with pytest.raises(DataError, match=r"2 of 6 samples(.|\n)*p2\.png(.|\n)*p5\.png"):
        one.preload()
    assert left_behind() == []


def test_auto_keeps_small_sets_and_only_those(monkeypatch: pytest.MonkeyPatch) -> None:
    data = fake_dataset(40)
    per_sample = 12 * 20 * 4
    assert loader(data).cached
    monkeypatch.setattr("segwright.data.cache.free_memory", lambda: 40 * per_sample * 4 + 1)
    assert fits_in_memory(data)
    monkeypatch.setattr("segwright.data.cache.free_memory", lambda: 40 * per_sample * 4 - 1)
    assert not fits_in_memory(data)
    assert not loader(data).cached
    assert loader(data, cache="memory").cached


def test_free_memory_is_what_the_machine_has_at_most() -> None:
    assert 0 < free_memory() <= psutil.virtual_memory().total


# prefetching


@pytest.mark.parametrize("threads", [1, 3])
def test_prefetching_stays_close_ahead_and_keeps_the_order(threads: int) -> None:
    started: list[int] = []

    def job(number: int) -> Callable[[Check], int]:
        def make(check: Check) -> int:
            check()
            started.append(number)
            time.sleep(0.001 * (number % 3))  # so that later jobs end earlier
            return number

        return make

    running = prefetched(map(job, range(20)), ready=2, threads=threads)
    for expected in range(5):
        assert next(running) == expected
        assert max(started) <= expected + 2 + threads
    running.close()
    assert left_behind() == []
    assert list(prefetched(map(job, range(20)), ready=1, threads=threads)) == list(range(20))
    assert list(prefetched([], ready=1)) == []


def test_a_consumer_that_leaves_ends_long_work() -> None:
    begun = threading.Event()

    def long_work(check: Check) -> int:
        begun.set()
        while True:
            check()
            time.sleep(0.001)

    running = prefetched([lambda _: 0, long_work], ready=1)
    assert next(running) == 0
    assert begun.wait(10)
    running.close()
    assert left_behind() == []


def test_real_pictures_of_different_sizes_become_one_batch(tmp_path: Path) -> None:
    for index, size in enumerate([(30, 40), (41, 33), (8, 60)]):
        save(tmp_path / "images" / f"{index}.png", photo(*size))
        save(tmp_path / "masks" / f"{index}.png", np.zeros(size, np.uint8))
    with loader(PairedFolders(tmp_path, "all", FOUR), augmentation=none((16, 16))) as one:
        assert next(one.epoch(0)).image.shape == (3, 3, 16, 16)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_changed_loader_gives_the_batches_of_a_new_one(workers: int) -> None:
    other = standard((12, 8), flip_p=1.0)
    data = fake_dataset(11)
    with (
        loader(data, workers=workers, cache="memory") as one,
        loader(data, augmentation=other, batch=3, workers=workers) as two,
    ):
        first = content(one.epoch(0))
        one.change(other, 3)
        assert one.batches_per_epoch == two.batches_per_epoch == 4
        assert content(one.epoch(1, start_batch=1)) == content(two.epoch(1, start_batch=1))
        one.change(LEVEL, 4)
        assert content(one.epoch(0)) == first
    with loader(fake_dataset(1), batch=1) as single, pytest.raises(UserError, match="one picture"):
        single.change(other, 2)
    assert left_behind() == []
