"""How findings about templates are printed and told in JSON."""

from __future__ import annotations

from typing import Any

from libecs.language.fields import Finding


def finding_document(finding: Finding) -> dict[str, Any]:
    """Return what `--json` tells of a finding."""
    return {
        "code": finding.code,
        "severity": finding.severity.name.lower(),
        "file": finding.mark.file,
        "line": finding.mark.line,
        "column": finding.mark.column,
        "message": finding.message,
        "hint": finding.hint,
    }
