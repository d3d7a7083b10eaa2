"""COSE and DSSE by python3-cbor2 and python3-cryptography, JWS by python3-jwcrypto: code that is not ours.

messages.py verify-cose MESSAGE CERTIFICATE... [--content FILE]   prints a line for each signature that verifies
messages.py sign-cose KEY CERTIFICATE CONTENT detached|attached|several
messages.py verify-dsse ENVELOPE CERTIFICATE
messages.py sign-dsse KEY CERTIFICATE CONTENT TYPE [pss]
messages.py verify-jws MESSAGE CERTIFICATE [CONTENT]
messages.py sign-jws KEY CERTIFICATE CONTENT ALGORITHM compact|detached

Keys and certificates are PEM. What is made goes to standard output as base64. A signature that is wrong is an exception.
"""
import base64
import json
import sys

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils

CURVES = {-7: hashes.SHA256(), -9: hashes.SHA256(), -35: hashes.SHA384(), -36: hashes.SHA512()}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def certificate(path):
    return x509.load_pem_x509_certificate(read(path))


def der(path):
    return certificate(path).public_bytes(serialization.Encoding.DER)


def private(path):
    return serialization.load_pem_private_key(read(path), None)


def pss(algorithm):
    return padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)


def verify(algorithm, key, signature, message):
    if isinstance(key, ec.EllipticCurvePublicKey):
        size = (key.curve.key_size + 7) // 8
        assert len(signature) == 2 * size
        r, s = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
        key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(CURVES[algorithm]))
    elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        assert algorithm in (-8, -19, -53)
        key.verify(signature, message)
    elif algorithm in (-37, -38, -39):
        digest = {-37: hashes.SHA256(), -38: hashes.SHA384(), -39: hashes.SHA512()}[algorithm]
        key.verify(signature, message, pss(digest), digest)
    else:
        digest = {-257: hashes.SHA256(), -258: hashes.SHA384(), -259: hashes.SHA512()}[algorithm]
        key.verify(signature, message, padding.PKCS1v15(), digest)


def sign(key, message):
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        algorithm = {32: -7, 48: -35, 66: -36}[size]
        r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(CURVES[algorithm])))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, pss(hashes.SHA256()), hashes.SHA256())
    return key.sign(message)


def number(key):
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {256: -7, 384: -35, 521: -36}[key.curve.key_size]
    return -37 if isinstance(key, rsa.RSAPrivateKey) else -8


def verify_cose(path, certificates, content):
    message = cbor2.loads(read(path))
    body, _, payload, rest = message.value
    payload = read(content) if payload is None else payload
    if message.tag == 18:
        signatures = [(body, rest, ["Signature1", body, b"", payload])]
    else:
        assert message.tag == 98
        signatures = [(own, signature, ["Signature", body, own, b"", payload]) for own, _, signature in rest]
    for (own, signature, structure), path in zip(signatures, certificates):
        header = cbor2.loads(own)
        chain = header.get(33)
        leaf = chain if isinstance(chain, bytes) else chain[0]
        assert leaf == der(path)
        assert header[34] == [-16, certificate(path).fingerprint(hashes.SHA256())]
        verify(header[1], certificate(path).public_key(), signature, cbor2.dumps(structure, canonical=True))
        print(header[1])


def sign_cose(key_path, certificate_path, content_path, how):
    key, payload = private(key_path), read(content_path)
    # in the order of writing, which is not the deterministic one
    own = cbor2.dumps({33: der(certificate_path), 1: number(key)})
    if how == "several":
        body = cbor2.dumps({3: "application/octet-stream"})
        structure = ["Signature", body, own, b"", payload]
        signature = sign(key, cbor2.dumps(structure, canonical=True))
        message = cbor2.CBORTag(98, [body, {}, payload, [[own, {4: b"11"}, signature]]])
    else:
        signature = sign(key, cbor2.dumps(["Signature1", own, b"", payload], canonical=True))
        message = cbor2.CBORTag(18, [own, {4: b"11"}, None if how == "detached" else payload, signature])
    return cbor2.dumps(message)


def pae(kind, body):
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(body), body)


def verify_dsse(path, certificate_path):
    envelope = json.loads(read(path))
    message = pae(envelope["payloadType"], base64.b64decode(envelope["payload"]))
    key = certificate(certificate_path).public_key()
    for one in envelope["signatures"]:
        signature = base64.b64decode(one["sig"])
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, message)
        print(one["keyid"])


def sign_dsse(key_path, certificate_path, content_path, kind, *how):
    key, body = private(key_path), read(content_path)
    message = pae(kind, body)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, rsa.RSAPrivateKey):
        scheme = pss(hashes.SHA256()) if how == ("pss",) else padding.PKCS1v15()
        signature = key.sign(message, scheme, hashes.SHA256())
    else:
        signature = key.sign(message)
    one = {"keyid": "", "sig": base64.b64encode(signature).decode(), "cert": read(certificate_path).decode()}
    envelope = {"payload": base64.b64encode(body).decode(), "payloadType": kind, "signatures": [one]}
    return json.dumps(envelope, indent=1).encode()


def verify_jws(path, certificate_path, *content):
    from jwcrypto import jwk, jws

    key = jwk.JWK.from_pem(certificate(certificate_path).public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    message = read(path).decode()
    if content:
        payload = base64.urlsafe_b64encode(read(content[0])).rstrip(b"=").decode()
        message = json.dumps({**json.loads(message), "payload": payload})
    token = jws.JWS()
    token.deserialize(message)
    token.verify(key)
    print("verified")


def sign_jws(key_path, certificate_path, content_path, algorithm, how):
    from jwcrypto import jwk, jws

    key = jwk.JWK.from_pem(read(key_path))
    token = jws.JWS(read(content_path))
    header = {"alg": algorithm, "x5c": [base64.b64encode(der(certificate_path)).decode()]}
    token.add_signature(key, None, json.dumps(header))
    if how == "detached":
        token.detach_payload()
    return token.serialize(compact=True).encode()


def main(command, *arguments):
    if command == "verify-cose":
        content = arguments[arguments.index("--content") + 1] if "--content" in arguments else None
        certificates = arguments[1 : arguments.index("--content")] if content else arguments[1:]
        return verify_cose(arguments[0], certificates, content)
    made = {
        "verify-dsse": verify_dsse,
        "verify-jws": verify_jws,
        "sign-cose": sign_cose,
        "sign-dsse": sign_dsse,
        "sign-jws": sign_jws,
    }[command](*arguments)
    if made is not None:
        print(base64.b64encode(made).decode())


main(*sys.argv[1:])
