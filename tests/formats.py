"""Reads reports with the tools that they are meant for, and prints what those make of them.

python formats.py result.hlog result.hgrm result.xml result.prom
"""

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from prometheus_client.parser import text_string_to_metric_families

HOUR_NS = 3_600_000_000_000


def intervals(path: str, tag: str) -> dict[str, object]:
    """The sum of a tag's lines, and how many lines it has."""
    total = HdrHistogram(1000, HOUR_NS, 3)
    reader = HistogramLogReader(path, HdrHistogram(1000, HOUR_NS, 3))
    lines = 0
    while (interval := reader.get_next_interval_histogram()) is not None:
        if interval.get_tag() == tag:
            total.add(interval)
            lines += 1
    return {"count": total.get_total_count(), "lines": lines, "p50": total.get_value_at_percentile(50.0)}


def spectrum(path: str) -> list[list[float]]:
    """Value in ms, percentile and count of each line."""
    rows = [line.split() for line in Path(path).read_text().splitlines() if line and not line.startswith("#")]
    assert rows[0] == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"], rows[0]
    return [[float(cell) for cell in row[:3]] for row in rows[1:]]


def tests(path: str) -> dict[str, object]:
    """The totals of a JUnit file, and its tests with what became of them."""
    root = ET.parse(path).getroot()
    suite = root.find("testsuite")
    cases = {case.get("name"): [child.tag for child in case] for case in suite.findall("testcase")}
    return {"tests": suite.get("tests"), "failures": suite.get("failures"), "cases": cases}


def samples(path: str) -> dict[str, float]:
    families = text_string_to_metric_families(Path(path).read_text())
    named = ((s.name, s.labels, s.value) for family in families for s in family.samples)
    return {name + "".join(f",{key}={value}" for key, value in labels.items()): number for name, labels, number in named}


hlog, hgrm, junit, prometheus = sys.argv[1:]
print(
    json.dumps(
        {
            "hlog": {tag: intervals(hlog, tag) for tag in ("response", "service", "lag")},
            "hgrm": spectrum(hgrm),
            "junit": tests(junit),
            "prometheus": samples(prometheus),
        }
    )
)
