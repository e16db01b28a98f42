"""An inference graph as a function of one face: run by OpenVINO where that is installed, else by OpenCV's dnn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from facedex.stock import Stock, workers

Run = Callable[[np.ndarray], np.ndarray]
Engine = Callable[[bytes, tuple[int, int, int]], Run]


def open_graph(data: bytes, shape: tuple[int, int, int]) -> Run:
    """An ONNX file with one input as a function of a picture `shape` (3, height, width) float32 to a vector (dim,)
    float32. Threads may share the function, and each call uses one thread.

    Raises ValueError for what is no such graph, as does the function for one that does not take such pictures.
    """
    try:
        return in_openvino(data, shape)
    except ImportError:
        return in_opencv(data, shape)


def in_opencv(data: bytes, shape: tuple[int, int, int]) -> Run:
    """As open_graph, by OpenCV. Each thread has a network of its own."""

    def made() -> Any:
        with quiet():
            return cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))

    try:
        nets = Stock(made)
    except cv2.error as error:
        raise ValueError(str(error)) from None

    def run(picture: np.ndarray) -> np.ndarray:
        try:
            with nets.one() as net:
                net.setInput(picture[None])
                return np.array(net.forward(), np.float32).ravel()
        except cv2.error as error:
            raise ValueError(str(error)) from None

    return run


def in_openvino(data: bytes, shape: tuple[int, int, int]) -> Run:
    """As open_graph, by OpenVINO. Each thread has a request of its own. Raises ImportError where it is not installed."""
    core = openvino_core()
    try:
        model = core.read_model(data)
        model.reshape([1, *shape])
        # A stream for each thread that works beside the others, and one core for each stream.
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": workers(), "INFERENCE_NUM_THREADS": workers(),
            "INFERENCE_PRECISION_HINT": "f32",
        }  # fmt: skip
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    requests = Stock(compiled.create_infer_request)

    def run(picture: np.ndarray) -> np.ndarray:
        try:
            with requests.one() as request:
                request.infer([np.ascontiguousarray(picture[None])])
                return np.array(request.get_output_tensor(0).data, np.float32).ravel()
        except RuntimeError as error:
            raise ValueError(str(error)) from None

    return run


_core: Any = None
_making_core = threading.Lock()


def openvino_core() -> Any:
    """The one openvino.Core of this process. Raises ImportError where OpenVINO is not installed."""
    # On Linux each Core gives the thread a stack for signal handlers, takes it back as it goes, and puts back the one
    # before. Of two, where the older goes first, that is gone by then, and the next Ctrl-C is a segmentation fault.
    import openvino

    global _core
    with _making_core:
        if _core is None:
            _core = openvino.Core()
        return _core


@contextmanager
def quiet() -> Iterator[None]:
    """Without OpenCV's own lines about what it cannot take: our error says that in a sentence."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
