"""Commands and receipts by python3-cbor2 and python3-cryptography: code that is not ours.

command.py MESSAGE command|receipt BIRTHKEY   prints what it is about and who signed it; a signature that is wrong is an exception
"""
import sys

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

path, kind, birth_key = sys.argv[1:]
with open(path, "rb") as file:
    message = cbor2.loads(file.read())
body, _, payload, rest = message.value
aad = cbor2.dumps(["sealworks", kind, bytes.fromhex(birth_key)])
if message.tag == 18:
    parts = [(body, rest, ["Signature1", body, aad, payload])]
else:
    assert message.tag == 98
    parts = [(own, signature, ["Signature", body, own, aad, payload]) for own, _, signature in rest]
names = []
for own, signature, structure in parts:
    header = cbor2.loads(own)
    assert header[1] == -7
    certificate = x509.load_der_x509_certificate(header[33])
    assert header[34] == [-16, certificate.fingerprint(hashes.SHA256())]
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    certificate.public_key().verify(utils.encode_dss_signature(r, s), cbor2.dumps(structure), ec.ECDSA(hashes.SHA256()))
    names.append(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
assert cbor2.loads(body)[16] == "application/sealworks-command%s+cbor" % ("" if kind == "command" else "-receipt")
content = cbor2.loads(payload)
about = [content[7], content[13]] if kind == "command" else [content[4]]
print(*about, *names)
