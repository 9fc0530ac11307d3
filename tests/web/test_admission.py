"""How long those who are refused are asked to wait."""

from __future__ import annotations

from segwright.web.admission import RECENT, Admission
from segwright.web.limits import Limits


def busy(admission: Admission, refused: int) -> list[int]:
    """Retry-After of so many, while one picture is answered for each seven of them."""
    found = []
    for number in range(refused):
        if number % 7 == 0:
            admission.answered()
        wait = admission.busy().retry_after
        assert wait is not None
        found.append(wait)
    return found


def test_those_who_are_refused_are_not_asked_to_come_back_together() -> None:
    admission = Admission(Limits())
    found = busy(admission, 7 * RECENT)[-200:]
    assert len(set(found)) > 3
    assert min(found) == 1, "the queue of a test is done at once, so some may come back after a second"
    assert max(found) <= 30


def test_where_few_are_refused_the_wait_is_what_the_queue_takes() -> None:
    admission = Admission(Limits())
    for _ in range(RECENT):
        admission.answered()
    assert [admission.retry_after() for _ in range(20)] == [1] * 20


def test_nobody_is_asked_to_wait_for_more_than_half_a_minute() -> None:
    admission = Admission(Limits())
    admission.answered()
    admission.answered()
    for _ in range(10_000):
        assert 1 <= (admission.busy().retry_after or 0) <= 30
