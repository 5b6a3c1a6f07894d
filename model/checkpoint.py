"""Save, verify and load checkpoints: safetensors weights, a JSON config and a card, each with its SHA-256.

A checkpoint folder `<name>/<version>/` may hold one network, or several that share encoders.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from model.checkpoint_files import (
    CARD,
    CHECKSUMS,
    CONFIG,
    WEIGHTS,
    CheckpointError,
    model_digest,
    verify,
)
from model.compress import dequantize, quantize_int8
from model.network import Architecture, TaskNetwork
from model.predictor import FusionModel
from model.streams.network import StreamsNetwork

SHARED = "shared"
SHARED_MODULES = ("encoders.", "readers.")


def share_encoders(networks: Mapping[str, TaskNetwork]) -> nn.ModuleDict:
    """Give the networks one encoder and one reader per modality, in place; return them as one module."""
    for part in ("encoders", "readers"):
        first: dict[str, nn.Module] = {}
        for network in networks.values():
            modules: nn.ModuleDict = getattr(network, part)
            for m in network.modalities:
                modules[m] = first.setdefault(m, modules[m])
    return nn.ModuleDict(networks)


def join_state_dicts(networks: Mapping[str, TaskNetwork]) -> dict[str, Tensor]:
    """Join the state of networks that share encoders, under the names `shared.…` and `<task>.…`."""
    tensors: dict[str, Tensor] = {}
    for task, network in networks.items():
        for name, value in network.state_dict().items():
            tensors[f"{SHARED if name.startswith(SHARED_MODULES) else task}.{name}"] = value
    return tensors


def task_state_dict(tensors: Mapping[str, Tensor], task: str, network: TaskNetwork) -> dict[str, Tensor]:
    """Select the tensors of one task's network from joined tensors.

    Raises:
        KeyError: If a tensor is missing.
    """
    return {
        name: tensors[f"{SHARED if name.startswith(SHARED_MODULES) else task}.{name}"] for name in network.state_dict()
    }  # fmt: skip


CONFIG_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "version": str,
    "labels": list,
    "words": list,
    "vector_size": int,
    "batch_windows": int,
    "segments_per_window": int,
    "threads": int,
    "conformal": (int, float),
    "conflict_from": (int, float),
    "decision": dict,
}


# Limits of what a config may ask for, far beyond every model: a wrong number must not take all memory.
CONFIG_LIMITS: Mapping[str, int] = {
    "vector_size": 16_384,
    "batch_windows": 4_096,
    "batch_windows_cuda": 4_096,
    "segments_per_window": 1_024,
    "segments_per_sample": 1_024,
    "threads": 256,
    "jpeg_side": 4_096,
}
LABELS_MAX, WORDS_MAX, WIDTH_MAX = 10_000, 1_000_000, 64


def save(
    folder: Path, network: StreamsNetwork | TaskNetwork, config: Mapping[str, Any], card: str, *, int8: bool = False
) -> str:
    """Write a checkpoint, with int8 weights on request; return its digest."""
    return save_state_dict(folder, network.state_dict(), config, card, int8=int8)


def save_state_dict(
    folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], card: str, *, int8: bool = False
) -> str:
    """Write a checkpoint from tensors, such as those of several networks that share encoders; return its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in state.items()}
    weights = save_tensors(quantize_int8(tensors) if int8 else tensors)
    text = json.dumps(config, indent=1, sort_keys=True).encode()
    files = {WEIGHTS: weights, CONFIG: text, CARD: card.encode()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    (folder / CHECKSUMS).write_text(sums)
    return model_digest(weights, text)


def load(folder: Path, device: str = "auto", threads: int | None = None, task: str | None = None) -> FusionModel:
    """Load a checkpoint, or the newest version in a folder, and set torch's thread count to the config's.

    Args:
        folder: A checkpoint, or a folder of versions.
        device: `auto`, `cpu` or `cuda`.
        threads: The thread count that the caller runs with; a checkpoint made for another count is refused.
        task: Which task, if the checkpoint has several.

    Raises:
        CheckpointError: If the checkpoint cannot be used.
    """
    files = verify(folder)
    config = _read_config(folder, files[CONFIG], task)
    if threads is not None and threads != config["threads"]:
        raise CheckpointError(
            f"{folder} was made for {config['threads']} thread(s), and {threads} are configured.",
            "The last bits of its results would differ.",
            "Change fusion.threads, or `threads` in a checkpoint of your own.",
        )
    torch.set_num_threads(config["threads"])
    network = _load_network(folder, config, files[WEIGHTS])
    return FusionModel(
        network, config, config["words"], model_digest(files[WEIGHTS], files[CONFIG]), _select_device(device)
    )


def checkpoint_tasks(folder: Path) -> tuple[str, ...]:
    """Return the tasks of a checkpoint that has several, else an empty tuple.

    Raises:
        CheckpointError: If the checkpoint cannot be used.
    """
    return tuple(_parse_json(folder, verify(folder)[CONFIG]).get("tasks", ()))


def load_task_network(folder: Path) -> tuple[TaskNetwork, dict[str, Any]]:
    """Load the network and the config of a task's checkpoint, to train or change them.

    Raises:
        CheckpointError: If the checkpoint cannot be used, or is a streams model.
    """
    files = verify(folder)
    config = _read_config(folder, files[CONFIG])
    network = _load_network(folder, config, files[WEIGHTS])
    if not isinstance(network, TaskNetwork):
        raise CheckpointError(
            f"{folder} is a model of streams, not of a task.", do="Give one that `braid train --data` made."
        )
    return network.eval(), config


def _load_network(folder: Path, config: Mapping[str, Any], weights: bytes) -> StreamsNetwork | TaskNetwork:
    try:
        network = _build_network(config)
        tensors = dequantize(load_tensors(weights))
        if "tasks" in config and isinstance(network, TaskNetwork):
            tensors = task_state_dict(tensors, config["task"], network)
        elif isinstance(network, TaskNetwork):
            # Older checkpoints have one constant temperature per expert.
            tensors.setdefault("warmth", torch.zeros_like(network.get_buffer("warmth")))
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, LookupError, TypeError, ValueError, AttributeError, MemoryError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} does not hold this network.", str(error)) from error
    infinite = [name for name, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if infinite:
        raise CheckpointError(
            f"{folder / WEIGHTS} has values that are not finite.",
            f"They are in {', '.join(infinite[:3])}: its training failed.",
            "Train again, with a lower learning rate.",
        )
    return network


def _build_network(config: Mapping[str, Any]) -> StreamsNetwork | TaskNetwork:
    """Build the network that a config describes: a task network if it names an architecture, else a streams network."""
    labels, words, architecture = len(config["labels"]), len(config["words"]), config.get("architecture")
    if architecture is None:
        return StreamsNetwork(labels, words, config["vector_size"])
    modalities, width, kind = (
        tuple(architecture["modalities"]),
        architecture.get("width", 1.0),
        architecture.get("encoders"),
    )
    return TaskNetwork(
        Architecture(modalities, labels, words, config["vector_size"], architecture["fusion"], width, kind)
    )


def _parse_json(folder: Path, raw: bytes) -> dict[str, Any]:
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CONFIG} is not JSON.", str(error), "Restore it, or train again.") from error
    return config if isinstance(config, dict) else {}


def _read_config(folder: Path, raw: bytes, task: str | None = None) -> dict[str, Any]:
    config = _parse_json(folder, raw)
    if "tasks" in config:
        if task not in config["tasks"]:
            known = ", ".join(config["tasks"])
            raise CheckpointError(f"{folder} holds the tasks {known}, not {task}.", do="Name one of them.")
        config = config | config["tasks"][task]
    wrong = [name for name, kind in CONFIG_TYPES.items() if not isinstance(config.get(name), kind)]
    if wrong:
        raise CheckpointError(
            f"{folder / CONFIG} lacks {', '.join(wrong)}, or has them with another type.",
            "It was written by another version of Braid.",
            "Train again with this one.",
        )
    out_of_range = _out_of_range(config)
    if out_of_range:
        raise CheckpointError(
            f"{folder / CONFIG} has values out of range: {', '.join(out_of_range)}.",
            "No model has such a config.",
            "Restore it, or train again.",
        )
    return config


def _out_of_range(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields with which a model cannot be built or served."""
    labels, words = config["labels"], config["words"]
    architecture = config.get("architecture") or {}
    width: Any = architecture.get("width", 1.0) if isinstance(architecture, dict) else None
    is_right = {
        **{name: _is_count(config.get(name, 1), maximum) for name, maximum in CONFIG_LIMITS.items()},
        "labels": 0 < len(set(map(str, labels))) == len(labels) <= LABELS_MAX
        and all(isinstance(label, str) and label for label in labels),
        "words": len(words) <= WORDS_MAX and all(isinstance(word, str) for word in words),
        "architecture.width": _is_finite(width) and 0 < width <= WIDTH_MAX,
        "decision": all(map(_is_finite, config["decision"].values())),
        "conformal": _is_finite(config["conformal"]),
        "conflict_from": _is_finite(config["conflict_from"]),
    }
    return [name for name, right in is_right.items() if not right]


def _is_count(value: Any, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= maximum


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _select_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise CheckpointError("fusion.device is cuda, and there is no CUDA device.", do="Set it to auto or cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
