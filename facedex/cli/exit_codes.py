"""What the exit codes mean, for the reference of the command line."""

from __future__ import annotations

EVERY_COMMAND = {
    2: "wrong usage, or a gallery, model or file that cannot be used, or a question not answered with yes",
    3: "a fault in facedex itself; FACEDEX_TRACEBACK=1 shows the traceback that a report needs",
    130: "ended by Ctrl-C; results known so far were printed",
    141: "ended, because the reader of stdout went away",
}

EXIT_CODES: dict[str, dict[int, str]] = {
    "train": {0: "the model was written", 1: "not written, because it is worse than the model it started from"},
    "enroll": {
        0: "every photo is enrolled",
        1: "at least one photo was skipped or is in conflict with another",
        2: "as above, or all names are doubtful; nobody is enrolled then",
    },
    "identify": {
        0: "at least one face was named",
        1: "nobody was named, a photo was skipped, or a picture or copy not written",
    },
    "video": {
        0: "at least one person was named",
        1: "nobody was named, a video was skipped, or crops not written",
    },
    "verify": {0: "the same person", 1: "different people"},
    "evaluate": {0: "every photo was used", 1: "at least one photo shows no usable face"},
    "detect": {0: "every photo shows a face", 1: "at least one photo was skipped, or its crops not written"},
    "embed": {0: "every photo shows a face", 1: "at least one photo was skipped"},
    "list": {0: "done"},
    "show": {0: "done"},
    "rename": {0: "done"},
    "merge": {0: "done", 2: "as above; after an answer other than yes nothing is changed"},
    "remove": {
        0: "done",
        1: "the people are deleted, but a sidecar could not be changed",
        2: "as above; after an answer other than yes nothing is changed",
    },
    "consent": {0: "done"},
    "purge": {
        0: "done, or nothing has expired",
        1: "the people are deleted, but a sidecar could not be changed",
        2: "as above; after an answer other than yes nothing is changed",
    },
    "log": {0: "done"},
    "undo": {
        0: "done",
        1: "nothing is left to undo",
        2: "as above; after an answer other than yes nothing is changed",
    },
    "scan": {0: "every photo was looked at", 1: "at least one photo was skipped"},
    "cluster": {0: "done"},
    "name": {0: "done"},
    "review": {0: "done, or nothing is unsure"},
    "join": {0: "done"},
    "split": {0: "done"},
    "not-a-face": {0: "done"},
    "ignore": {0: "done"},
    "find": {0: "at least one photo was found", 1: "no photo shows all of these people"},
    "forget": {0: "done", 2: "as above; after an answer other than yes nothing is changed"},
    "export": {
        0: "done",
        1: "a photo was skipped, or another program names a face otherwise",
        2: "as above; after an answer other than yes nothing is changed",
    },
    "import": {0: "done", 1: "a photo was skipped, or a name was left out"},
    "reindex": {
        0: "done",
        1: "faces were dropped",
        2: "as above; after an answer other than yes nothing is changed",
    },
    "doctor": {
        0: "everything is sound",
        1: "something was repaired, or there is a warning",
        2: "something is broken, or the gallery cannot be used",
    },
    "backup": {0: "done"},
    "restore": {0: "done"},
    "serve": {0: "stopped by Ctrl-C or a signal"},
}
