"""Weights in eight bits: each row of a matrix as int8 times one scale; read back as float32, so it serves like any other.

Compression of a task's model: what does nothing is cut, weights go to eight bits, and a narrower student learns from it.

Each step is measured: bytes, agreement with the original, accuracy by cell, milliseconds.
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
from model.answers import answers, milliseconds
from model.calibrate import conformal_threshold, fit_experts, fit_subsets, validation_draws
from model.data.example import Examples
from model.encoders.lexicon import Lexicon
from model.encoders.text import words_of
from model.evaluate import subset_name
from model.fusion import GatedFusion
from model.network import TaskNetwork
from model.predictor import FusionModel
from model.recipe import TaskRecipe
from model.repeatable import repeatable
from model.resume import Average
from model.tensors import branches_of, encoded, tensors_of
from model.train import EASED, GRADIENT_MAX, masked

SCALE = ":scale"
# Below this many values the scales and the header of a tensor weigh as much as is saved.
VALUES_MIN = 256


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels as int8 [rows, ...] with float16 scales [rows] under `name:scale`; small ones in float16."""
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not value.is_floating_point():
            out[name] = value
        elif value.dim() > 1 and value.numel() >= VALUES_MIN:
            rows = value.float().flatten(1)
            scale = (rows.abs().amax(1) / 127).clamp(min=1e-6).half()
            out[name] = (rows / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8).view_as(value)
            out[name + SCALE] = scale
        else:
            out[name] = value.half() if value.numel() > 1 else value
    return out


def opened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` made as float32 tensors again; others as they are."""
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith(SCALE):
            continue
        scale = tensors.get(name + SCALE)
        if scale is not None:
            value = value.float() * scale.float().view(-1, *[1] * (value.dim() - 1))
        out[name] = value
    return out


Report = Callable[[str, int, Mapping[str, float]], None]
# Widths and numbers of words of students, the largest that fits first.
LADDER = ((0.75, 1200), (0.5, 800), (0.5, 400), (0.4, 250), (0.3, 160), (0.25, 100))
HEAT = 2.0


@dataclass(frozen=True, slots=True)
class Small:
    """A compressed network with its config and the size of its weights as they are saved."""

    step: str
    network: TaskNetwork
    config: dict[str, Any]
    bytes: int


def shrunk(
    network: TaskNetwork, config: Mapping[str, Any], data: Examples, sentences: Sequence[str], budget: int,
    recipe: TaskRecipe, report: Report,
) -> list[Small]:  # fmt: skip
    """The steps until the weights fit the budget: eight bits, then a distilled student if that is not enough."""
    lean = without_idle_residual(network)
    steps = [_small("int8", lean, config)]
    if steps[-1].bytes > budget:
        student, words = student_for(lean, config["words"], sentences, budget)
        distil(lean, Lexicon(config["words"]), student, Lexicon(words), data, recipe, report)
        student.load_state_dict(opened(packed(student.state_dict())))
        seen = validation_draws(student, Lexicon(words), data, recipe.segments)
        fit_experts(student, seen)
        fit_subsets(student, seen)
        own = dict(config) | {"words": words, "conformal": round(conformal_threshold(student, seen), 6)}
        steps.append(_small("distilled, int8", student, own))
    return steps


def without_idle_residual(network: TaskNetwork) -> TaskNetwork:
    """The same network without a residual that validation kept for no subset."""
    fusion = network.fusion
    if not isinstance(fusion, GatedFusion) or bool(fusion.get_buffer("kept")[1:].any()):
        return network
    lean = TaskNetwork(replace(network.architecture, fusion="experts"))
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("fusion.")}
    lean.load_state_dict(state)
    return lean.eval()


def student_for(
    teacher: TaskNetwork, words: Sequence[str], sentences: Sequence[str], budget: int
) -> tuple[TaskNetwork, list[str]]:
    """The widest student that fits, with the words that the training sentences use most, and those words.

    Raises ValueError where not even the narrowest fits.
    """
    counts = dict.fromkeys(words, 0)
    for sentence in sentences:
        for word in words_of(sentence):
            if word in counts:
                counts[word] += 1
    # The listed order stands for frequency elsewhere; figures and numbers are used in every other sentence.
    ranked = sorted(range(len(words)), key=lambda place: (-counts[words[place]], place))
    for width, count in LADDER:
        chosen = sorted(ranked[:count])
        torch.manual_seed(0)
        architecture = replace(teacher.architecture, word_count=len(chosen), width=width, fusion="experts")
        student = TaskNetwork(architecture)
        if len(save_tensors(packed(student.state_dict()))) <= budget:
            _take_words(teacher, student, chosen)
            student.get_buffer("log_prior").copy_(teacher.get_buffer("log_prior"))
            return student, [words[place] for place in chosen]
    raise ValueError(f"no student fits {budget} bytes")


def distil(
    teacher: TaskNetwork,
    reads: Lexicon,
    student: TaskNetwork,
    student_reads: Lexicon,
    data: Examples,
    recipe: TaskRecipe,
    report: Report,
) -> None:
    """Train the student's branches in place on what the teacher's say (Hinton et al. 2015) and on the labels."""
    repeatable(recipe.threads)
    batches = max(len(data.epoch(np.random.default_rng(0))) // recipe.batch_size, 1)
    optimiser = torch.optim.AdamW(student.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, batches * recipe.epochs, pct_start=0.1
    )
    average = Average(student)
    for epoch in range(recipe.epochs):
        rng = np.random.default_rng([recipe.seed, 2_000 + epoch])
        torch.manual_seed(recipe.seed * 1_000 + epoch)
        examples = data.epoch(rng, max(0.0, 1 - epoch / (EASED * recipe.epochs)))
        total = 0.0
        student.train()
        for at in range(0, batches * recipe.batch_size, recipe.batch_size):
            part = examples[at : at + recipe.batch_size]
            told = tensors_of(part, teacher.modalities, reads, recipe.segments)
            branches, present = encoded(teacher, told)
            with torch.no_grad():
                wanted = teacher.expert_logits(branches)
            if "text" in told.inputs:
                read = tensors_of(part, ("text",), student_reads, recipe.segments)
                told.inputs["text"].copy_(read.inputs["text"])
            seen, _ = branches_of(student, told, lambda spectrum, rng=rng: masked(spectrum, rng))  # type: ignore[misc]
            loss = _distilled(student.expert_logits(seen), wanted, present, told.labels)
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


def measured(model: FusionModel, original: FusionModel, data: Examples, part: str = "test") -> dict[str, Any]:
    """Agreement with the original and accuracy of both in every cell, and milliseconds for a decision."""
    same: list[float] = []
    cells: dict[str, dict[str, float]] = {}
    for severity in data.severities:
        examples = data.given(part, severity)
        labels = np.array([e.label for e in examples], np.int64)
        ours, theirs = answers(model, examples), answers(original, examples)
        same.append(float((ours[:, -1].argmax(1) == theirs[:, -1].argmax(1)).mean()))
        cells[severity] = {
            subset_name(model, index): round(metrics.accuracy(ours[:, index], labels), 4)
            for index in range(1, ours.shape[1])
        }
    taken = round(milliseconds(model, data.given(part, data.severities[0])), 2)
    return {"agreement": round(float(np.mean(same)), 4), "ms": taken, "accuracy": cells}


def _small(step: str, network: TaskNetwork, config: Mapping[str, Any]) -> Small:
    architecture = network.architecture
    told = {"modalities": list(architecture.modalities), "fusion": architecture.fusion, "width": architecture.width}
    own = dict(config) | {"architecture": told}
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    return Small(step, network, own, len(save_tensors(packed(state))))


def _distilled(said: Tensor, wanted: Tensor, present: Tensor, labels: Tensor) -> Tensor:
    losses = []
    for i in range(said.shape[1]):
        there = present[:, i]
        if bool(there.any()):
            soft = nn.functional.kl_div(
                torch.log_softmax(said[there, i] / HEAT, -1),
                torch.log_softmax(wanted[there, i] / HEAT, -1),
                reduction="batchmean",
                log_target=True,
            )
            losses.append(HEAT**2 * soft + 0.5 * nn.functional.cross_entropy(said[there, i], labels[there]))
    return torch.stack(losses).sum()


@torch.no_grad()
def _take_words(teacher: TaskNetwork, student: TaskNetwork, chosen: Sequence[int]) -> None:
    """The rows of the chosen words, and those of padding and unknown words before them."""
    if "text" not in teacher.modalities:
        return
    rows = torch.tensor([0, 1, *(place + 2 for place in chosen)])
    for name in ("vectors", "learned.weight"):
        values = teacher.encoders["text"].state_dict()[name]
        student.encoders["text"].state_dict()[name].copy_(values[rows])
