"""The meta-training loop, on toy learners whose optimum is known."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_meta import _training
from sklearn_meta._training import History, TrainingConfig, meta_train, resolve
from sklearn_meta._training_state import Progress
from sklearn_meta.learners._base import Learner
from sklearn_meta.tasks import TaskStore

WEIGHTS = np.array([1.0, -2.0, 0.5])


def make_store(n_tasks=12, n_rows=15, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    xs = [rng.normal(size=(n_rows, 3)) for _ in range(n_tasks)]
    ys = [x @ WEIGHTS + 3.0 + noise * rng.normal(size=n_rows) for x in xs]
    return TaskStore.from_lists(xs, ys, [f"t{i}" for i in range(n_tasks)])


class Pooled(Learner):
    """One linear model for all tasks: its best is least squares over all rows."""

    def loss(self, module, episodes):
        query = episodes.query
        residual = (module(query.x) - query.y).squeeze(-1)
        return (residual.square() * query.mask).sum() / query.mask.sum()


class Watched(Pooled):
    """Pooled, but calls ``watch(n_calls, module, episodes)`` before each loss."""

    def __init__(self, watch=None):
        self.watch = watch

    def loss(self, module, episodes):
        self.calls = getattr(self, "calls", 0) + module.training
        change = self.watch(self.calls, module, episodes)
        loss = super().loss(module, episodes)
        return loss if change is None else loss * change


class Points(nn.Module):
    """A point a member."""

    def __init__(self, start):
        super().__init__()
        self.point = nn.Parameter(torch.tensor(start))
        self.members = {"point": torch.arange(len(start))}


class Targets(Learner):
    """Member m pulls its point to target m; in eval mode it is judged by another target."""

    def __init__(self, targets=(1.0, -1.0), judged_at=(1.0, -1.0)):
        self.targets = targets
        self.judged_at = judged_at

    def loss(self, module, episodes):
        at = torch.tensor(self.targets if module.training else self.judged_at)
        return (module.point - at).square()


def linear():
    module = nn.utils.skip_init(nn.Linear, 3, 1)
    with torch.no_grad():
        module.weight.fill_(0.1)
        module.bias.fill_(0.0)
    return module


def train(learner=None, module=None, store=None, seed=0, **options):
    config = {"learning_rate_init": 0.05, "alpha": 0.0, "max_iter": 300, "batch_size": 4}
    training = {
        name: options.pop(name) for name in list(options) if name in TrainingConfig.__annotations__
    }
    module = linear() if module is None else module
    _, history = meta_train(
        Pooled() if learner is None else learner,
        module,
        make_store() if store is None else store,
        config=TrainingConfig(**config | training),
        rng=np.random.default_rng(seed),
        device="cpu",
        **options,
    )
    return module, history


def bits(module):
    return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])


@pytest.mark.parametrize("early_stopping", [True, False])
def test_reaches_the_optimum_of_a_convex_problem(early_stopping):
    module, history = train(max_iter=1500, early_stopping=early_stopping)
    np.testing.assert_allclose(module.weight.detach()[0], WEIGHTS, atol=0.01)
    assert module.bias.item() == pytest.approx(3.0, abs=0.01)
    assert not module.training
    assert all(p.grad is None for p in module.parameters())
    assert history.stopped == ("converged" if early_stopping else "max_iter")
    assert history.validation == ("tasks" if early_stopping else None)
    assert len(history.iteration) == len(history.loss)
    assert len(history.validation_loss) == (len(history.loss) if early_stopping else 0)


def test_parameters_are_independent_again():
    module, _ = train(max_iter=5)
    storages = {p.untyped_storage().data_ptr() for p in module.parameters()}
    assert len(storages) == 2
    assert all(p.untyped_storage().nbytes() == 4 * p.numel() for p in module.parameters())


def test_same_seed_same_bits_other_seed_other_bits():
    first, second, other = (bits(train(max_iter=60, seed=s)[0]) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("max_iter", [1, 49, 50, 130])
def test_max_iter_is_the_number_of_steps(max_iter):
    learner = Watched(lambda *_: None)
    _, history = train(learner, max_iter=max_iter, early_stopping=False)
    assert learner.calls == max_iter == history.iteration[-1]
    assert history.stopped == "max_iter"
    assert history.best_score is None


def test_step_size_is_constant_then_decays_to_zero():
    # Adam moves a point under a constant gradient by the step size, whatever the gradient.
    class Downhill(Learner):
        def loss(self, module, episodes):
            places.append(module.bias.item())
            return module.bias.sum() + 0.0 * module.weight.sum()

    places = []
    train(Downhill(), max_iter=400, early_stopping=False)
    steps = -np.diff(places)
    decay_start = 200  # the first iteration it with it + it // 2 + 100 >= 400
    np.testing.assert_allclose(steps[:decay_start], 0.05, rtol=1e-3)
    assert (np.diff(steps[decay_start:]) < 1e-6).all()
    assert steps[-1] < 1e-4


def interrupt_at(n):
    def watch(calls, module, episodes):
        if calls == n and module.training:
            raise KeyboardInterrupt

    return watch


def test_returns_the_moving_average_of_the_weights():
    def watch(calls, module, episodes):
        places.append(module.bias.item())
        interrupt_at(30)(calls, module, episodes)

    places = []
    with pytest.warns(UserWarning, match="interrupted at iteration 29"):
        module, _ = train(Watched(watch), early_stopping=False)
    average = places[0]
    for it, place in enumerate(places[1:]):
        decay = min(0.98, (1 + it) / (10 + it))
        average = decay * average + (1 - decay) * place
    assert module.bias.item() == pytest.approx(average, rel=1e-5)
    assert module.bias.item() < places[-1]


def test_returns_the_best_weights_and_not_the_last():
    # Judged at 0.5 on the way to 1: training passes the best and must come back to it.
    module, history = train(Targets((1.0,), (0.5,)), Points([0.0]), learning_rate_init=0.003)
    point = module.point.item()
    assert point == pytest.approx(0.5, abs=0.1)
    assert history.best_score == pytest.approx((point - 0.5) ** 2, abs=1e-6)
    assert history.best_score == min(history.validation_loss)
    assert history.best_iteration == history.iteration[np.argmin(history.validation_loss)]
    assert history.validation_loss[-1] > history.best_score


def test_never_returns_worse_than_the_start():
    module, history = train(Targets((1.0,), (0.0,)), Points([0.0]), max_iter=100)
    assert module.point.item() == 0.0
    assert (history.best_iteration, history.best_score) == (0, 0.0)


def test_every_member_returns_to_its_own_best():
    learner = Targets(targets=(1.0, 1.0, -1.0), judged_at=(0.5, 1.0, 0.0))
    module, history = train(learner, Points([0.0] * 3), learning_rate_init=0.003, max_iter=900)
    passed, reached, stayed = module.point.tolist()
    assert passed == pytest.approx(0.5, abs=0.1)
    assert reached == pytest.approx(1.0, abs=0.05)
    assert stayed == 0.0
    best = np.square(np.array([passed - 0.5, reached - 1.0, stayed])).mean()
    assert history.best_score == pytest.approx(best, rel=1e-4, abs=1e-7)


def test_members_do_not_disturb_each_other():
    # A member with a huge gradient is clipped alone: the other trains as if it were by itself.
    class Scaled(Targets):
        def loss(self, module, episodes):
            return super().loss(module, episodes) * torch.tensor([1.0, 1e6])[: len(module.point)]

    alone, _ = train(Scaled((1.0,), (1.0,)), Points([0.0]), max_iter=100)
    both, _ = train(Scaled(), Points([0.0, 0.0]), max_iter=100)
    assert both.point[0].item() == alone.point[0].item()


def test_parameter_groups_of_the_module_are_used():
    class Grouped(Points):
        def parameter_groups(self, lr, weight_decay):
            asked.append((lr, weight_decay))
            return [{"params": [self.point], "lr": 0.0, "weight_decay": 0.0}]

    asked = []
    module, _ = train(Targets(), Grouped([0.2, 0.3]), max_iter=60, alpha=0.125)
    assert asked == [(0.05, 0.125)]
    assert module.point.tolist() == pytest.approx([0.2, 0.3])


def tasks_seen(store, n_train_calls, learner_class=Watched, **options):
    def watch(calls, module, episodes):
        seen[module.training].update(episodes.task.tolist())
        # The rows must be those of the task that `task` names: x holds its number.
        for episode, task in enumerate(episodes.task.tolist()):
            rows = episodes.query.x[episode][episodes.query.mask[episode]]
            numbers.setdefault(task, set()).update(rows[:, 0].tolist())

    seen, numbers = {True: set(), False: set()}, {}
    _, history = train(learner_class(watch), store=store, max_iter=n_train_calls, **options)
    return seen[True], seen[False], numbers, history


def numbered_store(n_tasks):
    xs = [np.full((8, 3), float(t)) for t in range(n_tasks)]
    return TaskStore.from_lists(xs, [np.zeros(8)] * n_tasks, [str(t) for t in range(n_tasks)])


def test_held_out_tasks_are_never_trained_on():
    trained, judged, numbers, history = tasks_seen(numbered_store(20), 60, validation_fraction=0.25)
    assert history.validation == "tasks"
    assert len(judged) == 5
    assert not trained & judged
    assert trained | judged == set(range(20))
    assert numbers == {t: {float(t)} for t in range(20)}


@pytest.mark.parametrize("n_tasks", [1, 2, 3])
def test_too_few_tasks_are_all_trained_on(n_tasks):
    trained, judged, _, history = tasks_seen(numbered_store(n_tasks), 20)
    assert history.validation == "rows"
    assert trained == judged == set(range(n_tasks))


def test_cross_fitted_learner_is_judged_on_the_training_tasks():
    class CrossFitted(Watched):
        cross_fitted = True

    trained, judged, _, history = tasks_seen(numbered_store(9), 30, CrossFitted)
    assert history.validation == "folds"
    assert trained == judged == set(range(9))


def test_given_tasks_belong_to_no_fold():
    trained, judged, _, history = tasks_seen(
        numbered_store(9), 30, validation_store=numbered_store(2)
    )
    assert history.validation == "given"
    assert trained == set(range(9))
    assert judged == {-1}


def test_without_early_stopping_nothing_is_judged():
    trained, judged, _, history = tasks_seen(numbered_store(5), 60, early_stopping=False)
    assert (trained, judged) == (set(range(5)), set())
    assert history.validation is None
    with pytest.raises(ValueError, match="early_stopping=False"):
        train(early_stopping=False, validation_store=make_store(2))


@pytest.mark.parametrize(
    ("shots", "expected"),
    [((0, 20), [0, 1, 3, 5, 7]), ((2, 4), [2, 3, 4]), (6, [6]), ((30, 40), [7])],
)
def test_validation_shots_lie_within_shots_and_rows(shots, expected):
    def watch(calls, module, episodes):
        if not module.training:
            widths.append(episodes.support.mask.shape[1])

    widths = []
    train(Watched(watch), store=numbered_store(6), max_iter=1, shots=shots)
    assert widths[: len(widths) // 2] == expected == widths[len(widths) // 2 :]


@pytest.mark.parametrize("trouble", ["nan loss", "inf gradient", "LinAlgError"])
def test_recovers_from_numbers_that_are_not_finite(trouble):
    def watch(calls, module, episodes):
        if module.training and calls in (7, 8, 120):
            if trouble == "LinAlgError":
                raise torch.linalg.LinAlgError("singular")
            return float("nan") if trouble == "nan loss" else 1e38
        return None

    module, history = train(Watched(watch), max_iter=1500)
    assert np.isfinite(bits(module)).all()
    assert np.isfinite(history.loss).all()
    np.testing.assert_allclose(module.weight.detach()[0], WEIGHTS, atol=0.05)


def test_only_the_member_in_trouble_goes_back():
    class Troubled(Targets):
        def loss(self, module, episodes):
            places.append(module.point.tolist())
            bad = module.training and len(places) == 12
            return super().loss(module, episodes) * torch.tensor([1.0, np.nan if bad else 1.0])

    places = []
    train(Troubled(), Points([0.0, 0.0]), early_stopping=False, max_iter=100)
    before, after = places[11], places[12]
    assert after[0] == before[0]
    assert -before[1] > -after[1] > 0


def test_gives_up_when_numbers_are_never_finite():
    module = linear()
    start = bits(module)
    with pytest.raises(FloatingPointError, match="5 of them in a row.*Lower learning_rate_init"):
        train(Watched(lambda *_: float("nan")), module)
    np.testing.assert_array_equal(bits(module), start)
    assert not module.training


def test_gives_up_when_numbers_are_often_not_finite():
    def watch(calls, module, episodes):
        return float("inf") if module.training and calls % 2 else 1.0

    with pytest.raises(FloatingPointError, match="met 20 losses"):
        train(Watched(watch))


def test_interruption_keeps_the_best_so_far():
    learner = Watched(interrupt_at(150))
    with pytest.warns(UserWarning, match="interrupted at iteration 149") as caught:
        module, history = train(learner)
    assert len(caught) == 1
    assert history.stopped == "interrupted"
    assert history.best_iteration == 100
    assert not module.training
    undisturbed = Watched(lambda *_: None)
    score = score_of(undisturbed, module)
    assert score < score_of(undisturbed, linear())


def score_of(learner, module):
    store = make_store(4, seed=9)
    y = store.y[:, 0]
    predicted = module(torch.from_numpy(store.x)).detach().numpy()[:, 0]
    return float(np.square(predicted - y).mean())


def test_second_interruption_propagates(monkeypatch):
    def interrupted_again(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_training.warnings, "warn", interrupted_again)
    with pytest.raises(KeyboardInterrupt):
        train(Watched(interrupt_at(3)))


def test_max_time_is_honoured():
    learner = Watched(lambda *_: time.sleep(0.005))
    begin = time.perf_counter()
    _, history = train(learner, max_time=1.0, max_iter=10**6, n_iter_no_change=10**6)
    taken = time.perf_counter() - begin
    assert history.stopped == "max_time"
    assert 0.6 < taken < 2.0
    assert history.seconds == pytest.approx(taken, abs=0.2)


@pytest.mark.parametrize(
    ("iteration", "seconds", "decay_length"),
    [
        (10, 1.0, None),  # slow, but it is too early to say
        (10, 31.0, 9),  # half the time is over, 3.1 s an iteration: 9 more
        (1000, 40.0, None),  # 400 iterations of 0.04 s will fit later
        (1000, 45.0, 333),
        (1000, 60.0, 0),
    ],
)
def test_decay_begins_early_enough_to_end_in_time(iteration, seconds, decay_length):
    config = resolve(TrainingConfig(), make_store())
    progress = Progress([], [0.0], [0.0], iteration=iteration)
    stopped = progress.schedule(config, seconds)
    assert stopped == ("max_time" if decay_length == 0 else None)
    assert (progress.decay_start is None) == (decay_length is None)
    if decay_length is not None:
        assert progress.decay_length == decay_length
        assert progress.decay_reason == "max_time"


def test_small_gains_add_up_to_an_improvement():
    progress = Progress([], [np.inf])
    counts = []
    for score in (1.0, 0.96, 0.92, 0.88, 0.95):
        progress.judge([score], tol=0.1)
        counts.append(progress.evaluations_without_change)
    assert counts == [0, 1, 2, 0, 1]
    assert progress.best == [0.88]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("threads", "expected"), [("auto", 1), (2, 2), (1, 1)])
def test_threads_while_training_and_after(two_threads, threads, expected):
    def watch(calls, module, episodes):
        seen.add(torch.get_num_threads())
        if calls == 3:
            raise RuntimeError("stop")

    seen = set()
    with pytest.raises(RuntimeError, match="stop"):
        train(Watched(watch), threads=threads)
    assert seen == {expected}
    assert torch.get_num_threads() == 2
    train(max_iter=2, threads=threads)
    assert torch.get_num_threads() == 2


def test_big_work_keeps_its_threads(two_threads, monkeypatch):
    monkeypatch.setattr(_training, "WORK_FOR_THREADS", 100)
    seen = set()
    train(Watched(lambda *_: seen.add(torch.get_num_threads())), max_iter=2)
    assert seen == {2}


def test_global_random_states_are_untouched():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    train(max_iter=60)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002


def test_verbose_writes_to_stderr_only(capsys):
    train(max_iter=60)
    assert capsys.readouterr() == ("", "")
    train(max_iter=60, verbose=1)
    out, err = capsys.readouterr()
    assert out == ""
    for word in ("meta-training", "60/60", "loss=", "held_out=", "tasks/s="):
        assert word in err


def test_float64_module_is_trained_in_float64():
    seen = set()
    module, _ = train(
        Watched(lambda n, module, episodes: seen.add(episodes.query.x.dtype)),
        linear().double(),
        max_iter=5,
    )
    assert seen == {torch.float64}
    assert module.weight.dtype == torch.float64


def test_frozen_parameters_stay():
    module = linear()
    module.bias.requires_grad_(False)
    train(module=module, max_iter=20)
    assert module.bias.item() == 0.0
    module.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameters"):
        train(module=module)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "every trainable parameter.*point"),
        ({"point": torch.arange(2), "other": torch.arange(2)}, "other"),
        ({"point": torch.arange(3)}, r"shape \(3,\).*shape \(2,\)"),
    ],
)
def test_members_that_do_not_fit_are_refused(members, message):
    module = Points([0.0, 0.0])
    module.members = members
    with pytest.raises(ValueError, match=message):
        train(Targets(), module)


def test_loss_that_does_not_fit_the_members_is_refused():
    class Total(Targets):
        def loss(self, module, episodes):
            return super().loss(module, episodes).sum()

    with pytest.raises(ValueError, match=r"Total.loss returned shape \(\), expected \(2,\)"):
        train(Total(), Points([0.0, 0.0]))


def test_history_says_what_happened():
    _, history = train(max_iter=100)
    assert repr(history).startswith("History(100 iterations in ")
    assert "stopped='max_iter', validation='tasks', best_score=" in repr(history)
    assert repr(History()) == "History(0 iterations in 0.0 s, stopped=None, validation=None)"
