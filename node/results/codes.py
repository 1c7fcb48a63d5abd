"""Coded concepts of our reports (docs: specification of results, section 4) as highdicom wants them.

What has no code fit for use is private, scheme 99LUNGNODE; a predicted value never carries the code of a measured one.
Private codes have 16 characters at most: a longer one stands in Long Code Value, where many readers do not look.
"""

from __future__ import annotations

from functools import cache

from highdicom.sr import CodedConcept

from models.api import Code

PRIVATE = "99LUNGNODE"


@cache
def concept(code: Code) -> CodedConcept:
    return CodedConcept(code.value, code.scheme, code.meaning)


PROBABILITY = CodedConcept("122157", "DCM", "Probability")
NO_UNITS = CodedConcept("1", "UCUM", "no units")
PIXELS = CodedConcept("{pixels}", "UCUM", "pixels")
MILLIMETRES = CodedConcept("mm", "UCUM", "mm")
PRESENT = CodedConcept("52101004", "SCT", "Present")
ABSENT = CodedConcept("272519000", "SCT", "Absent")
CHEST_XRAY = CodedConcept("399208008", "SCT", "Plain chest X-ray")
CHEST_CT = CodedConcept("169069000", "SCT", "CT of chest")
ARTIFICIAL_INTELLIGENCE = CodedConcept("123110", "DCM", "Artificial Intelligence")
VISUAL_EXPLANATION = CodedConcept("130401", "DCM", "Visual explanation")
CENTRE = CodedConcept("111010", "DCM", "Center")
OUTLINE = CodedConcept("111041", "DCM", "Outline")
LUNG = CodedConcept("39607008", "SCT", "Lung")
CHEST = CodedConcept("51185008", "SCT", "Chest")
HEART = CodedConcept("80891009", "SCT", "Heart")
RIGHT = CodedConcept("24028007", "SCT", "Right")
LEFT = CodedConcept("7771000", "SCT", "Left")
ANATOMICAL_STRUCTURE = CodedConcept("91723000", "SCT", "Anatomical Structure")
SPATIAL_CONCEPT = CodedConcept("309825002", "SCT", "Spatial and Relational Concept")
MORPHOLOGICAL_OPERATIONS = CodedConcept("123104", "DCM", "Morphological Operations")
SEGMENTATION = CodedConcept("113076", "DCM", "Segmentation")
HEAT = CodedConcept("130403", "DCM", "Gradient-weighted class activation")
COMMENT = CodedConcept("121106", "DCM", "Comment")
NO_ABNORMALITY = CodedConcept("111286", "DCM", "No abnormality")
SUMMARY = CodedConcept("111017", "DCM", "CAD Processing and Findings Summary")
SUCCEEDED_WITH_FINDINGS = CodedConcept("111242", "DCM", "All algorithms succeeded; with findings")
SUCCEEDED_WITHOUT_FINDINGS = CodedConcept("111241", "DCM", "All algorithms succeeded; without findings")
SOME_FAILED_WITH_FINDINGS = CodedConcept("111244", "DCM", "Not all algorithms succeeded; with findings")
SOME_FAILED_WITHOUT_FINDINGS = CodedConcept("111243", "DCM", "Not all algorithms succeeded; without findings")
NONE_SUCCEEDED = CodedConcept("111245", "DCM", "No algorithms succeeded; without findings")
AREA = CodedConcept("42798000", "SCT", "Area")
SQUARE_PIXELS = CodedConcept("{pixels2}", "UCUM", "square pixels")

THRESHOLD = CodedConcept("threshold", PRIVATE, "Decision threshold")
PEAK_HEAT = CodedConcept("peak-heat", PRIVATE, "Peak of explanation heat")
CENTRE_X = CodedConcept("centre-x", PRIVATE, "Column of the centre, from the first pixel")
CENTRE_Y = CodedConcept("centre-y", PRIVATE, "Row of the centre, from the first pixel")
WITHDRAWN = CodedConcept("withdrawn", PRIVATE, "Withdrawn earlier reports of regions")
REPORTS = CodedConcept("{reports}", "UCUM", "reports")
EXPLAINED_CLASS = CodedConcept("explained-class", PRIVATE, "Class that the heat explains")
CLASS_PROBABILITY = CodedConcept("class-prob", PRIVATE, "Class probability of the whole")
LUNG_SHARE = CodedConcept("lung-share", PRIVATE, "Share inside the lung field")
DBSCAN_SIZE = CodedConcept("dbscan-size", PRIVATE, "Points of the DBSCAN cluster")
MAJOR_AXIS = CodedConcept("major-axis", PRIVATE, "Length of the major axis")
MINOR_AXIS = CodedConcept("minor-axis", PRIVATE, "Length of the minor axis")
USED = CodedConcept("instances-used", PRIVATE, "Instances analysed")
LEFT_OUT = CodedConcept("left-out", PRIVATE, "Instances not analysed")
COUNT = CodedConcept("{instances}", "UCUM", "instances")
SLICES_JUDGED = CodedConcept("slices-judged", PRIVATE, "Slices judged")
SLICES = CodedConcept("{slices}", "UCUM", "slices")
BIOMARKERS = CodedConcept("biomarkers", PRIVATE, "Measurements in the image")
PREDICTED = CodedConcept("predicted-values", PRIVATE, "Laboratory values predicted from the image")
LIMITS = CodedConcept("limits-of-use", PRIVATE, "Limits of use")
STUDY_SUMMARY = CodedConcept("analysis", PRIVATE, "Automated analysis of the study")
