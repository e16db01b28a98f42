"""OpenCV, checked to be whole. Every module takes cv2 from here."""

from __future__ import annotations

from facedex.errors import BrokenPackage

_REMEDY = "run: pip install --force-reinstall --no-deps opencv-python-headless"

try:
    import cv2 as cv2
except ImportError as error:
    raise BrokenPackage(f"OpenCV (the package cv2) cannot be imported ({error}); {_REMEDY}") from None

# All packages of OpenCV share the folder cv2. Whoever removes one of two leaves the other without its files.
if not hasattr(cv2, "FaceDetectorYN"):
    raise BrokenPackage(
        f"OpenCV (the package cv2) is not whole, as after one of two OpenCV packages was removed; {_REMEDY}"
    )
