"""The slices of a CT phantom as the frames of one Enhanced CT (PS3.3 A.38.1), written attribute by attribute.

dciodvfy finds no error in what it makes; the values of the scanner are those of no scanner.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

from tests.films import uid

FRAME_TYPE = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
OF_ONE_IMAGE = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "PixelData", "AcquisitionDate", "AcquisitionTime",
)  # fmt: skip


def enhanced(slices: Sequence[Dataset], *, stacks: Sequence[int] = (), rescale_of_each: bool = False) -> Dataset:
    """The frames stand in the order of the slices.

    stacks: Stack ID of each frame, one stack if none is given. rescale_of_each: slope and intercept stand with every
    frame and differ, not once for all.
    """
    first, when = slices[0], f"{slices[0].StudyDate}101112"
    ds = Dataset()
    ds.update({element.tag: element for element in first if element.keyword not in OF_ONE_IMAGE})
    ds.file_meta = first.file_meta
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid("enhanced", str(first.SeriesInstanceUID))
    ds.ImageType, ds.InstanceNumber, ds.NumberOfFrames = FRAME_TYPE, 1, len(slices)
    ds.AcquisitionDateTime, ds.AcquisitionDuration = when, 4.0
    ds.PixelPresentation, ds.VolumetricProperties, ds.VolumeBasedCalculationTechnique = "MONOCHROME", "VOLUME", "NONE"
    ds.ContentQualification, ds.BurnedInAnnotation, ds.LossyImageCompression = "RESEARCH", "NO", "00"
    ds.PresentationLUTShape, ds.PatientPosition, ds.PositionReferenceIndicator = "IDENTITY", "HFS", ""
    ds.AcquisitionContextSequence = []
    organization = uid("dimensions", str(first.SeriesInstanceUID))
    ds.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    ds.DimensionIndexSequence = [
        _item(DimensionOrganizationUID=organization, DimensionIndexPointer=pointer, FunctionalGroupPointer=0x00209111)
        for pointer in (0x00209056, 0x00209057)  # Stack ID, In-Stack Position Number, of Frame Content
    ]
    ds.SharedFunctionalGroupsSequence = [_shared(first, rescale_of_each)]
    ids = list(stacks) or [1] * len(slices)
    ds.PerFrameFunctionalGroupsSequence = [
        _of_frame(one, ids[number], ids[: number + 1].count(ids[number]), number if rescale_of_each else None)
        for number, one in enumerate(slices)
    ]
    stored = [one.pixel_array.astype(np.int32) for one in slices]
    if rescale_of_each:  # stored = (HU - intercept) / slope, as _of_frame states them
        stored = [(one - 1024 - _intercept(number)) // 2 for number, one in enumerate(stored)]
    ds.PixelData = np.stack(stored).astype("<i2").tobytes()
    return ds


def _intercept(number: int) -> int:
    return -1024 - 2 * number


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _shared(first: Dataset, rescale_of_each: bool) -> Dataset:
    chest = _item(CodeValue="51185008", CodingSchemeDesignator="SCT", CodeMeaning="Chest")
    phantom = _item(CodeValue="113691", CodingSchemeDesignator="DCM", CodeMeaning="IEC Body Dosimetry Phantom")
    spacing = [float(value) for value in first.PixelSpacing]
    macros = {
        "PixelMeasures": _item(PixelSpacing=spacing, SliceThickness=first.SliceThickness),
        "PlaneOrientation": _item(ImageOrientationPatient=first.ImageOrientationPatient),
        "CTImageFrameType": _item(
            FrameType=FRAME_TYPE, PixelPresentation="MONOCHROME", VolumetricProperties="VOLUME",
            VolumeBasedCalculationTechnique="NONE",
        ),
        "FrameAnatomy": _item(AnatomicRegionSequence=[chest], FrameLaterality="U"),
        "IrradiationEventIdentification": _item(IrradiationEventUID=uid("event", str(first.SeriesInstanceUID))),
        "CTAcquisitionType": _item(AcquisitionType="SEQUENCED", ConstantVolumeFlag="NO", FluoroscopyFlag="NO"),
        "CTAcquisitionDetails": _item(
            RotationDirection="CW", RevolutionTime=0.5, SingleCollimationWidth=0.6, TotalCollimationWidth=38.4,
            TableHeight=150.0, GantryDetectorTilt=0, DataCollectionDiameter=500,
        ),
        "CTTableDynamics": _item(TableSpeed=0.0),
        "CTPosition": _item(
            TablePosition=0.0, DataCollectionCenterPatient=[0.0] * 3, ReconstructionTargetCenterPatient=[0.0] * 3
        ),
        "CTGeometry": _item(DistanceSourceToDetector=1085.0, DistanceSourceToDataCollectionCenter=595.0),
        "CTReconstruction": _item(
            ReconstructionAlgorithm="FILTER_BACK_PROJ", ConvolutionKernel="B60f", ConvolutionKernelGroup="LUNG",
            ReconstructionDiameter=450, ReconstructionPixelSpacing=spacing, ReconstructionAngle=360.0,
            ImageFilter="none",
        ),
        "CTExposure": _item(
            ExposureTimeInms=500.0, XRayTubeCurrentInmA=100.0, ExposureInmAs=50.0, ExposureModulationType="NONE",
            CTDIvol=4.0, CTDIPhantomTypeCodeSequence=[phantom],
        ),
        "CTXRayDetails": _item(KVP=120, FocalSpots=0.7, FilterType="WEDGE", FilterMaterial="TEFLON"),
    }  # fmt: skip
    if not rescale_of_each:
        macros["PixelValueTransformation"] = _item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    return _item(**{f"{name}Sequence": [item] for name, item in macros.items()})


def _of_frame(one: Dataset, stack: int, position: int, rescaled: int | None) -> Dataset:
    group = _item(
        FrameContentSequence=[
            _item(
                StackID=str(stack),
                InStackPositionNumber=position,
                DimensionIndexValues=[stack, position],
                FrameReferenceDateTime=f"{one.StudyDate}101112",
                FrameAcquisitionDateTime=f"{one.StudyDate}101112",
                FrameAcquisitionDuration=500.0,
            )
        ],
        PlanePositionSequence=[_item(ImagePositionPatient=one.ImagePositionPatient)],
    )
    if rescaled is not None:
        rescale = _item(RescaleSlope=2, RescaleIntercept=_intercept(rescaled), RescaleType="HU")
        group.PixelValueTransformationSequence = [rescale]
    return group
