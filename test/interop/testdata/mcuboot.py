"""Reads an image of MCUboot as its design document says, and checks it with python3-cryptography.

    mcuboot.py (image public-key.pem)...

Says of each in a line what it is, or why it is not what the key's owner signed.
"""

import hashlib
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

SHA = {0x10: "sha256", 0x11: "sha384", 0x12: "sha512"}


def entries(data, at, magic):
    found, total = struct.unpack_from("<HH", data, at)
    assert found == magic, "magic"
    end, at = at + total, at + 4
    pairs = []
    while at < end:
        kind, length = struct.unpack_from("<HH", data, at)
        pairs.append((kind, data[at + 4 : at + 4 + length]))
        at += 4 + length
    assert at == end, "length"
    return pairs, end


def main(image, public):
    data = open(image, "rb").read()
    key = serialization.load_pem_public_key(open(public, "rb").read())
    magic, load, header, protected, body, flags = struct.unpack_from("<IIHHII", data, 0)
    version = struct.unpack_from("<BBHI", data, 20)
    assert magic == 0x96F3B83D, "magic"
    said = []
    at = header + body
    if protected:
        pairs, end = entries(data, at, 0x6908)
        assert end == at + protected, "protected"
        said = [f"{kind:x}={value.hex()}" for kind, value in pairs]
        at = end
    region = data[:at]
    pairs, end = entries(data, at, 0x6907)
    assert end == len(data), "end"
    (kind, digest), (key_kind, key_hash), (signature_kind, signature) = pairs
    sha = SHA[kind]
    assert hashlib.new(sha, region).digest() == digest, "hash"
    is_rsa = isinstance(key, rsa.RSAPublicKey)
    form = serialization.PublicFormat.PKCS1 if is_rsa else serialization.PublicFormat.SubjectPublicKeyInfo
    der = key.public_bytes(serialization.Encoding.DER, form)
    assert (key_kind, key_hash) == (0x01, hashlib.new(sha, der).digest()), "key"
    if is_rsa:
        assert signature_kind == {2048: 0x20, 3072: 0x23}[key.key_size], "kind"
        key.verify(signature, region, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    elif isinstance(key, ed25519.Ed25519PublicKey):
        assert signature_kind == 0x24, "kind"
        key.verify(signature, digest)
    else:
        assert signature_kind == 0x22, "kind"
        key.verify(signature, region, ec.ECDSA({"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}[sha]))
    return " ".join(["taken", *said, *(f"{number:x}" for number in (*version, load, flags))])


for image, public in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        print(main(image, public))
    except (AssertionError, InvalidSignature, KeyError, struct.error, ValueError) as error:
        print(f"refused {error!r}")
