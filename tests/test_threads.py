"""What threads share: one for each, lent again; OpenCV's own threads off meanwhile, and on again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest

from facedex.threads import ResourcePool, side_by_side, workers


def test_one_after_the_other_share_one_and_at_once_each_has_their_own():
    made = []
    resources = ResourcePool(lambda: made.append(object()) or made[-1])
    assert len(made) == 1  # at once: a fault shows where it is opened
    for _ in range(3):
        with resources.borrow() as lent:
            assert lent is made[0]
    with resources.borrow() as first, resources.borrow() as second:
        assert first is not second
    assert len(made) == 2
    together = threading.Barrier(workers())

    def hold(_):
        with resources.borrow() as lent:
            together.wait(10)
            return id(lent)

    with ThreadPoolExecutor(workers()) as pool:
        assert len(set(pool.map(hold, range(workers())))) == len(made) == workers()


def test_no_more_are_made_than_there_are_workers_and_who_comes_then_waits():
    made, lent, most = [], [0], [0]
    resources, counting = ResourcePool(lambda: made.append(object()) or made[-1]), threading.Lock()

    def use(_):
        with resources.borrow() as one:
            with counting:
                lent[0] += 1
                most[0] = max(most[0], lent[0])
            time.sleep(0.01)
            with counting:
                lent[0] -= 1
            return id(one)

    with ThreadPoolExecutor(4 * workers()) as pool:
        used = set(pool.map(use, range(8 * workers())))
    assert used <= {id(one) for one in made} and 2 <= most[0] <= workers() and len(made) <= workers()
    with resources.borrow() as one:
        assert one in made


def test_what_cannot_be_made_later_takes_nobodys_place():
    made = []

    def make():
        if made:
            raise MemoryError
        made.append(1)
        return made

    resources = ResourcePool(make)
    for _ in range(3 * workers()):
        with resources.borrow() as first, pytest.raises(MemoryError), resources.borrow():
            pass
        assert first is made


def test_it_comes_back_after_an_error():
    resources = ResourcePool(object)
    with pytest.raises(ValueError, match="no"), resources.borrow() as lent:
        raise ValueError("no")
    with resources.borrow() as again:
        assert again is lent


def test_threads_are_given_back_when_the_last_is_done_in_whatever_order():
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        first, second = side_by_side(), side_by_side()
        first.__enter__()
        second.__enter__()
        assert cv2.getNumThreads() == 1
        first.__exit__(None, None, None)
        assert cv2.getNumThreads() == 1
        second.__exit__(None, None, None)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_two_photos_at_once_at_least():
    assert 2 <= workers() <= 8
