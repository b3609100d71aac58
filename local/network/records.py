"""Realistic records: posts, replies, likes, reposts, follows, blocks, a profile, and some odd ones.

Everything comes from one ``random.Random``: the same generator gives the same records, in the same
order, on every machine. The odd records are what the real network holds: createdAt missing, of the wrong
type or unreadable, very long texts, old fields, collections nobody selected.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from local.network.tid import tid

Record = dict[str, Any]

FIRST_SECOND = int(datetime(2023, 1, 1, tzinfo=UTC).timestamp())
LAST_SECOND = int(datetime(2026, 6, 30, tzinfo=UTC).timestamp())
ODD_EVERY = 97
"""One record in so many has an odd createdAt."""

VOICES: Sequence[tuple[Sequence[str], str]] = (
    (["en"], "the sky over this town is wide and honestly nobody looks up often enough today"),
    (["en"], "shipping a small fix before lunch because the tests finally told me the truth 🚀"),
    (["de"], "heute früh über die Brücke geradelt, schön kühl, müde Füße, großartiger Käsekuchen"),
    (["pt", "en"], "não sei vocês mas amanhã é dia de pão, café e coração tranquilo às três"),
    (["ja"], "今日は 空が とても 青い ので 少し 遠くまで 歩いて 写真を 撮った 🌸"),
    (["ar"], "صباح الخير من مدينة بعيدة والسماء صافية اليوم"),
    ([], "👩\u200d👩\u200d👧 🏳️ na\u00efve façade \u200b zero\u200bwidth e\u0301 \U0001f9ff"),
)
"""Languages of a post, and the words that it is drawn from."""
ODD_CREATED_AT: Sequence[object] = (
    None,
    "",
    "yesterday",
    "2024-13-45T25:61:00Z",
    "2025-02-30T12:00:00.000Z",
    1700000000,
    "0001-01-01T00:00:00.000Z",
    "2999-12-31T23:59:59.999Z",
    "2024-05-01",
    "2024-05-01T12:00:00",
    "2024-05-01T12:00:00+09:00",
    "2024-05-01T12:00:00.123456789Z",
)


@cache
def _voices() -> Sequence[tuple[Sequence[str], Sequence[str]]]:
    """Languages, and a long run of words to cut texts from: far cheaper than drawing each word."""
    rng = random.Random("voices")
    return [(langs, rng.choices(words.split(), k=4000)) for langs, words in VOICES]


class Author:
    """Writes the records of one account. ``dids`` are the accounts that it can follow, like and quote."""

    def __init__(self, rng: random.Random, did: str, handle: str, dids: Sequence[str]) -> None:
        self._rng = rng
        self._did = did
        self._handle = handle
        self._dids = dids
        self._clock = rng.getrandbits(10)
        self._voices = _voices()
        self._kinds: Sequence[tuple[str, Callable[[], Record]]] = (
            ("app.bsky.feed.like", self._like),
            ("app.bsky.feed.post", self._post),
            ("app.bsky.feed.post", self._reply),
            ("app.bsky.feed.repost", self._repost),
            ("app.bsky.graph.follow", self._follow),
            ("app.bsky.graph.block", self._block),
            ("app.bsky.feed.threadgate", self._threadgate),
            ("com.whtwnd.blog.entry", self._article),
        )

    def write(self, count: int) -> dict[str, Record]:
        """``count`` records by "collection/rkey", oldest first; the first one is the profile."""
        records: dict[str, Record] = {}
        chosen = self._rng.choices(self._kinds, weights=(45, 15, 13, 10, 14, 2, 0.5, 0.5), k=count)
        for i, (moment, (collection, make)) in enumerate(zip(self._moments(count), chosen, strict=True)):
            if i == 0:
                collection, rkey, record = "app.bsky.actor.profile", "self", self._profile()
            else:
                rkey, record = tid(moment, self._clock), make()
            record["createdAt"] = instant(moment)
            if i % ODD_EVERY == ODD_EVERY // 7:
                self._make_odd(record, i)
            records[f"{collection}/{rkey}"] = record
        return records

    def _moments(self, count: int) -> list[int]:
        """Strictly ascending times in microseconds."""
        begin = self._rng.randrange(FIRST_SECOND, (FIRST_SECOND + LAST_SECOND) // 2)
        span = LAST_SECOND - begin
        moments = sorted(int((begin + self._rng.random() * span) * 1_000_000) for _ in range(count))
        for i in range(1, count):
            moments[i] = max(moments[i], moments[i - 1] + 1)
        return moments

    def _make_odd(self, record: Record, i: int) -> None:
        value = ODD_CREATED_AT[(i // ODD_EVERY + self._clock) % len(ODD_CREATED_AT)]
        if value is None:
            del record["createdAt"]
        else:
            record["createdAt"] = value

    def _profile(self) -> Record:
        return {
            "$type": "app.bsky.actor.profile",
            "displayName": self._handle.split(".")[0].title(),
            "description": self._text(),
            "avatar": self._blob("image/jpeg"),
        }

    def _like(self) -> Record:
        return {"$type": "app.bsky.feed.like", "subject": self._strong_ref()}

    def _repost(self) -> Record:
        return {"$type": "app.bsky.feed.repost", "subject": self._strong_ref()}

    def _follow(self) -> Record:
        return {"$type": "app.bsky.graph.follow", "subject": self._somebody()}

    def _block(self) -> Record:
        return {"$type": "app.bsky.graph.block", "subject": self._somebody()}

    def _reply(self) -> Record:
        root = self._strong_ref()
        parent = root if self._rng.random() < 0.5 else self._strong_ref()
        return {**self._post(), "reply": {"root": root, "parent": parent}}

    def _post(self) -> Record:
        langs, words = self._voices[int(self._rng.random() * len(self._voices))]
        record: Record = {"$type": "app.bsky.feed.post", "text": self._text(words)}
        if langs:
            record["langs"] = list(langs)
        chance = self._rng.random()
        if chance < 0.30:
            self._decorate(record, chance / 0.30)
        return record

    def _decorate(self, record: Record, chance: float) -> None:
        """Give a post what about a third of posts have: an embed, facets, or rarer and older fields."""
        if chance < 0.35:
            image = {"alt": self._text(), "image": self._blob("image/jpeg")}
            image["aspectRatio"] = {"width": 1200, "height": 900}
            record["embed"] = {"$type": "app.bsky.embed.images", "images": [image]}
        elif chance < 0.50:
            record["embed"] = {"$type": "app.bsky.embed.record", "record": self._strong_ref()}
        elif chance < 0.65:
            external = {"uri": "https://example.com/å?q=1", "title": self._text(), "description": ""}
            record["embed"] = {"$type": "app.bsky.embed.external", "external": external}
        elif chance < 0.90:
            self._add_facets(record)
        elif chance < 0.94:
            values = [{"val": "!no-unauthenticated"}]
            record["labels"] = {"$type": "com.atproto.label.defs#selfLabels", "values": values}
        elif chance < 0.96:
            record["tags"] = ["skyfill", "überall", "青い"]
        elif chance < 0.98:
            entity = {"index": {"start": 0, "end": 3}, "type": "link", "value": "https://example.com"}
            record["entities"] = [entity]
        else:
            record["text"] *= 60

    def _add_facets(self, record: Record) -> None:
        """A mention and a tag behind the text; facets count bytes of UTF-8, not characters."""
        before = record["text"] + " "
        mention, tag = "@somebody.test", "#süß"
        record["text"] = f"{before}{mention} {tag}"
        start = len(before.encode())
        end = start + len(mention.encode())
        record["facets"] = [
            {
                "index": {"byteStart": start, "byteEnd": end},
                "features": [{"$type": "app.bsky.richtext.facet#mention", "did": self._somebody()}],
            },
            {
                "index": {"byteStart": end + 1, "byteEnd": end + 1 + len(tag.encode())},
                "features": [{"$type": "app.bsky.richtext.facet#tag", "tag": tag[1:]}],
            },
        ]

    def _threadgate(self) -> Record:
        allow = [{"$type": "app.bsky.feed.threadgate#followingRule"}]
        return {"$type": "app.bsky.feed.threadgate", "post": self._post_uri(), "allow": allow}

    def _article(self) -> Record:
        body = "\n\n".join(self._text() for _ in range(200))
        return {"$type": "com.whtwnd.blog.entry", "content": body, "visibility": "public"}

    def _text(self, words: Sequence[str] | None = None) -> str:
        """3 to 24 words."""
        words = words or self._voices[0][1]
        start = int(self._rng.random() * (len(words) - 24))
        return " ".join(words[start : start + 3 + int(self._rng.random() * 22)])

    def _somebody(self) -> str:
        return self._dids[int(self._rng.random() * len(self._dids))]

    def _post_uri(self) -> str:
        second = FIRST_SECOND + self._rng.random() * (LAST_SECOND - FIRST_SECOND)
        return f"at://{self._somebody()}/app.bsky.feed.post/{tid(int(second * 1_000_000), 7)}"

    def _strong_ref(self) -> Record:
        return {"uri": self._post_uri(), "cid": "bafyrei" + self._digest_text()}

    def _blob(self, mime_type: str) -> Record:
        ref = {"$link": "bafkrei" + self._digest_text()}
        return {"$type": "blob", "ref": ref, "mimeType": mime_type, "size": self._rng.randrange(1, 1_000_000)}

    def _digest_text(self) -> str:
        """52 characters that complete the text form of a SHA-256 CID.

        The four bytes before the digest end inside the first character (3 free bits), and the last one
        carries 3 bits and 2 of padding.
        """
        bits = self._rng.getrandbits(256)
        middle = bits.to_bytes(32, "big").hex()[:50].translate(HEX_TO_BASE32)
        return f"{'abcdefgh'[bits & 7]}{middle}{'aeimquy4'[bits >> 3 & 7]}"


HEX_TO_BASE32 = str.maketrans("0123456789", "ghijklmnop")


def instant(microseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    day, rest = divmod(microseconds // 1000, 86_400_000)
    seconds, milliseconds = divmod(rest, 1000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"
    return f"{_date(day)}T{clock}Z"


@cache
def _date(day: int) -> str:
    """The ISO date of a day counted from 1970."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
