"""Seeds that follow from what they are for, so that no random state has to be kept or shared."""

import json
from hashlib import blake2b


def derived_seed(*parts: object) -> int:
    """Return a seed for these parts: 48 bits, which every reader of JSON holds exactly."""
    return int.from_bytes(blake2b(json.dumps(parts).encode(), digest_size=6).digest())
