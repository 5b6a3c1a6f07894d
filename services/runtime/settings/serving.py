"""Settings of the fusion worker and the gateway, and of what is stored on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from services.runtime.settings.section import Section

MODELS = Path(__file__).resolve().parents[3] / "models"


class FusionSettings(Section):
    """The fusion worker: its model, its device, and when it sheds load."""

    model: Path = Field(
        MODELS / "home",
        description="Folder of a model, or a folder of several versions of which the newest is served.",
    )
    encoders: Path = Field(
        MODELS / "encoders",
        description="Folder of the frozen encoders that models can use, one folder each (`braid model encoders`).",
    )
    reload_s: int = Field(5, ge=0, le=3_600, description="How often to look for a newer model, in seconds. 0: never.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the model runs. auto: on the GPU if there is one."
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Fusion workers that `braid up` starts. They share the partitions, of which each needs at least one, "
        "and the device.",
    )
    cache_mb: int = Field(
        64, ge=1, le=65_536, description="Memory for encoded chunks that overlapping windows share, in MiB."
    )
    deadline_ms: int = Field(
        50,
        ge=1,
        le=60_000,
        description="When a prediction is due after its window was published, in milliseconds. A batch does not wait "
        "for further windows beyond it.",
    )
    overload_ms: int = Field(
        250,
        ge=10,
        le=600_000,
        description="Work in the queue that raises the load-shedding level by one, in milliseconds of computing time.",
    )
    level_max: int = Field(
        1,
        ge=0,
        le=3,
        description="Highest load-shedding level. 1 skips early predictions, 2 also some video frames, 3 also the most "
        "expensive modality. Final windows are always predicted.",
    )


class GatewaySettings(Section):
    """The live page and the HTTP API."""

    host: str = Field("127.0.0.1", description="Address to listen on. 0.0.0.0: all addresses of this machine.")
    port: int = Field(8640, ge=0, le=65_535, description="TCP port to listen on. 0: any free port.")
    token: SecretStr = Field(
        SecretStr(""),
        description="Token that every request must carry. Empty: none on a loopback address; elsewhere a new one at "
        "each start, which is printed.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Further host names by which browsers may reach the gateway, as the name of a proxy."
    )
    history_s: int = Field(
        300, ge=10, le=86_400, description="How long the page can look back: age of records in memory, in seconds."
    )
    history_mb: int = Field(256, ge=1, le=65_536, description="Memory for the records that the page shows, in MiB.")
    look_back_s: int = Field(
        120, ge=0, le=86_400, description="How much of the topics is read again at the start, in seconds."
    )
    sessions_max: int = Field(
        2_000, ge=1, le=100_000, description="Sessions in memory. At the limit the one that sent nothing longest goes."
    )
    connections_per_address: int = Field(
        128,
        ge=8,
        le=512,
        description="Connections from one client address at the same time, of 512 in all. At the limit a new one takes the "
        "place of one that has no request in progress. Behind a proxy all clients have its address: then set it to 512.",
    )
    client_records_per_s: int = Field(
        1_000,
        ge=1,
        le=1_000_000,
        description="Records a second that one client address may send by HTTP, on average over 10 seconds; more are answered "
        "with 429. Behind a proxy all clients have its address.",
    )
    client_sessions_max: int = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Sessions in which one client address may send by HTTP within a minute; a further one is answered "
        "with 429. Behind a proxy all clients have its address.",
    )
    streams_max: int = Field(64, ge=1, le=10_000, description="Event streams (open pages) served at the same time.")
    silent_s: int = Field(
        30, ge=1, le=86_400, description="A source that sends nothing for this long, in seconds, is shown as silent."
    )


class _FolderSection(Section):
    folder: Path

    def folder_in(self, state_folder: Path) -> Path:
        """Return the folder; if it is the default one, the folder of the same name in `state_folder`."""
        is_default = self.folder == type(self).model_fields["folder"].default
        return state_folder / self.folder.name if is_default else self.folder.absolute()


class ArchiveSettings(_FolderSection):
    """The archive: for each event that ended, the gateway keeps its records and media."""

    days: int = Field(7, ge=0, le=3_650, description="How long an event stays in the archive, in days. 0: no archive.")
    max_mb: int = Field(
        2_000, ge=0, le=10_000_000, description="Disk space of the archive, in megabytes. 0: no archive."
    )
    folder: Path = Field(
        Path(".braid/evidence"),
        description="Folder of the archive. If it is not set, `braid up` uses `evidence` in its state folder.",
    )


class LabelSettings(_FolderSection):
    """Corrections that people make: a data set that `braid train --data` reads."""

    folder: Path = Field(
        Path(".braid/labels"),
        description="Folder of the manifest and its media. If it is not set, `braid up` uses `labels` in its state "
        "folder.",
    )
