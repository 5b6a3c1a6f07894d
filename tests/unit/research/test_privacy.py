"""Private training: bounded influence of a row, stated privacy loss, and no photo metadata."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.checkpoint import load, save
from model.data.manifest_set import ManifestSet
from research.privacy.dp_sgd import (
    EncodedRows,
    HeadLoss,
    PrivateRecipe,
    clipped_sum,
    encode_rows,
    initialize_heads,
    row_gradients,
    train_heads,
)
from research.privacy.fit import fit_private, privacy_section, private_config
from research.privacy.study import loss_threshold_attack, membership_by_severity
from services.cli.train_research import train_private
from services.runtime.settings import ROOT
from tests.unit.model.small_set import VECTOR_SIZE, WORDS, SmallSet

VECTORS = ROOT / "data" / "assistvec" / "vectors.npz"
RECIPE = PrivateRecipe(4.0, delta=1e-2, steps=10)


def rows() -> EncodedRows:
    return encode_rows(SmallSet(), initialize_heads(SmallSet(), WORDS, VECTOR_SIZE), 4)


def test_a_row_gradient_equals_its_gradient_alone() -> None:
    gradients, loss = rows(), HeadLoss(initialize_heads(SmallSet(), WORDS, VECTOR_SIZE).network)
    torch.manual_seed(1)
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter)
    state = {name: value.detach() for name, value in loss.named_parameters()}
    together = row_gradients(loss, state, gradients, torch.tensor([0, 3, 5]))
    right = torch.nn.functional.one_hot(gradients.labels[3], 2).float()
    loss(gradients.branches[3], gradients.present[3], right).backward()
    for name, parameter in loss.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(together[name][1], parameter.grad)


def test_one_row_moves_the_sum_by_no_more_than_the_clip() -> None:
    sums, loss = rows(), HeadLoss(initialize_heads(SmallSet(), WORDS, VECTOR_SIZE).network)
    everyone = clipped_sum(loss, sums, torch.arange(8), 0.1)
    but_one = clipped_sum(loss, sums, torch.arange(7), 0.1)
    moved = torch.cat([(everyone[name] - but_one[name]).flatten() for name in everyone])
    assert float(moved.norm()) == pytest.approx(0.1, rel=1e-4)  # its own gradient is longer


def test_only_heads_are_learned_and_the_same_secret_gives_the_same_weights() -> None:
    weights = []
    for secret in (1, 1, 2):
        trained = initialize_heads(SmallSet(), WORDS, VECTOR_SIZE)
        before = {name: value.clone() for name, value in trained.network.state_dict().items()}
        spent = train_heads(rows(), trained, RECIPE, secret, lambda *_: None)
        after = trained.network.state_dict()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == {name for name, _ in trained.network.named_parameters()}
        assert all(name.startswith("heads.") for name in changed)
        weights.append(after["heads.text.weight"].clone())
    assert spent is not None
    assert spent.epsilon <= 4.0
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_card_and_config_state_the_privacy_spent_but_not_the_secret(tmp_path: Path) -> None:
    secret = 987_654_321_012
    built, spent = fit_private(SmallSet(), VECTORS, RECIPE, secret, lambda *_: None)
    assert spent is not None
    config = private_config(built, SmallSet(), RECIPE, spent, "small", "1")
    save(tmp_path / "small" / "1", built.network, config, privacy_section(spent))
    text = (tmp_path / "small" / "1" / "config.json").read_text() + (tmp_path / "small" / "1" / "card.md").read_text()
    assert f"Epsilon {spent.epsilon:.2f} at delta 0.01" in text
    assert json.loads((tmp_path / "small" / "1" / "config.json").read_text())["privacy"]["noise"] == spent.noise
    assert str(secret) not in text
    secrets_seen = membership_by_severity(load(tmp_path / "small" / "1", "cpu"), SmallSet())["clean"]
    assert secrets_seen.auc == 0.5  # the same rows on both sides


def test_the_attack_detects_lower_losses_and_only_those() -> None:
    assert loss_threshold_attack(np.array([0.1, 0.2]), np.array([0.3, 0.4])).auc == 1
    assert loss_threshold_attack(np.array([0.1, 0.2]), np.array([0.3, 0.4])).advantage == 1
    assert loss_threshold_attack(np.array([0.3, 0.4]), np.array([0.1, 0.2])).advantage == 0
    same = loss_threshold_attack(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    assert (same.auc, same.advantage) == (0.5, 0.0)


@pytest.fixture
def photographed(tmp_path: Path) -> Path:
    """A manifest of photos whose EXIF names a camera, an owner and a place."""
    rng, lines = np.random.default_rng(1), []
    for number in range(10):
        exif = Image.Exif()
        exif[0x010F], exif[0x010E], exif[0x013B] = "TELLTALE-CAMERA", "TELLTALE-NOTE", "TELLTALE-OWNER"
        exif.get_ifd(0x8825)[1] = "TELLTALE-PLACE"
        pixels = rng.integers(0, 100, (64, 64, 3)).astype(np.uint8) + np.uint8(100 * (number % 2))
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg", exif=exif, comment=b"TELLTALE-COMMENT", quality=95)
        row = {"id": str(number), "image": f"{number}.jpg", "label": ("dark", "light")[number % 2]}
        lines.append(json.dumps(row | {"split": "val" if number > 7 else "train"}))
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_photo_metadata_does_not_reach_tensors_records_or_output(
    photographed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert b"TELLTALE-OWNER" in (photographed / "0.jpg").read_bytes()
    assert b"TELLTALE-COMMENT" in (photographed / "0.jpg").read_bytes()
    examples = list(ManifestSet(photographed / "manifest.jsonl").samples("train", "clean"))
    for path in photographed.glob("*.jpg"):
        with Image.open(path) as image:  # the same picture without anything beside its pixels
            bare = Image.fromarray(np.asarray(image))
        bare.save(path.with_suffix(".png"))
        assert b"TELLTALE" not in path.with_suffix(".png").read_bytes()
    text = (photographed / "manifest.jsonl").read_text().replace(".jpg", ".png")
    (photographed / "bare.jsonl").write_text(text)
    for example, bare_one in zip(
        examples, ManifestSet(photographed / "bare.jsonl").samples("train", "clean"), strict=True
    ):
        assert np.array_equal(example.value("video"), bare_one.value("video"))
        assert "TELLTALE" not in repr(example)
    folder = photographed / "models" / "own" / "1"
    output = train_private(str(photographed / "manifest.jsonl"), ROOT / "data", folder, 50.0, 1e-2)
    assert output["privacy"]["epsilon"] <= 50
    written = [path.read_bytes() for path in folder.iterdir()]
    printed = "".join(capfd.readouterr())
    assert all(b"TELLTALE" not in content for content in written)
    assert "TELLTALE" not in printed + json.dumps(output)
