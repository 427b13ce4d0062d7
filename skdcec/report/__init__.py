"""One self-contained HTML page to look at a clustering of images."""

from skdcec._analysis.projection import map_projection
from skdcec._files import read_table, write_table
from skdcec.report.drafts import draft_names
from skdcec.report.edits import read_edits
from skdcec.report.export import export_table
from skdcec.report.metadata import metadata_agreement
from skdcec.report.names import read_names
from skdcec.report.tables import cluster_summary, image_table
from skdcec.report.write import Report, report_from_estimator, write_report

__all__ = [
    "Report",
    "cluster_summary",
    "draft_names",
    "export_table",
    "image_table",
    "map_projection",
    "metadata_agreement",
    "read_edits",
    "read_names",
    "read_table",
    "report_from_estimator",
    "write_report",
    "write_table",
]
