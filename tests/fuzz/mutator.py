"""Valid files, damaged at random: what a fuzzer without a compiler does."""

import gzip
import random

TOKENS = (
    b"\0", b'"', b"'", b",", b";", b"\n", b"\r\n", b"\t", b"[", b"]", b"{", b"}", b":", b"\\", b"\\u0000",
    b"\\ud800", b"null", b"true", b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"9" * 25, b"9" * 5000, b"1.5",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xc2\xb2", b"\xf0\x9f\xa6\x93", b"../", b"/", b"~", b"\x1c", b"\x1b[31m",
    b"'; DROP TABLE x; --", b"=1+1", b"[" * 2000, b'{"a":' * 500, b"", b" ", b"NA", b"#", b"%", b"__", b".",
)  # fmt: skip


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """Return a file with some of its parts changed."""
    data = seed
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        data = _changed(data, chance)
        if len(data) > 1 << 20:
            break
    if chance.random() < 0.03:
        data = gzip.compress(data)
        if chance.random() < 0.7:
            data = _changed(data, chance)
    return data


def _changed(data: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(data))
    end = min(len(data), at + chance.choice((1, 1, 2, 5, 20, 200)))
    how = chance.randrange(8)
    if how == 0:  # a bit
        changed = bytearray(data)
        if changed:
            changed[at % len(changed)] ^= 1 << chance.randrange(8)
        return bytes(changed)
    if how == 1:
        return data[:at] + chance.randbytes(end - at) + data[end:]
    if how == 2:
        return data[:at] + data[end:]
    if how == 3:
        return data[:end] + data[at:end] * chance.choice((1, 2, 30)) + data[end:]
    if how == 4:
        return data[:at]
    if how == 5:  # a value becomes another
        parts = data.split(b",")
        parts[chance.randrange(len(parts))] = chance.choice(TOKENS)
        return b",".join(parts)
    if how == 6:  # parts change places
        parts = data.split(b",")
        chance.shuffle(parts)
        return b",".join(parts)
    return data[:at] + chance.choice(TOKENS) + data[at:]
