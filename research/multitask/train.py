"""Training of several tasks at once: each step takes a batch of every task through encoders that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.calibrate import cell_scores, conformal_threshold, fit_experts, fit_subsets, validation_draws
from model.checkpoint import share
from model.data.example import Example, Examples
from model.encoders.lexicon import Lexicon
from model.fit import Built, set_prior
from model.network import TaskNetwork
from model.recipe import TaskRecipe
from model.repeatable import repeatable
from model.resume import Average
from model.tensors import Tensors, tensors_of
from model.train import EASED, GRADIENT_MAX, TrainedTask, masked, start
from model.vocabulary import lexicon_for

Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Task:
    """One of the tasks: its set, its sentences, how many samples a step takes, and the segments of one that count."""

    data: Examples
    sentences: Sequence[str]
    batch: int
    segments: int


def lexicon_of(tasks: Mapping[str, Task], vectors: Path) -> tuple[list[str], Tensor]:
    """The words of all tasks together, with their vectors."""
    sentences = [s for task in tasks.values() for s in task.sentences]
    return lexicon_for(sentences, vectors, numbers="tridigit" in tasks)


def build_several(
    tasks: Mapping[str, Task], words: list[str], table: Tensor, recipe: TaskRecipe, steps: int, report: Report
) -> dict[str, Built]:
    """Train all tasks together for so many steps an epoch and calibrate each on its validation samples.

    The weights are the running average at the end; batch statistics are those of all tasks' samples in a step.
    """
    repeatable(recipe.threads)
    networks = {name: start(task.data, words, table, recipe).network for name, task in tasks.items()}
    every, lexicon = share(networks), Lexicon(words)
    curve = _train(tasks, networks, every, lexicon, recipe, steps, report)
    every.eval()
    out = {}
    for name, task in tasks.items():
        network = networks[name]
        set_prior(TrainedTask(network, lexicon), task.data)
        seen = validation_draws(network, lexicon, task.data, task.segments)
        fit_experts(network, seen)
        fit_subsets(network, seen)
        threshold = conformal_threshold(network, seen)
        out[name] = Built(network, words, curve, threshold, {}, cell_scores(network, seen))
    return out


def _train(
    tasks: Mapping[str, Task], networks: Mapping[str, TaskNetwork], every: nn.ModuleDict, lexicon: Lexicon,
    recipe: TaskRecipe, steps: int, report: Report,
) -> list[dict[str, float]]:  # fmt: skip
    optimiser = torch.optim.AdamW(every.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    total = max(steps * recipe.epochs, 3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total, pct_start=0.1)
    average, curve = Average(every), []
    feeds = {name: _batches(task, recipe, n) for n, (name, task) in enumerate(tasks.items())}
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng([recipe.seed, len(tasks)])
    every.train()
    for epoch in range(1, recipe.epochs + 1):
        losses = dict.fromkeys(tasks, 0.0)
        for _ in range(steps):
            batches = {
                name: tensors_of(next(feeds[name]), task.data.modalities, lexicon, task.segments)
                for name, task in tasks.items()
            }
            said = joint_logits(networks, batches, lambda spectrum: masked(spectrum, rng))
            parts = {name: branch_losses(said[name], batch, recipe.smoothing) for name, batch in batches.items()}
            optimiser.zero_grad()
            torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(every.parameters(), GRADIENT_MAX)
            optimiser.step()
            schedule.step()
            average.update(every)
            for name, loss in parts.items():
                losses[name] += float(loss.detach()) / steps
        curve.append({"epoch": float(epoch)} | {name: round(value, 4) for name, value in losses.items()})
        report(epoch, curve[-1])
    every.load_state_dict(average.state)
    return curve


def joint_logits(
    networks: Mapping[str, TaskNetwork], batches: Mapping[str, Tensors], mask: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """What each branch of each task says, [batch, modalities, labels]; every encoder sees all tasks' items together."""
    items: dict[str, dict[str, Tensor]] = {name: {} for name in networks}
    for m in dict.fromkeys(m for network in networks.values() for m in network.modalities):
        own = {name: batches[name].inputs[m] for name, network in networks.items() if m in network.modalities}
        encoder = next(networks[name] for name in own).item_encoder(m)
        flat = torch.cat([values.flatten(0, 1) for values in own.values()])
        if m == "audio":
            with torch.no_grad():
                flat = mask(encoder.spectrum(flat))  # type: ignore[operator]
            features = encoder.seen(flat)  # type: ignore[operator]
        else:
            features = encoder(flat)
        sizes = [values.shape[0] * values.shape[1] for values in own.values()]
        for (name, values), part in zip(own.items(), torch.split(features, sizes), strict=True):
            items[name][m] = part.view(*values.shape[:2], -1)
    return {
        name: network.expert_logits(network.branches(items[name], batches[name].there))
        for name, network in networks.items()
    }


def branch_losses(logits: Tensor, batch: Tensors, smoothing: float) -> Tensor:
    """The sum of the branches' losses, each over the samples in which it is there."""
    losses = []
    for i, there in enumerate(batch.there.values()):
        present = there.any(1)
        if bool(present.any()):
            said, right = logits[present, i], batch.labels[present]
            losses.append(nn.functional.cross_entropy(said, right, label_smoothing=smoothing))
    return torch.stack(losses).sum()


def _batches(task: Task, recipe: TaskRecipe, number: int) -> Iterator[list[Example]]:
    """Batches without end, from one fresh epoch after another."""
    for epoch in count():
        rng = np.random.default_rng([recipe.seed, number, epoch])
        ease = max(0.0, 1 - epoch / (EASED * recipe.epochs))
        examples = list(task.data.epoch(rng, ease))
        size = min(task.batch, len(examples))
        for at in range(0, len(examples) - size + 1, size):
            yield examples[at : at + size]
