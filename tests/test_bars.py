"""How far a fit or a search is: what is shown of it, where, and by whom."""

import sys

import pytest

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering, _bars
from skdcec.model_selection import NClustersSearch
from skdcec.model_selection.progress import JOINT, PRETRAINING, SCREENING, Bar


@pytest.fixture
def talking():
    """A clusterer that shows how far it is."""
    return DeepConvEmbeddingClustering(
        3,
        encoder=ConvAutoencoder(4, filters=(4, 8), max_epochs=3, batch_size=16),
        max_epochs=2,
        n_init=2,
        random_state=0,
        verbose=1,
    )


def states(err, description):
    return [state for state in err.replace("\n", "\r").split("\r") if state.startswith(description)]


def test_a_log_has_the_beginning_and_the_end_of_a_short_training(talking, images, capsys):
    talking.fit(images)
    err = capsys.readouterr().err
    begin, *_, end = shown = states(err, "ConvAutoencoder")
    assert len(shown) <= 3
    assert begin.startswith("ConvAutoencoder:   0%|")
    assert end.startswith("ConvAutoencoder: 100%|")
    assert "epoch=3/3, loss=" in end
    assert "epoch=2/2, loss=" in states(err, "DeepConvEmbeddingClustering")[-1]
    assert "it/s" not in err


def test_a_terminal_and_a_notebook_see_it_move(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    assert _bars.bar(1, "x").mininterval > 5
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert _bars._pause() < 1
    monkeypatch.delitem(sys.modules, "ipykernel")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert _bars.bar(1, "x").mininterval < 1
    # Several processes would write over each other's line.
    monkeypatch.setattr(_bars.multiprocessing, "parent_process", lambda: object())
    assert _bars.bar(1, "x").mininterval > 5


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_bars_of_models_give_way_to_that_of_their_search(n_jobs, talking, images, capfd):
    search = NClustersSearch(
        talking, range(2, 2 + n_jobs), screen=None, n_null_draws=19, n_jobs=n_jobs, verbose=1
    ).fit(images)
    err = capfd.readouterr().err
    assert "NClustersSearch: 100%" in err
    assert "ConvAutoencoder" not in err
    assert "DeepConvEmbeddingClustering" not in err
    # They are the user's models all the same.
    assert search.best_estimator_.verbose == 1


def test_a_search_that_shows_nothing_leaves_models_theirs(talking, images, capsys):
    NClustersSearch(talking, [2], n_null_draws=19).fit(images)
    err = capsys.readouterr().err
    assert states(err, "ConvAutoencoder")
    assert not states(err, "NClustersSearch")


class Recorded(_bars.SilentBar):
    """A bar that keeps where it was."""

    def __init__(self):
        self.seen = [0.0]
        self.total = 1000

    def update(self, n=1):
        self.n += n
        self.seen.append(self.n)


def test_the_bar_of_a_search_moves_with_the_trainings_in_it():
    recorded = Recorded()
    bar = Bar(recorded)
    loading = bar.within(2, "Loading")
    loading.update()
    pretraining = bar.within(4, "ConvAutoencoder", passes=2)
    pretraining.update(2)
    # Whatever comes first has its share, and what follows the rest.
    assert recorded.seen == [0, PRETRAINING / 2, PRETRAINING * 3 / 4]
    bar.done(PRETRAINING)
    bar.done(SCREENING)
    bar.joint(2)
    for _ in range(2):
        training = bar.within(10, "DeepConvEmbeddingClustering", passes=2)
        # More than was announced does not count twice.
        training.update(9)
        training.update(9)
        bar.done(JOINT)
    assert recorded.seen[-1] == pytest.approx(PRETRAINING + SCREENING + 2 * JOINT)
    assert recorded.seen == sorted(recorded.seen)
