"""Xet in the test Hub: tokens, and the content-addressed storage (CAS) that `hf_xet` uploads to and downloads from.

An upload brings xorbs, which are chunks one behind the other, each with a header and perhaps compressed; then a shard
that lists, for each file, its Xet hash, its SHA-256, and the ranges of chunks that it is made of. The server puts the
file together at once and keeps its bytes beside the objects of LFS, so a commit names it by its SHA-256 in either lane.

A download asks for the reconstruction of a file and gets addresses of xorbs. These are made from the bytes of the file
when they are asked for, with chunks that are not compressed: so a file that came by another way is served by Xet too,
and a flipped byte reaches the client as one flipped byte. Its hash is then not the one that Xet would give it (BLAKE3,
which the standard library lacks); the client does not compare it. The address of a xorb holds the file's SHA-256, as
that of an LFS object does: a fault for the one fits the other.

The formats: https://huggingface.co/docs/xet. Two newer routes of an upload, grants for xorbs and version 2 of shards,
are answered with 404, and the client falls back to those below.
"""

import hashlib
import re
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow
from hub_calls import REPO, REVISION, Answer, Call, route
from hub_store import File, HubError, Repo
from hub_transfers import may_commit, ranged, signature, signed, storage_address

CHUNK = 60_000  # bytes in a chunk of the xorbs that are made here; at most 128 KiB
XORB = 500 * CHUNK  # bytes of a file in one of them; at most 64 MiB
ENTRY = 48  # bytes of every line of a shard
CAS = "/cas-[0-9a-f]+"
END = b"\xff" * 32  # the hash of a shard's line behind the last file


class Term(NamedTuple):
    """A part of a file: the chunks `first` to before `last` of a xorb."""

    xorb: str
    first: int
    last: int


class Uploaded(NamedTuple):
    """A file of a shard."""

    xet_hash: str
    sha256: str
    terms: list[Term]


# Tokens


@route("GET", f"{REPO}/xet-read-token/{REVISION}")
def read_token(call: Call, kind: str, repo_id: str, revision: str):
    repo = call.read(kind, repo_id)
    call.hub.store.open_files(repo, call.user)
    return token(call, repo, "read")


@route("GET", f"{REPO}/xet-write-token/{REVISION}")
def write_token(call: Call, kind: str, repo_id: str, revision: str):
    return token(call, may_commit(call, kind, repo_id, revision), "write")


def token(call: Call, repo: Repo, scope: str) -> Answer:
    """A token for the files of one repository, in headers for the Python of the client and as JSON for its Rust."""
    expires = int(time.time()) + 3600
    words = [scope, repo.kind, repo.id, str(expires)]
    secret = ":".join([*words, signature(*words)])
    headers = {"Cas-Url": call.hub.cas_url, "Access-Token": secret, "Token-Expiration": str(expires)}
    body = {"casUrl": call.hub.cas_url, "accessToken": secret, "exp": expires}
    return Answer(body, headers={f"X-Xet-{name}": value for name, value in headers.items()})


def granted(call: Call, scope: str) -> Repo:
    """The repository of the token of a request to the CAS: 401 for one that is none, 403 for the scope."""
    *words, sign = (call.headers.get("Authorization") or "").removeprefix("Bearer ").split(":")
    if len(words) != 4 or sign != signature(*words):
        raise HubError(401, "The Xet token is invalid")
    if words[0] not in (scope, "write"):
        raise HubError(403, f"The Xet token lacks the scope {scope}")
    return call.hub.store.readable(words[1], words[2], words[2].split("/")[0])


# Upload


@route("GET", f"{CAS}/v1/chunks/[a-z-]+/([0-9a-f]{{64}})")
def known_chunk(call: Call, chunk: str):
    granted(call, "read")
    raise HubError(404, "No other repository has this chunk")


@route("POST", f"{CAS}/v1/xorbs/default/([0-9a-f]{{64}})")
def store_xorb(call: Call, xorb: str):
    granted(call, "write")
    new = xorb not in call.hub.store.xorbs
    call.hub.store.xorbs[xorb] = list(chunks(call.body))
    return {"was_inserted": new}


@route("POST", f"{CAS}/v1/shards")
def store_shard(call: Call):
    repo, xorbs = granted(call, "write"), call.hub.store.xorbs
    for one in uploaded(call.body):
        try:
            data = b"".join(b"".join(xorbs[term.xorb][term.first : term.last]) for term in one.terms)
        except KeyError as error:
            raise HubError(400, f"The shard names a xorb that was not uploaded: {error}") from error
        if hashlib.sha256(data).hexdigest() != one.sha256:
            raise HubError(400, f"The chunks of {one.xet_hash} do not have the SHA-256 that the shard says")
        repo.uploads.setdefault(one.sha256, File(data, lfs=True, uploaded_as=one.xet_hash))
    return {"result": 1}


def chunks(xorb: bytes) -> Iterator[bytes]:
    """The chunks of a serialized xorb, decompressed; a table of contents may follow them."""
    start = 0
    while start < len(xorb) and xorb[start] == 0:  # the version of a chunk's header
        packed, scheme = int.from_bytes(xorb[start + 1 : start + 4], "little"), xorb[start + 4]
        size = int.from_bytes(xorb[start + 5 : start + 8], "little")
        yield unpacked(xorb[start + 8 : start + 8 + packed], scheme, size)
        start += 8 + packed


def unpacked(data: bytes, scheme: int, size: int) -> bytes:
    """A chunk: as it is (0), LZ4 (1), or LZ4 of its every fourth byte from the first, second, third, fourth on (2)."""
    if scheme == 0:
        return data
    data = pyarrow.decompress(data, size, codec="lz4", asbytes=True)
    if scheme == 1:
        return data
    chunk, start = bytearray(size), 0
    for offset in range(4):
        length = len(chunk[offset::4])
        chunk[offset::4] = data[start : start + length]
        start += length
    return bytes(chunk)


def uploaded(shard: bytes) -> Iterator[Uploaded]:
    """The files of a shard: a line for each, then its terms, then their check sums, then its SHA-256."""
    lines = iter([shard[start : start + ENTRY] for start in range(ENTRY, len(shard), ENTRY)])
    for line in lines:
        raw, flags, count = struct.unpack("<32sII8x", line)
        if raw == END:
            return
        terms = [struct.unpack("<32s8xII", next(lines)) for _ in range(count)]
        for _ in range(count * (flags >> 31)):
            next(lines)
        if not flags >> 30 & 1:
            raise HubError(400, "The shard lacks the SHA-256 of a file")
        yield Uploaded(digits(raw), digits(next(lines)[:32]), [Term(digits(xorb), *span) for xorb, *span in terms])


def digits(raw: bytes) -> str:
    """A hash as Xet writes it: four little-endian numbers of 64 bits in hexadecimal."""
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))


# Download


@route("GET", f"{CAS}/v2/reconstructions/([0-9a-f]{{64}})")
def reconstruction(call: Call, xet_hash: str):
    repo = granted(call, "read")
    file = next((each for each in repo.uploads.values() if each.xet_hash == xet_hash), None)
    if file is None:
        raise HubError(404, "No such file")
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("Range") or "bytes=0-")
    start, last = int(match[1]), min(int(match[2] or len(file.data)), len(file.data) - 1)
    if start > last:
        raise HubError(416, "Range not satisfiable")
    terms, xorbs = [], {}
    for number in range(start // XORB, last // XORB + 1):
        size = min(XORB, len(file.data) - number * XORB)
        xorb, span = signature(xet_hash, str(number)) * 2, {"start": 0, "end": -(-size // CHUNK)}
        terms.append({"hash": xorb, "unpacked_length": size, "range": span})
        url = storage_address(call, repo, file.sha256, f"xorb/{number}")
        bytes_span = {"start": 0, "end": size + 8 * span["end"] - 1}
        xorbs[xorb] = [{"url": url, "ranges": [{"chunks": span, "bytes": bytes_span}]}]
    return {"offset_into_first_range": start % XORB, "terms": terms, "xorbs": xorbs}


@route("GET", r"/xorb/(\d+)/(models|datasets)/([^/]+/[^/]+)/([0-9a-f]{64})")
def xorb(call: Call, number: str, kind: str, repo_id: str, oid: str):
    data = signed(call, kind, repo_id, oid, f"xorb/{number}").uploads[oid].data
    part = data[int(number) * XORB : (int(number) + 1) * XORB]
    return ranged(call, b"".join(packed(part[start : start + CHUNK]) for start in range(0, len(part), CHUNK)), {})


def packed(chunk: bytes) -> bytes:
    size = len(chunk).to_bytes(3, "little")
    return b"\0" + size + b"\0" + size + chunk
