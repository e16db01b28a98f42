"""Long lists in parts: a cursor says where the next part begins."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from facedex.errors import RequestError

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=4000, description="`next` of the part before.")]


def part(items: Sequence[T], key: Callable[[T], Any], limit: int, cursor: str | None) -> tuple[Sequence[T], str | None]:
    """Up to `limit` of the items after a cursor, and the cursor of those behind; None at the end.

    The items are in the order of `key`, which gives a list of texts and numbers. An item that went meanwhile, or came,
    moves none of the others from one part to another. Raises RequestError for a cursor that no list gave.
    """
    if cursor is not None:
        last = _opened(cursor)
        try:
            items = [item for item in items if key(item) > last]
        except TypeError:
            raise _unknown() from None
    shown = items[:limit]
    return shown, _closed(key(shown[-1])) if len(items) > limit else None


def _closed(key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _opened(cursor: str) -> Any:
    try:
        value = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        raise _unknown() from None
    if not isinstance(value, list):
        raise _unknown()
    return value


def _unknown() -> RequestError:
    return RequestError("The cursor is none of this list's; begin without one")
