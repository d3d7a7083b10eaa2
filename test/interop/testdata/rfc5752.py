# Reads a CMS message as RFC 5752 has it, with the ASN.1 of another hand: what each signature names, by the digest over the
# signed attributes of the other in which every hash is empty. Prints algorithm and digest of each, or fails.
import hashlib, sys
from pyasn1.codec.der.decoder import decode
from pyasn1.codec.der.encoder import encode
from pyasn1.type import namedtype, univ
from pyasn1_modules import rfc5652
class SignAttrsHash(univ.Sequence):
    componentType = namedtype.NamedTypes(
        namedtype.NamedType('algID', rfc5652.DigestAlgorithmIdentifier()),
        namedtype.NamedType('hash', univ.OctetString()))
class MultipleSignatures(univ.Sequence):
    componentType = namedtype.NamedTypes(
        namedtype.NamedType('bodyHashAlg', rfc5652.DigestAlgorithmIdentifier()),
        namedtype.NamedType('signAlg', rfc5652.SignatureAlgorithmIdentifier()),
        namedtype.NamedType('signAttrsHash', SignAttrsHash()),
        namedtype.OptionalNamedType('cert', univ.Any()))
MULTIPLE_SIGNATURES = univ.ObjectIdentifier('1.2.840.113549.1.9.16.2.51')
DIGESTS = {'2.16.840.1.101.3.4.2.1': 'sha256', '2.16.840.1.101.3.4.2.2': 'sha384', '2.16.840.1.101.3.4.2.3': 'sha512'}
content, rest = decode(open(sys.argv[1], 'rb').read(), asn1Spec=rfc5652.ContentInfo())
assert not rest
signed, rest = decode(content['content'], asn1Spec=rfc5652.SignedData())
assert not rest
def plain(signer):
    attributes = rfc5652.SignedAttributes()
    for at, attribute in enumerate(signer['signedAttrs']):
        attributes[at] = attribute
    return attributes
def cleared(signer):
    attributes = decode(encode(plain(signer)), asn1Spec=rfc5652.SignedAttributes())[0]
    for attribute in attributes:
        if attribute['attrType'] == MULTIPLE_SIGNATURES:
            for at, value in enumerate(attribute['attrValues']):
                named = decode(value, asn1Spec=MultipleSignatures())[0]
                named['signAttrsHash']['hash'] = b''
                attribute['attrValues'][at] = encode(named)
    return encode(attributes)
signers = list(signed['signerInfos'])
for signer in signers:
    others = [one for one in signers if one is not signer]
    for attribute in signer['signedAttrs']:
        if attribute['attrType'] != MULTIPLE_SIGNATURES:
            continue
        for value in attribute['attrValues']:
            named, rest = decode(value, asn1Spec=MultipleSignatures())
            assert not rest
            assert named['signAttrsHash']['algID']['algorithm'] == signer['digestAlgorithm']['algorithm']
            digest = DIGESTS[str(named['signAttrsHash']['algID']['algorithm'])]
            found = [one for one in others if hashlib.new(digest, cleared(one)).digest() == bytes(named['signAttrsHash']['hash'])]
            assert len(found) == 1, 'none is meant'
            assert named['bodyHashAlg']['algorithm'] == found[0]['digestAlgorithm']['algorithm']
            assert named['signAlg']['algorithm'] == found[0]['signatureAlgorithm']['algorithm']
            print(named['signAlg']['algorithm'], digest)
