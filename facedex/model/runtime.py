"""An inference graph as a function of one face. OpenVINO runs the graph where it is installed, else OpenCV's dnn."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from facedex.log import logger
from facedex.opencv import cv2
from facedex.threads import ResourcePool, quiet, workers

_log = logger(__name__)

Run = Callable[[np.ndarray], np.ndarray]  # picture (3, height, width) float32 to vector (dim,) float32
Runtime = Callable[[bytes, tuple[int, int, int]], Run]  # an ONNX file and a picture's shape to a Run, see open_graph


def open_graph(data: bytes, shape: tuple[int, int, int]) -> Run:
    """A function that runs an ONNX file: a picture (3, height, width) float32 to a vector (dim,) float32.

    The graph has one input and takes a batch of one picture. `shape` is the picture's shape. Threads may share the
    function, and each call uses one thread. Every runtime gives the same embeddings to 1e-4.
    Raises ValueError for another kind of file. The function raises ValueError where the graph does not take such
    pictures. OpenCV does not replace OpenVINO where OpenVINO refuses a graph.
    """
    try:
        run = in_openvino(data, shape)
    except ImportError as error:
        run = in_opencv(data, shape)
        _log.info("OpenCV %s runs a network of %d KiB (%s)", cv2.__version__, len(data) // 1024, error)
    else:
        _log.info("OpenVINO runs a network of %d KiB", len(data) // 1024)
    return run


def in_opencv(data: bytes, shape: tuple[int, int, int]) -> Run:
    """Like open_graph, by OpenCV. Each thread has a network of its own."""

    def made() -> Any:
        with quiet():
            return cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))

    try:
        nets = ResourcePool(made)
    except cv2.error as error:
        raise ValueError(str(error)) from None

    def run(picture: np.ndarray) -> np.ndarray:
        try:
            with nets.borrow() as net:
                net.setInput(picture[None])
                return np.array(net.forward(), np.float32).ravel()
        except cv2.error as error:
            raise ValueError(str(error)) from None

    return run


def in_openvino(data: bytes, shape: tuple[int, int, int]) -> Run:
    """Like open_graph, by OpenVINO. Each thread has a request of its own. Raises ImportError as openvino_core does."""
    core = openvino_core()
    try:
        model = core.read_model(data)
        model.reshape([1, *shape])
        # A stream for each thread that works beside the others, and one core for each stream.
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": workers(),
            "INFERENCE_NUM_THREADS": workers(),
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    requests = ResourcePool(compiled.create_infer_request)

    def run(picture: np.ndarray) -> np.ndarray:
        try:
            with requests.borrow() as request:
                request.infer([np.ascontiguousarray(picture[None])])
                return np.array(request.get_output_tensor(0).data, np.float32).ravel()
        except RuntimeError as error:
            raise ValueError(str(error)) from None

    # OpenVINO deadlocks where its first inference runs in two threads at once, so one thread runs it here.
    with _starting:
        run(np.zeros(shape, np.float32))
    return run


_core: Any = None
_core_process = 0  # id of the process that made the core
_starting = threading.Lock()


def openvino_core() -> Any:
    """The one openvino.Core of this process.

    Raises ImportError where OpenVINO is not installed, and in a process that was forked from one that used OpenVINO:
    OpenVINO's threads do not survive a fork, and an inference would wait for them for ever.
    """
    # On Linux each Core installs a stack for signal handlers and restores the previous stack when it goes. Where the
    # older of two cores goes first, the restored stack no longer exists: the next Ctrl-C is a segmentation fault.
    global _core, _core_process
    with _starting:
        openvino = _silent_openvino()
        if _core is None:
            _core, _core_process = openvino.Core(), os.getpid()
        elif _core_process != os.getpid():
            raise ImportError("OpenVINO cannot be used after a fork")
        return _core


def _silent_openvino() -> Any:
    """The package openvino, imported without its telemetry. Raises ImportError where OpenVINO is not installed."""
    # OpenVINO reports each import to Google Analytics, from a process of its own, unless this package is missing.
    telemetry = "openvino_telemetry"
    known = telemetry in sys.modules
    if not known:
        sys.modules[telemetry] = None  # type: ignore[assignment]  # the import system takes it for a missing package
    try:
        import openvino
    finally:
        if not known:
            del sys.modules[telemetry]
    return openvino
