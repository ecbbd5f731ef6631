"""Changed sequences and tables: what a slow loop over samples says of them, and what they leave alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from training.data import Augmenter, Data, Split
from training.data.changes import MADE, Parts, changed
from training.modules.padding import is_there
from training.spec import Card, Modality, Registered, Task
from training.spec.datasets import CHANGES

N, LENGTH, FEATURES = 400, 20, 3


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def sequences(n: int = N) -> Tensor:
    """Of 1 to 20 steps, in which no number is zero or like another."""
    x = torch.rand(n, LENGTH, FEATURES) + torch.arange(1, n * LENGTH * FEATURES + 1).view(n, LENGTH, FEATURES)
    length = torch.randint(1, LENGTH + 1, (n,))
    length[:3] = torch.tensor([1, 2, LENGTH])
    return x * (torch.arange(LENGTH) < length[:, None])[..., None]


def tables(n: int = N) -> Tensor:
    return torch.rand(n, 10) + 1


def parts_of(x: Tensor) -> Parts:
    return Parts(x, is_there("sequence" if x.ndim == 3 else "table", x))


def steps(parts: Parts) -> list[Tensor]:
    """Per sample the parts that are there."""
    return [x[there] for x, there in zip(parts.x, parts.there, strict=True)]


def every_change() -> list[Any]:
    return [
        pytest.param(change, make, id=f"{change}-{kind}")
        for kind, make in (("sequence", sequences), ("table", tables))
        for change in CHANGES[kind]
    ]


@pytest.mark.parametrize(("change", "make"), every_change())
def test_padding_stays_zero_and_the_input_as_it_was(change, make):
    x = make()
    before = x.clone()
    after = MADE[change](parts_of(x))
    assert torch.equal(x, before)
    assert after.x.shape == x.shape
    assert after.x.dtype == torch.float32
    assert not after.x[~after.there].any()
    assert after.x.isfinite().all()


@pytest.mark.parametrize(("change", "make"), every_change())
def test_every_sample_draws_for_itself(change, make):
    x = (
        make(1).expand(64, *make(1).shape[1:]).clone()
        if make is tables
        else sequences()[2].expand(64, -1, -1).clone()
    )
    if change == "mixup":
        x = make()  # among equal samples nothing can be mixed
    after = MADE[change](parts_of(x)).x
    assert len(torch.unique(after - x if change == "mixup" else after, dim=0)) > 20


@pytest.mark.parametrize("make", [sequences, tables])
def test_drop_zeroes_whole_parts_at_most_four_fifths_of_them_and_no_other_number(make):
    x = make()
    before, after = parts_of(x), MADE["drop"](parts_of(x))
    shares = []
    for row in range(N):
        length, zeroed = int(before.there[row].sum()), 0
        for part in range(x.shape[1]):
            same = torch.equal(after.x[row, part], x[row, part])
            if not same:
                assert not after.x[row, part].any()
                zeroed += 1
        assert zeroed <= round(0.8 * length)
        shares.append(zeroed / length)
    long = [share for share, there in zip(shares, before.there, strict=True) if there.sum() >= 10]
    assert sum(long) / len(long) == pytest.approx(0.4, abs=0.05)
    assert max(long) > 0.7
    assert min(long) < 0.1


def test_drop_zeroes_every_step_as_often():
    x = sequences()[2].expand(4000, -1, -1)
    zeroed = (MADE["drop"](parts_of(x)).x == 0).all(-1).float().mean(0)
    assert zeroed.min() > 0.36
    assert zeroed.max() < 0.44


@pytest.mark.parametrize("make", [sequences, tables])
def test_noise_adds_a_tenth_of_a_deviation_to_each_number(make):
    x = make()
    before, after = parts_of(x), MADE["noise"](parts_of(x))
    added = (after.x.double() - x.double())[before.there]
    assert added.mean() == pytest.approx(0, abs=0.01)
    assert added.std() == pytest.approx(0.1, abs=0.01)
    assert (added != 0).float().mean() > 0.9


def test_permute_keeps_all_steps_and_changes_their_order():
    x = sequences()
    before, after = parts_of(x), MADE["permute"](parts_of(x))
    assert torch.equal(before.there, after.there)
    for was, now in zip(steps(before), steps(after), strict=True):
        assert torch.equal(was, now[now[:, 0].argsort()])
    moved = [
        not torch.equal(was, now)
        for was, now in zip(steps(before), steps(after), strict=True)
        if len(was) > 5
    ]
    assert all(moved)


def test_permute_puts_every_step_everywhere_as_often():
    n, x = 4000, sequences()[2]
    after = MADE["permute"](parts_of(x.expand(n, -1, -1))).x
    first = torch.stack([(after[:, 0] == step).all(-1).float().mean() for step in x])
    assert first.sum() == pytest.approx(1)
    assert first.min() > 0.03
    assert first.max() < 0.07


def test_crop_keeps_a_window_of_at_least_half_and_moves_it_to_the_start():
    x = sequences()
    before, after = parts_of(x), MADE["crop"](parts_of(x))
    shares, starts = [], []
    for was, now in zip(steps(before), steps(after), strict=True):
        start = int((was == now[0]).all(-1).nonzero()[0])
        assert torch.equal(was[start : start + len(now)], now)
        assert len(now) >= math.ceil(len(was) / 2)
        if len(was) > 10:
            shares.append(len(now) / len(was))
            starts.append(start)
    assert sum(shares) / len(shares) == pytest.approx(0.77, abs=0.03)
    assert len(set(starts)) > 5


@pytest.mark.parametrize("make", [sequences, tables])
def test_mixup_lies_between_a_sample_and_one_other(make):
    x = make(80).double()
    before, after = parts_of(x), MADE["mixup"](parts_of(x))
    shares = []
    for row in range(80):
        there = before.there[row]
        mine, mixed = x[row][there], after.x[row][there]
        share, error = min((fit_of(mine, other[there], mixed) for other in x), key=lambda fit: fit[1])
        assert error < 1e-6
        assert -1e-6 <= share <= 1 + 1e-6
        shares.append(share)
    if make is tables:
        assert torch.tensor(shares).mean() == pytest.approx(0.5, abs=0.1)
        assert torch.tensor(shares).std() == pytest.approx(12**-0.5, abs=0.06)


def fit_of(mine: Tensor, other: Tensor, mixed: Tensor) -> tuple[float, float]:
    """λ of mixed = λ mine + (1 − λ) other by least squares, and how far that is off."""
    apart = mine - other
    share = (
        float(((mixed - other) * apart).sum() / apart.square().sum().clamp_min(1e-300))
        if apart.any()
        else 1.0
    )
    return share, float((other + share * apart - mixed).abs().max() / mine.abs().max())


# ------------------------------------------------------------------------------------------------------- coins


def test_changes_come_in_their_order_each_where_its_coin_says_so():
    x = sequences(64)
    coins = {"permute": torch.rand(64) < 0.5, "crop": torch.rand(64) < 0.5}
    torch.manual_seed(5)
    found = changed(parts_of(x), ("permute", "crop"), lambda change: coins[change])
    torch.manual_seed(5)
    first = MADE["permute"](parts_of(x))
    expected = []
    mixed = Parts(
        torch.stack([first.x[row] if coins["permute"][row] else x[row] for row in range(64)]), first.there
    )
    second = MADE["crop"](mixed)
    for row in range(64):
        expected.append(second.x[row] if coins["crop"][row] else mixed.x[row])
    assert torch.equal(found, torch.stack(expected))


def spec_of(*, shared: bool) -> Registered:
    a = Modality(name="a", kind="sequence", length=LENGTH, features=FEATURES, changes=("drop", "noise"))
    b = Modality(name="b", kind="sequence", length=LENGTH, features=FEATURES, changes=("drop", "noise"))
    card = Card(
        modalities=(a, b),
        tasks=(Task(name="y", family="other", classes=2),),
        samples={"train": N, "test": N},
        shared_coins=shared,
    )
    return Registered(name="made-up", sha256="0" * 64, card=card)


def data_of(x: Tensor, **normalisation: Any) -> Data:
    split = Split({"a": x, "b": x}, {"a": torch.arange(len(x)), "b": torch.arange(len(x))}, {})
    return Data(split, split, split, None, normalisation, "")


def untouched(view: Tensor, x: Tensor) -> Tensor:
    return (view == x).flatten(1).all(1)


def test_a_quarter_of_the_samples_meets_neither_of_two_changes():
    x = sequences()[2].expand(2000, -1, -1).contiguous()
    views = Augmenter(spec_of(shared=False), data_of(x))({"a": x, "b": x})
    for view in views.values():
        assert untouched(view, x).float().mean() == pytest.approx(0.25, abs=0.04)
        # Noise moves every number; a drop alone leaves most rows as they were.
        noisy = (view != x).flatten(1).all(1) | ((view != x) & (view != 0)).flatten(1).any(1)
        assert noisy.float().mean() == pytest.approx(0.5, abs=0.04)


def test_coins_are_of_each_modality_or_shared_as_the_card_says():
    x = sequences()[2].expand(2000, -1, -1).contiguous()
    for shared, both in ((True, 0.25), (False, 0.25**2)):
        views = Augmenter(spec_of(shared=shared), data_of(x))({"a": x, "b": x})
        alone = untouched(views["a"], x) & untouched(views["b"], x)
        assert alone.float().mean() == pytest.approx(both, abs=0.035)
        assert not torch.equal(views["a"], views["b"])


def test_the_generators_state_brings_the_same_changes_again():
    x = sequences()
    augment = Augmenter(spec_of(shared=True), data_of(x))
    state = torch.get_rng_state()
    once, other = augment({"a": x, "b": x}), augment({"a": x, "b": x})
    torch.set_rng_state(state)
    again = augment({"a": x, "b": x})
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["a"], other["a"])


def test_numbers_are_standardised_before_they_are_changed_and_padding_stays_zero():
    x = sequences()
    scale = ((100.0, 200.0, 300.0), (10.0, 20.0, 30.0))
    data = data_of(x, a=scale)
    crop = Augmenter(spec_of(shared=True), data, "crop")({"a": x, "b": x})
    there = is_there("sequence", x)
    expected = (x - torch.tensor(scale[0])) / torch.tensor(scale[1]) * there[..., None]
    assert torch.equal(crop["a"], expected)
    assert torch.equal(crop["b"], x)
    full = Augmenter(spec_of(shared=True), data)({"a": x, "b": x})
    assert not full["a"][~there].any()
    kept = (full["a"] == expected).flatten(1).all(1)
    assert kept.float().mean() == pytest.approx(0.25, abs=0.07)


def test_a_change_that_does_not_suit_a_kind_is_refused_by_the_spec():
    for kind, change in (("table", "permute"), ("table", "crop"), ("image", "noise"), ("text", "drop")):
        with pytest.raises(ValueError, match=f"'{change}' does not suit a modality of the kind {kind}"):
            Modality(name="a", kind=kind, changes=(change,))
