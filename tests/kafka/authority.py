"""A certificate authority of the run's own, and a server certificate for loopback by it."""

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_A_DAY: Final = dt.timedelta(days=1)


class Authority:
    """`ca_file` is what clients trust; `server_file` is a server's key and certificates, in one PEM file."""

    def __init__(self, folder: Path) -> None:
        self.ca_file = folder / "ca.pem"
        self.server_file = folder / "server.pem"
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca = _builder("authority of a test", ca_key, "authority of a test")
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        ca_certificate = ca.sign(ca_key, hashes.SHA256())
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        server = _builder("broker", key, "authority of a test")
        server = server.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        certificate = server.sign(ca_key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        self.ca_file.write_bytes(ca_certificate.public_bytes(pem))
        self.server_file.touch(mode=0o600)
        self.server_file.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(pem)
            + ca_certificate.public_bytes(pem)
        )


def _builder(name: str, key: ec.EllipticCurvePrivateKey, issuer: str) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _A_DAY)
        .not_valid_after(now + _A_DAY)
    )
