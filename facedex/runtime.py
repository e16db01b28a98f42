"""An inference graph as a function of pictures: run by onnxruntime where that is installed, else by OpenCV's dnn.

onnxruntime takes .65 to .85 of the time a face, and some hundredths of a second more to start. The two agree to some 1e-6.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from facedex.stock import Stock

Run = Callable[[np.ndarray], np.ndarray]


def open_graph(data: bytes) -> Run:
    """An ONNX graph with one input as a function of (n, 3, h, w) float32, which threads may share. Raises ValueError for
    what is no such graph.
    """
    try:
        import onnxruntime
    except ImportError:
        return in_opencv(data)
    return in_onnxruntime(onnxruntime, data)


def in_opencv(data: bytes) -> Run:
    """As open_graph, by OpenCV: threads have a network each."""
    try:
        nets = Stock(lambda: cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8)))
    except cv2.error as error:
        raise ValueError(str(error)) from None

    def run(pictures: np.ndarray) -> np.ndarray:
        with nets.one() as net:
            net.setInput(pictures)
            return net.forward()

    return run


def in_onnxruntime(onnxruntime: Any, data: bytes) -> Run:
    """As open_graph, by onnxruntime: on as many threads as OpenCV is to use at the time, so that both keep to one where
    photos are worked at side by side (stock.py).
    """
    sessions: dict[int, Any] = {}
    making = threading.Lock()

    def session() -> Any:
        threads = max(1, cv2.getNumThreads())
        with making:
            if threads not in sessions:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
                options.log_severity_level = 3  # errors, which are raised too
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores
                sessions[threads] = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            return sessions[threads]

    onnxruntime.disable_telemetry_events()  # which the builds for Windows have
    try:
        (given,) = session().get_inputs()
    except Exception as error:  # its exceptions have no common base
        raise ValueError(str(error)) from None
    return lambda pictures: session().run(None, {given.name: pictures})[0]
