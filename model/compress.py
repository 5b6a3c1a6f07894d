"""Compress a task model: drop unused weights, quantize to int8, and distil a narrower student if that is too large.

int8 weights are a row of a matrix times one scale; they are read back as float32, so inference does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from model import metrics
from model.calibrate import (
    draw_validation_set,
    fit_conformal_threshold,
    fit_expert_temperatures,
    fit_subset_temperatures,
)
from model.data.example import Examples
from model.encoders.text import Lexicon, tokenize
from model.evaluate import subset_name
from model.fusion import GatedFusion
from model.network import TaskNetwork
from model.predict_files import median_latency_ms, predict_examples
from model.predictor import FusionModel
from model.recipe import TaskRecipe
from model.tensors import collate_examples, compute_branches, encode_branches
from model.training_loop import EASY_SHARE, GRADIENT_MAX, mask_spectrum
from model.training_state import WeightAverage, make_deterministic

SCALE_SUFFIX = ":scale"
# Below this many values, the scales and the header of a tensor take as many bytes as quantizing saves.
VALUES_MIN = 256


def quantize_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Quantize matrices and kernels to int8 [rows, ...] with float16 scales [rows] under `name:scale`; others to float16."""
    quantized: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not value.is_floating_point():
            quantized[name] = value
        elif value.dim() > 1 and value.numel() >= VALUES_MIN:
            rows = value.float().flatten(1)
            scale = (rows.abs().amax(1) / 127).clamp(min=1e-6).half()
            quantized[name] = (rows / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8).view_as(value)
            quantized[name + SCALE_SUFFIX] = scale
        else:
            quantized[name] = value.half() if value.numel() > 1 else value
    return quantized


def dequantize(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Restore float32 tensors from `quantize_int8`; other tensors stay as they are."""
    restored: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith(SCALE_SUFFIX):
            continue
        scale = tensors.get(name + SCALE_SUFFIX)
        if scale is not None:
            value = value.float() * scale.float().view(-1, *[1] * (value.dim() - 1))
        restored[name] = value
    return restored


Report = Callable[[str, int, Mapping[str, float]], None]
# Widths and vocabulary sizes of students; the first that fits is used.
STUDENT_SIZES = ((0.75, 1200), (0.5, 800), (0.5, 400), (0.4, 250), (0.3, 160), (0.25, 100))
SOFTENING = 2.0


@dataclass(frozen=True, slots=True)
class CompressedModel:
    """A compressed network with its config and the size of its saved weights in bytes."""

    step: str
    network: TaskNetwork
    config: dict[str, Any]
    bytes: int


def compress_model(
    network: TaskNetwork, config: Mapping[str, Any], data: Examples, sentences: Sequence[str], budget: int,
    recipe: TaskRecipe, report: Report,
) -> list[CompressedModel]:  # fmt: skip
    """Compress until the weights fit `budget` bytes: int8 first, then a distilled student if needed.

    Returns:
        The steps, the last one the smallest.
    """
    lean = remove_unused_residual(network)
    steps = [_compressed("int8", lean, config)]
    if steps[-1].bytes > budget:
        student, words = make_student(lean, config["words"], sentences, budget)
        distil_student(lean, Lexicon(config["words"]), student, Lexicon(words), data, recipe, report)
        student.load_state_dict(dequantize(quantize_int8(student.state_dict())))
        samples = draw_validation_set(student, Lexicon(words), data, recipe.segments)
        fit_expert_temperatures(student, samples)
        fit_subset_temperatures(student, samples)
        student_config = dict(config) | {
            "words": words,
            "conformal": round(fit_conformal_threshold(student, samples), 6),
        }
        steps.append(_compressed("distilled, int8", student, student_config))
    return steps


def remove_unused_residual(network: TaskNetwork) -> TaskNetwork:
    """Return the network without its residual if validation enabled it for no subset."""
    fusion = network.fusion
    if not isinstance(fusion, GatedFusion) or bool(fusion.get_buffer("kept")[1:].any()):
        return network
    lean = TaskNetwork(replace(network.architecture, fusion="experts"))
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("fusion.")}
    lean.load_state_dict(state)
    return lean.eval()


def make_student(
    teacher: TaskNetwork, words: Sequence[str], sentences: Sequence[str], budget: int
) -> tuple[TaskNetwork, list[str]]:
    """Create the widest student that fits, with the words that the training sentences use most.

    Returns:
        The student and its words.

    Raises:
        ValueError: If even the narrowest student does not fit.
    """
    counts = dict.fromkeys(words, 0)
    for sentence in sentences:
        for word in tokenize(sentence):
            if word in counts:
                counts[word] += 1
    # Ties keep the listed order, which is by frequency in general text.
    ranked = sorted(range(len(words)), key=lambda place: (-counts[words[place]], place))
    for width, count in STUDENT_SIZES:
        chosen = sorted(ranked[:count])
        torch.manual_seed(0)
        architecture = replace(teacher.architecture, word_count=len(chosen), width=width, fusion="experts")
        student = TaskNetwork(architecture)
        if len(save_tensors(quantize_int8(student.state_dict()))) <= budget:
            _copy_words(teacher, student, chosen)
            student.get_buffer("log_prior").copy_(teacher.get_buffer("log_prior"))
            return student, [words[place] for place in chosen]
    raise ValueError(f"no student fits {budget} bytes: give a larger budget")


def distil_student(
    teacher: TaskNetwork,
    teacher_lexicon: Lexicon,
    student: TaskNetwork,
    student_lexicon: Lexicon,
    data: Examples,
    recipe: TaskRecipe,
    report: Report,
) -> None:
    """Train the student's branches in place on the teacher's outputs (Hinton et al. 2015) and on the labels."""
    make_deterministic(recipe.threads)
    batches = max(len(data.epoch(np.random.default_rng(0))) // recipe.batch_size, 1)
    optimiser = torch.optim.AdamW(student.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, batches * recipe.epochs, pct_start=0.1
    )
    average = WeightAverage(student)
    for epoch in range(recipe.epochs):
        rng = np.random.default_rng([recipe.seed, 2_000 + epoch])
        torch.manual_seed(recipe.seed * 1_000 + epoch)
        examples = data.epoch(rng, max(0.0, 1 - epoch / (EASY_SHARE * recipe.epochs)))
        total = 0.0
        student.train()
        for begin in range(0, batches * recipe.batch_size, recipe.batch_size):
            part = examples[begin : begin + recipe.batch_size]
            batch = collate_examples(part, teacher.modalities, teacher_lexicon, recipe.segments)
            branches, present = encode_branches(teacher, batch)
            with torch.no_grad():
                teacher_logits = teacher.expert_logits(branches)
            if "text" in batch.inputs:
                words = collate_examples(part, ("text",), student_lexicon, recipe.segments)
                batch.inputs["text"].copy_(words.inputs["text"])
            branches, _ = compute_branches(student, batch, lambda spectrum, rng=rng: mask_spectrum(spectrum, rng))  # type: ignore[misc]
            loss = _distillation_loss(student.expert_logits(branches), teacher_logits, present, batch.labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(student.parameters(), GRADIENT_MAX)
            optimiser.step()
            schedule.step()
            average.update(student)
            total += float(loss.detach()) / batches
        report("student", epoch + 1, {"epoch": float(epoch + 1), "loss": round(total, 4)})
    student.load_state_dict(average.state)
    student.eval()


def measure_compressed(model: FusionModel, original: FusionModel, data: Examples, part: str = "test") -> dict[str, Any]:
    """Measure agreement with the original, accuracy in every cell, and ms per prediction."""
    agreements: list[float] = []
    cells: dict[str, dict[str, float]] = {}
    for severity in data.severities:
        examples = data.samples(part, severity)
        labels = np.array([e.label for e in examples], np.int64)
        compressed, reference = predict_examples(model, examples), predict_examples(original, examples)
        agreements.append(float((compressed[:, -1].argmax(1) == reference[:, -1].argmax(1)).mean()))
        cells[severity] = {
            subset_name(model, index): round(metrics.accuracy(compressed[:, index], labels), 4)
            for index in range(1, compressed.shape[1])
        }
    latency_ms = round(median_latency_ms(model, data.samples(part, data.severities[0])), 2)
    return {"agreement": round(float(np.mean(agreements)), 4), "ms": latency_ms, "accuracy": cells}


def _compressed(step: str, network: TaskNetwork, config: Mapping[str, Any]) -> CompressedModel:
    architecture = network.architecture
    architecture_config = {
        "modalities": list(architecture.modalities),
        "fusion": architecture.fusion,
        "width": architecture.width,
    }
    compressed_config = dict(config) | {"architecture": architecture_config}
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    return CompressedModel(step, network, compressed_config, len(save_tensors(quantize_int8(state))))


def _distillation_loss(student_logits: Tensor, teacher_logits: Tensor, present: Tensor, labels: Tensor) -> Tensor:
    losses = []
    for i in range(student_logits.shape[1]):
        rows = present[:, i]
        if bool(rows.any()):
            soft = nn.functional.kl_div(
                torch.log_softmax(student_logits[rows, i] / SOFTENING, -1),
                torch.log_softmax(teacher_logits[rows, i] / SOFTENING, -1),
                reduction="batchmean",
                log_target=True,
            )
            losses.append(
                SOFTENING**2 * soft + 0.5 * nn.functional.cross_entropy(student_logits[rows, i], labels[rows])
            )
    return torch.stack(losses).sum()


@torch.no_grad()
def _copy_words(teacher: TaskNetwork, student: TaskNetwork, chosen: Sequence[int]) -> None:
    """Copy the rows of the chosen words, and the rows of padding and unknown words before them."""
    if "text" not in teacher.modalities:
        return
    rows = torch.tensor([0, 1, *(place + 2 for place in chosen)])
    for name in ("vectors", "learned.weight"):
        values = teacher.encoders["text"].state_dict()[name]
        student.encoders["text"].state_dict()[name].copy_(values[rows])
