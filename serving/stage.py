"""Stage: many requests do the same at the same time.

What a request needs of the program is more than a processor's first cache holds: done for one
request after the other, from its beginning to its end, all of it is fetched anew for each. So each
request stops between the stages of its way, and all that are on the same turn of the event loop do
one stage, and then all of them the next. It takes less time (docs/performance.md says how much),
and more requests come meanwhile, so that what is done once a turn is done less often. To one that
is alone it costs some microseconds.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


@types.coroutine
def others() -> Generator[None]:
    """Go on when the others of this turn have come as far, as after `asyncio.sleep(0)`."""
    yield
