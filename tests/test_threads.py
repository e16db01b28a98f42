"""Resources lent to threads, and OpenCV's own threads switched off while photos are processed at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest

from facedex.threads import Budget, ResourcePool, side_by_side, workers


def test_a_returned_resource_is_lent_again_and_threads_at_once_get_their_own():
    made = []
    resources = ResourcePool(lambda: made.append(object()) or made[-1])
    assert len(made) == 1  # made at once, so that errors are raised here
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


def test_threads_never_hold_more_of_a_budget_than_there_is():
    budget, lock, held, most = Budget(10), threading.Lock(), [0], [0]

    def use(amount):
        with budget.take(amount):
            with lock:
                held[0] += min(amount, 10)
                most[0] = max(most[0], held[0])
            time.sleep(0.002)
            with lock:
                held[0] -= min(amount, 10)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, [3, 4, 25, 1, 10, 2, 6] * 8))
    assert 6 < most[0] <= 10
    assert held == [0]


def test_whoever_asks_for_more_than_the_budget_gets_it_all():
    budget, order = Budget(10), []

    def use():
        with budget.take(1):
            order.append("small")

    with ThreadPoolExecutor(1) as pool:
        with budget.take(1000):
            small = pool.submit(use)
            time.sleep(0.05)
            order.append("large")
        small.result(10)
    assert order == ["large", "small"]


def test_a_large_amount_is_not_overtaken_by_small_ones():
    budget, order = Budget(10), []

    def use(amount):
        with budget.take(amount):
            order.append(amount)

    with ThreadPoolExecutor(3) as pool:
        with budget.take(5):
            large = pool.submit(use, 10)
            time.sleep(0.05)
            small = pool.submit(use, 1)
            time.sleep(0.05)
            assert order == []
        large.result(10)
        small.result(10)
    assert order == [10, 1]


def test_an_amount_is_returned_after_an_error():
    budget = Budget(10)
    with pytest.raises(KeyError), budget.take(10):
        raise KeyError
    with budget.take(10):
        pass


def test_no_more_resources_are_made_than_there_are_workers():
    made, lent, most = [], [0], [0]
    lock = threading.Lock()
    resources = ResourcePool(lambda: made.append(object()) or made[-1])

    def use(_):
        with resources.borrow() as resource:
            with lock:
                lent[0] += 1
                most[0] = max(most[0], lent[0])
            time.sleep(0.01)
            with lock:
                lent[0] -= 1
            return id(resource)

    with ThreadPoolExecutor(4 * workers()) as pool:
        used = set(pool.map(use, range(8 * workers())))
    assert used <= {id(resource) for resource in made}
    assert 2 <= most[0] <= workers()
    assert len(made) <= workers()
    with resources.borrow() as resource:
        assert resource in made


def test_a_resource_that_cannot_be_made_takes_no_place():
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


def test_a_resource_is_returned_after_an_error():
    resources = ResourcePool(object)
    with pytest.raises(ValueError, match="no"), resources.borrow() as lent:
        raise ValueError("no")
    with resources.borrow() as again:
        assert again is lent


def test_opencv_gets_its_threads_back_after_the_last_context_ends():
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


def test_the_number_of_workers_is_bounded():
    assert 2 <= workers() <= 8
