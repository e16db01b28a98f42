"""A plain web server round the package face_recognition, as a user of FastAPI writes one.

The Python of that package runs this file, so nothing of facedex is imported. The variable PEOPLE names a folder of
photos PERSON.jpg: those people are known. `serving_peers` starts the server.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import face_recognition
from fastapi import FastAPI, UploadFile

TOLERANCE = 0.6  # the distance up to which face_recognition's own `compare_faces` calls two faces one person's

app = FastAPI()
encodings = {
    path.stem: face_recognition.face_encodings(face_recognition.load_image_file(path))
    for path in Path(os.environ["PEOPLE"]).iterdir()
}
known = {name: found[0] for name, found in encodings.items() if found}


@app.post("/identify")
async def identify(photo: UploadFile) -> dict[str, list[str | None]]:
    """Name each face of a photo; None for a face that is nobody's.

    One request of a process follows another, because only one thread at a time may use dlib's detector.
    """
    names: list[str | None] = []
    for found in face_recognition.face_encodings(face_recognition.load_image_file(io.BytesIO(await photo.read()))):
        distances = face_recognition.face_distance(list(known.values()), found)
        best = distances.argmin()
        names.append(list(known)[best] if distances[best] <= TOLERANCE else None)
    return {"names": names}
