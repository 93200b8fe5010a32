"""What `python -m jprm doctor` says: whether the main command can run here, and what is missing.

Enter by `run_doctor`. Facts are gathered first (`facts`) and judged afterwards (`findings`), so that
every judgement can be tested without the machine that calls for it.
"""

import json
from dataclasses import asdict

from jprm.doctor.facts import MachineFacts, gather
from jprm.doctor.findings import Finding, diagnose, print_findings
from jprm.errors import UNFIT, UserError


def run_doctor(as_json: bool, wait_s: float) -> int:
    """Examines this machine, prints what it found, and returns 0 if the main command can run here, else UNFIT."""
    from jprm.execute.probe import survey

    facts = gather(wait_s)
    found, error = None, ""
    try:
        found = survey()
    except (OSError, UserError) as failure:
        error = str(failure)
    findings = diagnose(facts, found, error)
    fit = not any(finding.verdict == "bad" for finding in findings)
    if as_json:
        table = {"fit": fit, "facts": asdict(facts), "findings": [asdict(f) for f in findings]}
        table["jail"] = asdict(found) if found else None
        print(json.dumps(table, indent=1))
        return 0 if fit else UNFIT
    print_findings(findings)
    print("\nThe main command can run here." if fit else "\nThe main command cannot run here.")
    return 0 if fit else UNFIT
