"""The package asks no other machine for anything, and reports nothing to anybody."""

import os

from tests.helpers import python, save_face

RUN = """
import os, sys

def note(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect") and not isinstance(arguments[-1], (str, bytes)):
        os.write(1, f"{event} {arguments[-2:]}\\n".encode())

sys.addaudithook(note)
import facedex

facedex.find_faces(sys.argv[1], "fast")
with facedex.Gallery(sys.argv[2], "fast", create=True) as gallery:
    print(gallery.enroll("Ada", sys.argv[1]).status)
    print(gallery.identify(sys.argv[1]).faces[0].name)
"""


def test_naming_a_face_asks_no_other_machine(tmp_path):
    # Processes that the package forks inherit the hook. Reports of other packages are off where CI is set.
    save_face(tmp_path / "Ada.png", 1)
    usual = {name: "" for name in ("CI", "TF_BUILD", "JENKINS_URL") if name in os.environ}
    process = python(RUN, tmp_path / "Ada.png", tmp_path / "gallery", env=usual)
    printed, errors = process.communicate(timeout=120)
    assert printed.splitlines() == ["enrolled", "Ada"], errors
