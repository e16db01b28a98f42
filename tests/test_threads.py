"""Resources lent to threads, and OpenCV's own threads switched off while photos are processed at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest

from facedex.threads import ResourcePool, side_by_side, workers


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
