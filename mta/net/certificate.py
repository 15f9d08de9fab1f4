"""What stands in a certificate, and new ones for a first try.

Owns: the names, dates and hash of a server's own certificate; keys and certificates that sign themselves. Never does:
TLS, or files. Imported only where certificates are, as its library is no light one.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mta.net.tls import Leaf

#: Hashes that RFC 5929 §4.1 replaces by SHA-256.
_TOO_OLD: Final = ("md5", "sha1")
#: Characters of a commonName (RFC 5280, appendix A.1).
_COMMON_NAME: Final = 64
_USES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
#: A clock that is behind ours by less still finds the certificate valid.
_BEFORE: Final = timedelta(hours=1)


def read_certificate(pem: bytes) -> Leaf:
    """Of the first certificate in there. Raises ValueError."""
    leaf = x509.load_pem_x509_certificates(pem)[0]
    return Leaf(_names(leaf), _end_point(leaf), leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def self_signed(names: Iterable[str], now: datetime, valid: timedelta) -> tuple[bytes, bytes]:
    """(certificate, private key) in PEM: ECDSA on P-256, for host names and IP addresses. Raises ValueError for a name
    that is neither."""
    given = list(names)
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in given])
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, given[0][:_COMMON_NAME])])
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + valid)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USES), critical=False)
    )
    made = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), private


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """Of subjectAltName; of the subject where there is none. Raises ValueError."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        found = [str(name.value) for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return tuple(name.lower().rstrip(".") for name in found)


def _end_point(leaf: x509.Certificate) -> bytes:
    """RFC 5929 §4: hashed as the certificate's signature is; a signature without one hash has no such binding."""
    try:
        algorithm = leaf.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return b""
    if algorithm is None:
        return b""
    return leaf.fingerprint(hashes.SHA256() if algorithm.name in _TOO_OLD else algorithm)
