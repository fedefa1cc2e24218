"""The training loop resumes to exactly what an undisturbed run gives."""

import pytest
import torch
from torch import nn

from audioptq.train import loop
from audioptq.train.loop import TrainSettings, log_uniform, train

SETTINGS = TrainSettings(steps=20, batch_size=4, learning_rate=0.05, seed=3)
DATA = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))


class Killed(BaseException):
    pass


def fresh():
    torch.manual_seed(5)
    # Batch normalisation has buffers, dropout draws at random: both must survive an interruption.
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))


def run(checkpoint, *, die_at=None, settings=SETTINGS, log=print):
    module = fresh()
    calls = []

    def loss_of(indices):
        calls.append(indices.tolist())
        if die_at is not None and len(calls) == die_at:
            raise Killed
        return (module(DATA[indices])[:, 0] - DATA[indices].sum(1)).square().mean()

    return module, train(module, loss_of, len(DATA), settings, checkpoint, log), calls


def equal_states(ours, theirs):
    return all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)


@pytest.mark.usefixtures("every_step")
def test_an_interrupted_run_ends_exactly_like_an_undisturbed_one(tmp_path):
    module, average, calls = run(tmp_path / "a.pt")
    with pytest.raises(Killed):
        run(tmp_path / "b.pt", die_at=11)
    torch.rand(7)  # the resumed process has another random state
    resumed, resumed_average, left = run(tmp_path / "b.pt")
    assert left == calls[10:]
    assert equal_states(resumed, module)
    assert equal_states(resumed_average, average)


@pytest.mark.usefixtures("every_step")
def test_an_interruption_while_the_checkpoint_is_written_loses_one_step(tmp_path, monkeypatch):
    module, average, calls = run(tmp_path / "a.pt")
    original, saves = torch.save, []

    def save(state, path):
        original(state, path)
        saves.append(path)
        if len(saves) == 6:
            raise Killed

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(Killed):
        run(tmp_path / "b.pt")
    resumed, resumed_average, left = run(tmp_path / "b.pt")
    assert left == calls[5:]
    assert equal_states(resumed, module)
    assert equal_states(resumed_average, average)


def test_a_finished_run_is_not_trained_again(tmp_path):
    module, average, _ = run(tmp_path / "a.pt")
    again, again_average, calls = run(tmp_path / "a.pt")
    assert calls == []
    assert equal_states(again, module)
    assert equal_states(again_average, average)


def test_it_learns_and_the_average_is_not_the_last_step(tmp_path):
    settings = TrainSettings(steps=150, batch_size=16, learning_rate=0.03)
    module, average, _ = run(tmp_path / "a.pt", settings=settings)
    start, target = fresh().eval(), DATA.sum(1)
    with torch.no_grad():
        before, after = ((each(DATA)[:, 0] - target).square().mean() for each in (start, average))
    assert after < 0.5 * before
    assert not average.training
    assert not equal_states(average, module)


def test_the_seed_decides_the_batches(tmp_path):
    batches = [
        run(tmp_path / f"{index}.pt", settings=TrainSettings(3, 4, 0.01, seed))[2]
        for index, seed in enumerate((1, 1, 2))
    ]
    assert batches[0] == batches[1] != batches[2]
    assert len({tuple(batch) for batch in batches[0]}) == 3


@pytest.mark.parametrize("steps", [1, 2, 100, 3000])
def test_the_rate_warms_up_and_falls_to_nearly_zero(steps):
    rates = [loop._rate(step, steps) for step in range(steps)]
    assert max(rates) == pytest.approx(1, abs=2 / steps if steps > 2 else 1e-9)
    assert all(0 < rate <= 1 for rate in rates)
    warm_up = max(1, steps // 50)
    assert rates[:warm_up] == pytest.approx([(step + 1) / warm_up for step in range(warm_up)])
    falling = rates[warm_up:]
    assert falling == sorted(falling, reverse=True)
    assert rates[-1] == pytest.approx(1 / (steps - warm_up + 1))
    assert loop._rate(steps, steps) == 0


def test_the_mean_loss_is_logged(tmp_path):
    lines = []
    run(tmp_path / "a.pt", settings=TrainSettings(401, 2, 0.001), log=lines.append)
    assert [line.split(":")[0] for line in lines] == ["step 200", "step 400"]


def test_log_uniform_draws_are_even_in_the_logarithm():
    torch.manual_seed(0)
    draws = log_uniform(4000, 0.1, 1000.0)
    assert 0.1 <= draws.min() < draws.max() <= 1000.0
    # A quarter of the draws per decade, with a deviation of 0.7 %.
    shares = torch.histc(draws.log10(), bins=4, min=-1, max=3) / 4000
    assert (shares - 0.25).abs().max() < 0.035
