"""A check in the form that continuous integration reads: JUnit's XML."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from datetime import datetime

from homolog.analysis.check_result import Check
from homolog.names import printable

NAME = "homolog check"


def junit_xml(check: Check, seconds: float, when: datetime) -> bytes:
    """Write a check as JUnit's XML: a test case for each layer and measure, by the time that all took and when it began.

    Names are data: what XML cannot hold is written as Python writes it.
    """
    counts = {"tests": str(len(check.layers)), "failures": str(len(check.short)), "errors": "0"}
    taken = {"time": f"{seconds:.3f}"}
    root = ElementTree.Element("testsuites", {"name": NAME, **counts, **taken})
    about = {"skipped": "0", "timestamp": when.isoformat(timespec="seconds"), "hostname": "localhost"}
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": NAME, "package": NAME, "id": "0", **counts, **about, **taken}
    )
    properties = ElementTree.SubElement(suite, "properties")
    confidence = "none" if check.confidence is None else f"{check.confidence:g}"
    ElementTree.SubElement(properties, "property", {"name": "confidence", "value": confidence})
    for layer in check.layers:
        # All pairs are computed together: no case has a time of its own.
        attributes = {"classname": layer.measure, "name": layer.pair, "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", {key: printable(text) for key, text in attributes.items()})
        if not layer.holds:
            said = printable(f"{layer.pair}: {layer.sentence}.")
            failure = ElementTree.SubElement(case, "failure", {"message": said, "type": layer.kind})
            failure.text = said
    out = ElementTree.SubElement(suite, "system-out")
    out.text = printable("\n".join([check.verdict, *check.notes]), lines=True)
    ElementTree.SubElement(suite, "system-err")
    ElementTree.indent(root)
    found: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return found
