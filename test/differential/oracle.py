"""Reads objects from standard input and says of each whether python-cryptography takes it, and why not.

A frame is one octet of kind ("C"ertificate, "R"equest, "L"ist), four octets of length (big-endian) and the object.
The answer is one line: "ok", or "no" and the error on the same line.
"""

import struct
import sys
import warnings

from cryptography import x509

warnings.simplefilter("ignore")


def names(*all_names):
    for name in all_names:
        for attribute in name:
            attribute.value


def certificate(der):
    parsed = x509.load_der_x509_certificate(der)
    parsed.version, parsed.serial_number, parsed.signature, parsed.tbs_certificate_bytes
    parsed.not_valid_before, parsed.not_valid_after, parsed.signature_algorithm_oid
    names(parsed.issuer, parsed.subject)
    list(parsed.extensions)


def request(der):
    parsed = x509.load_der_x509_csr(der)
    parsed.signature, parsed.tbs_certrequest_bytes, parsed.signature_algorithm_oid
    names(parsed.subject)
    list(parsed.extensions)
    list(parsed.attributes)


def revocation_list(der):
    parsed = x509.load_der_x509_crl(der)
    parsed.signature, parsed.tbs_certlist_bytes, parsed.signature_algorithm_oid
    parsed.last_update, parsed.next_update
    names(parsed.issuer)
    list(parsed.extensions)
    for entry in parsed:
        entry.serial_number, entry.revocation_date
        list(entry.extensions)


readers = {b"C": certificate, b"R": request, b"L": revocation_list}

while True:
    head = sys.stdin.buffer.read(5)
    if len(head) < 5:
        break
    der = sys.stdin.buffer.read(struct.unpack(">I", head[1:])[0])
    try:
        readers[head[:1]](der)
        answer = "ok"
    except BaseException as error:  # a panic of its Rust half is no Exception
        answer = "no %s: %s" % (type(error).__name__, " ".join(str(error).split()))
    sys.stdout.write(answer + "\n")
    sys.stdout.flush()
