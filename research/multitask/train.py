"""Train several tasks at once: each step takes a batch of every task through shared encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.calibrate import (
    draw_validation_set,
    fit_conformal_threshold,
    fit_expert_temperatures,
    fit_subset_temperatures,
    score_draws,
)
from model.checkpoint import share_encoders
from model.data.example import Example, Examples
from model.encoders.text import Lexicon, build_lexicon
from model.fit_and_calibrate import FittedModel, fit_prior
from model.network import TaskNetwork
from model.recipe import TaskRecipe
from model.tensors import ExampleBatch, collate_examples
from model.training_loop import EASY_SHARE, GRADIENT_MAX, TrainedTask, initialize_network, mask_spectrum
from model.training_state import WeightAverage, make_deterministic

Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Task:
    """A task: its set, its sentences, samples per step, and audio segments of a sample that count."""

    data: Examples
    sentences: Sequence[str]
    batch: int
    segments: int


def shared_lexicon(tasks: Mapping[str, Task], vectors: Path) -> tuple[list[str], Tensor]:
    """Return the words of all tasks with their vectors."""
    sentences = [s for task in tasks.values() for s in task.sentences]
    return build_lexicon(sentences, vectors, numbers="tridigit" in tasks)


def fit_tasks(
    tasks: Mapping[str, Task], words: list[str], table: Tensor, recipe: TaskRecipe, steps: int, report: Report
) -> dict[str, FittedModel]:
    """Train all tasks together, `steps` steps per epoch, and calibrate each on its validation samples.

    The weights are the running average at the end; batch statistics are those of all tasks' samples in a step.
    """
    make_deterministic(recipe.threads)
    networks = {name: initialize_network(task.data, words, table, recipe).network for name, task in tasks.items()}
    modules, lexicon = share_encoders(networks), Lexicon(words)
    curve = _train(tasks, networks, modules, lexicon, recipe, steps, report)
    modules.eval()
    fitted = {}
    for name, task in tasks.items():
        network = networks[name]
        fit_prior(TrainedTask(network, lexicon), task.data)
        samples = draw_validation_set(network, lexicon, task.data, task.segments)
        fit_expert_temperatures(network, samples)
        fit_subset_temperatures(network, samples)
        threshold = fit_conformal_threshold(network, samples)
        fitted[name] = FittedModel(network, words, curve, threshold, {}, score_draws(network, samples))
    return fitted


def _train(
    tasks: Mapping[str, Task], networks: Mapping[str, TaskNetwork], modules: nn.ModuleDict, lexicon: Lexicon,
    recipe: TaskRecipe, steps: int, report: Report,
) -> list[dict[str, float]]:  # fmt: skip
    optimiser = torch.optim.AdamW(modules.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    total = max(steps * recipe.epochs, 3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total, pct_start=0.1)
    average, curve = WeightAverage(modules), []
    feeds = {name: _batches(task, recipe, n) for n, (name, task) in enumerate(tasks.items())}
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng([recipe.seed, len(tasks)])
    modules.train()
    for epoch in range(1, recipe.epochs + 1):
        losses = dict.fromkeys(tasks, 0.0)
        for _ in range(steps):
            batches = {
                name: collate_examples(next(feeds[name]), task.data.modalities, lexicon, task.segments)
                for name, task in tasks.items()
            }
            logits = joint_logits(networks, batches, lambda spectrum: mask_spectrum(spectrum, rng))
            parts = {name: branch_losses(logits[name], batch, recipe.smoothing) for name, batch in batches.items()}
            optimiser.zero_grad()
            torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(modules.parameters(), GRADIENT_MAX)
            optimiser.step()
            schedule.step()
            average.update(modules)
            for name, loss in parts.items():
                losses[name] += float(loss.detach()) / steps
        curve.append({"epoch": float(epoch)} | {name: round(value, 4) for name, value in losses.items()})
        report(epoch, curve[-1])
    modules.load_state_dict(average.state)
    return curve


def joint_logits(
    networks: Mapping[str, TaskNetwork], batches: Mapping[str, ExampleBatch], mask: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Return the logits of each branch of each task, [batch, modalities, labels]; an encoder gets all tasks' items at once."""
    items: dict[str, dict[str, Tensor]] = {name: {} for name in networks}
    for m in dict.fromkeys(m for network in networks.values() for m in network.modalities):
        inputs = {name: batches[name].inputs[m] for name, network in networks.items() if m in network.modalities}
        encoder = next(networks[name] for name in inputs).item_encoder(m)
        flat = torch.cat([values.flatten(0, 1) for values in inputs.values()])
        if m == "audio":
            with torch.no_grad():
                flat = mask(encoder.spectrum(flat))  # type: ignore[operator]
            features = encoder.encode_spectrum(flat)  # type: ignore[operator]
        else:
            features = encoder(flat)
        sizes = [values.shape[0] * values.shape[1] for values in inputs.values()]
        for (name, values), part in zip(inputs.items(), torch.split(features, sizes), strict=True):
            items[name][m] = part.view(*values.shape[:2], -1)
    return {
        name: network.expert_logits(network.branches(items[name], batches[name].present))
        for name, network in networks.items()
    }


def branch_losses(logits: Tensor, batch: ExampleBatch, smoothing: float) -> Tensor:
    """Sum the losses of the branches, each over the samples in which it is present."""
    losses = []
    for i, mask in enumerate(batch.present.values()):
        present = mask.any(1)
        if bool(present.any()):
            branch_logits, labels = logits[present, i], batch.labels[present]
            losses.append(nn.functional.cross_entropy(branch_logits, labels, label_smoothing=smoothing))
    return torch.stack(losses).sum()


def _batches(task: Task, recipe: TaskRecipe, number: int) -> Iterator[list[Example]]:
    """Yield batches endlessly, one random epoch after another."""
    for epoch in count():
        rng = np.random.default_rng([recipe.seed, number, epoch])
        ease = max(0.0, 1 - epoch / (EASY_SHARE * recipe.epochs))
        examples = list(task.data.epoch(rng, ease))
        size = min(task.batch, len(examples))
        for begin in range(0, len(examples) - size + 1, size):
            yield examples[begin : begin + size]
