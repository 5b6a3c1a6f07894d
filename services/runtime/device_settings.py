"""The settings of one device."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.runtime.section import Section

AUTO = "auto"


class DeviceSettings(Section):
    """Where a device's records belong, and what is added to its clock where they are made.

    session: takes the place of what the sender names; modality: what the source sends, other media of it are refused;
    clock_offset_ms: a fixed number, or auto: learnt from 0 on from when the broker took its records.
    """

    session: str = Field("", max_length=128)
    modality: str = ""
    clock_offset_ms: Literal["auto"] | int = 0
