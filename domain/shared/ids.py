"""Stream ids: random for documents, derived for things that have a natural key."""

import json
from functools import lru_cache
from uuid import UUID, uuid5


# Every journal line needs one, and deriving it costs more than the rest of the line.
@lru_cache(maxsize=65_536)
def natural_id(tenant: UUID, stream_type: str, *parts: str) -> UUID:
    """The id of the stream that holds the thing named by `parts`.

    UUIDv5 (RFC 9562) in the tenant's namespace over the JSON array `[type, part, …]`, so that two
    concurrent creations collide at version 1, and "1122" the account never meets "1122" the item.
    """
    return uuid5(tenant, json.dumps([stream_type, *parts], ensure_ascii=False, separators=(",", ":")))
