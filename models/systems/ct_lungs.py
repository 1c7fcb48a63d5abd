"""The lungs of a CT series by density and shape: a classical method, without weights and without a card."""

from __future__ import annotations

from models.api import ModelIdentity, VolumeField, VolumeInput
from models.images.lung_volume import lung_parts

IDENTITY = ModelIdentity(
    system="ct-lungs",
    name="Lungs of a CT by density",
    version="1",
    weights_sha256="",
    source="threshold -400 HU, connected parts in three dimensions, windpipe followed from the head",
)


class CTLungs:
    identity = IDENTITY

    def segment(self, volume: VolumeInput) -> VolumeField:
        """RefusedInput where there is no lung."""
        return VolumeField(lung_parts(volume.voxels, volume.spacing_mm), self.identity)
