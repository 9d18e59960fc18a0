"""Certificates for a test: an authority of its own, and one certificate for 127.0.0.1 that it signed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_certificates(folder: Path) -> dict[str, str]:
    """Writes ca.pem, cert.pem and key.pem; returns their paths as `compute.tls` takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer, subject = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in ("test authority", "test"))
    now = datetime.now(UTC)

    def signed(name: x509.Name, key: ec.EllipticCurvePrivateKey, is_authority: bool) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        )
        return made.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    content = {"ca": signed(issuer, authority, True), "cert": signed(subject, own, False), "key": private}
    for name, text in content.items():
        (folder / f"{name}.pem").write_bytes(text)
    return {name: str(folder / f"{name}.pem") for name in content}
