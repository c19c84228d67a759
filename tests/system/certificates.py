"""Certificates of an authority of one's own, for servers that speak TLS.

```python
authority = Authority(directory)
server = authority.certificate("localhost")        # of the server; clients need authority.path only
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, in files (PEM)."""

    path: Path
    key: Path
    authority: Path


class Authority:
    """Signs certificates.

    Attributes
    ----------
    path:
        Its own certificate, which those who trust it need.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._ca = trustme.CA()
        self._directory = directory
        self.path = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(self.path)

    def certificate(self, name: str, *, is_user: bool = False) -> Certificate:
        """Return a certificate for a host, or for a user, of that name."""
        made = (
            self._ca.issue_cert(f"{name}@example.org", common_name=name)
            if is_user
            else self._ca.issue_cert(name)
        )
        path, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        path.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
        made.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return Certificate(path, key, self.path)
