"""What may be a secret never appears in what people are shown."""

from __future__ import annotations

import re

_SECRETS = (
    (re.compile(r"(://)[^/\s@]+@"), r"\1***@"),
    (
        re.compile(
            r"([?&;](?:x-amz-[a-z-]+|token|access_token|signature|sig|key|api_key|password|secret)=)[^&\s#\"']+",
            re.I,
        ),
        r"\1***",
    ),
    (re.compile(r"(\bbearer\s+)[A-Za-z0-9._~+/=-]+", re.I), r"\1***"),
)


def mask(text: str) -> str:
    """A text without the secrets that URLs and headers in it may hold."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
