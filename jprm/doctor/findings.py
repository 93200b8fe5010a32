"""What the facts of a machine mean for the main command: a line each, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jprm.compile_cache import JAX_FOLDER, MOST_BYTES
from jprm.doctor.facts import MachineFacts, satisfies
from jprm.terminal import say

if TYPE_CHECKING:
    from jprm.execute.probe import Survey

GIB = 1 << 30
LEAST_DISK_BYTES = 1 << 30  # enough for a sweep with its checkpoints
LEAST_CODE_MEMORY_BYTES = 1 << 29  # as much as one session may take


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was looked at, what was found, and what to do about it.

    verdict: "ok", "note" (worth knowing, stops nothing) or "bad" (the main command cannot run).
    """

    topic: str
    text: str
    verdict: Literal["ok", "note", "bad"] = "ok"
    remedy: str = ""


def diagnose(facts: MachineFacts, survey: Survey | None, survey_error: str = "") -> list[Finding]:
    """Judges the facts: all lines in the order in which they are shown. `survey` is None where it failed."""
    findings = [
        Finding("system", f"Python {facts.python}, {facts.system}"),
        _packages(facts),
        _extras(facts),
        _devices(facts),
        _cache(facts),
        Finding("processors", f"{facts.cpus}, load {facts.load:.1f}"),
        _memory(facts),
        *_code_memory(facts),
        _disk(facts),
    ]
    if survey is None:
        remedy = "Code that models write is not run here; choose another place for it."
        return [*findings, Finding("jail", f"cannot be tried: {survey_error}", "bad", remedy)]
    return [*findings, *_jail(survey)]


def print_findings(findings: Iterable[Finding]) -> None:
    """Prints each finding as a line, and below it what to do."""
    marks = {"ok": "ok  ", "note": "note", "bad": "BAD "}
    for finding in findings:
        say(f"{marks[finding.verdict]}  {finding.topic:11} {finding.text}".rstrip())
        if finding.remedy:
            say(f"{'':18}-> {finding.remedy}")


def _packages(facts: MachineFacts) -> Finding:
    found = ", ".join(f"{name} {version}" for name, (version, _) in facts.packages.items() if version)
    wrong = [
        f"{name}{wanted} ({version or 'missing'})"
        for name, (version, wanted) in facts.packages.items()
        if version is None or not satisfies(version, wanted)
    ]
    if wrong:
        text = f"{found}; wanted: {', '.join(wrong)}"
        return Finding("packages", text, "bad", "In jprm's folder: pip install -e .")
    return Finding("packages", found)


def _extras(facts: MachineFacts) -> Finding:
    there = [name for name, lacking in facts.extras.items() if not lacking]
    absent = [f"{name} ({', '.join(lacking)})" for name, lacking in facts.extras.items() if lacking]
    text = f"installed: {', '.join(there) or 'none'}"
    return Finding("extras", text + (f"; not: {', '.join(absent)}" if absent else ""))


def _devices(facts: MachineFacts) -> Finding:
    variables = "".join(f", {name}={value}" for name, value in facts.environment.items())
    if facts.devices_error is not None:
        remedy = (
            "Look whether another process holds the device, or set JAX_PLATFORMS=cpu; "
            "a slow start may need `doctor --wait 60`."
        )
        return Finding("devices", facts.devices_error + variables, "bad", remedy)
    text = ", ".join(
        f"{count} x {kind if kind == name else f'{name} {kind}'}" + (f" of {_gib(memory)}" if memory else "")
        for (name, kind, memory), count in Counter(facts.devices).items()
    )
    if facts.accelerators and all(name == "cpu" for name, _, _ in facts.devices):
        unused = facts.accelerators[0]
        text += f" only, though there is a device for {unused}"
        remedy = f"In jprm's folder: pip install -e '.[{unused}]'"
        return Finding("devices", text + variables, "note", remedy)
    return Finding("devices", text + variables)


def _cache(facts: MachineFacts) -> Finding:
    if facts.cache_directory is None:
        remedy = "Leave JPRM_CACHE unset, or set it to a folder, and later runs start faster."
        return Finding("compiled", f"programs are not kept between runs ({facts.cache_why})", "note", remedy)
    text = f"programs are kept in {facts.cache_directory}, {_gib(facts.cache_bytes)}"
    if facts.cache_why == JAX_FOLDER:
        return Finding("compiled", f"{text}, as {JAX_FOLDER} says")
    return Finding("compiled", f"{text} of at most {_gib(MOST_BYTES)}; JPRM_CACHE=off turns it off")


def _memory(facts: MachineFacts) -> Finding:
    text = _gib(facts.memory)
    if facts.memory_available is not None:
        text += f", {_gib(facts.memory_available)} available"
    if facts.memory_limit is None or facts.memory_limit >= facts.memory:
        return Finding("memory", f"{text}, no lower limit of a control group")
    return Finding("memory", f"{text}; the control group allows {_gib(facts.memory_limit)}", "note")


def _code_memory(facts: MachineFacts) -> list[Finding]:
    """Judges the memory that is left for generated code; beyond it the largest session is ended."""
    if facts.code_memory is None:
        return []
    text = f"{_gib(max(0, facts.code_memory))} for all sessions of generated code"
    if facts.code_memory < LEAST_CODE_MEMORY_BYTES:
        remedy = "End other programs, or raise the limit of this container's memory."
        return [Finding("code memory", text, "note", remedy)]
    return [Finding("code memory", text)]


def _disk(facts: MachineFacts) -> Finding:
    text = f"{_gib(facts.disk_free)} free in {facts.directory}"
    remedy = "Work in another directory, or give one: directory=PATH."
    if not facts.writable:
        return Finding("disk", f"{facts.directory} cannot be written to", "bad", remedy)
    if facts.disk_free < LEAST_DISK_BYTES:
        return Finding("disk", f"{text}, less than {_gib(LEAST_DISK_BYTES)}", "bad", remedy)
    return Finding("disk", text)


def _jail(survey: Survey) -> list[Finding]:
    """Judges each layer of the jail, then each need; a need that no layer covers stops the main command."""
    findings = [
        Finding("jail", f"{layer.name}: {layer.detail or 'works'}")
        if layer.works
        else Finding("jail", f"{layer.name} does not work: {layer.detail}", "note", layer.remedy)
        for layer in survey.layers.values()
    ]
    for need, layers in survey.needs.items():
        if layers:
            findings.append(Finding("kept from", f"{need}, by {', '.join(layers)}"))
        else:
            remedy = "One more layer of the jail must work (see above), or another place run the code."
            findings.append(Finding("kept from", f"{need}: by nothing", "bad", remedy))
    return findings


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
