"""Makes a certificate authority and the certificate of a local server: elliptic-curve keys, strict X.509."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Issued:
    """The authority's certificate, the server's certificate and the server's private key, all PEM.

    The authority's own key is thrown away: nobody can sign another certificate that its users would trust.
    """

    authority: bytes
    server: bytes
    server_key: bytes


def issue(now: datetime, until: datetime) -> Issued:
    """Return an authority and a certificate for the loopback names, valid from `now` to `until`."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    start = now - timedelta(hours=1)  # another machine's clock may be a little behind
    authority = _authority(authority_key, start, until)
    leaf = _leaf(server_key, authority, authority_key, start, until)
    return Issued(
        authority.public_bytes(Encoding.PEM),
        leaf.public_bytes(Encoding.PEM),
        server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _authority(key: ec.EllipticCurvePrivateKey, start: datetime, until: datetime) -> x509.Certificate:
    name = _name("Dataverse emulator, local authority")
    usage = _usage(signs_certificates=True)
    return (
        _builder(name, name, key, start, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    start: datetime,
    until: datetime,
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.DNSName(NAMES[0])]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in NAMES[1:]]
    return (
        _builder(_name("localhost"), authority.subject, key, start, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(until)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
