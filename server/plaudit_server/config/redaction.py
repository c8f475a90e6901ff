"""Texts with their passwords hidden, for logs and messages."""

from __future__ import annotations

import re


def without_password(text: str) -> str:
    """Text with the passwords of its URLs and connection strings hidden."""
    hidden = re.sub(r"(://[^/@\s:]*:)\S*@", r"\1***@", text)
    return re.sub(r"(\bpassword\s*=\s*)('[^']*'|[^&\s]*)", r"\1***", hidden, flags=re.IGNORECASE)
