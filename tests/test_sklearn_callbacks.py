"""scikit-learn's own callbacks, through pipelines and searches."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdcec import (
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec.model_selection import TransductiveSplit

callback = pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9")


class Recorder:
    """Notes the tasks that end, by estimator and name, and how often it was set up and ended."""

    max_propagation_depth = None

    def __init__(self):
        self.tasks, self.lives = [], []

    def setup(self, estimator, context):
        self.lives.append("setup")

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.tasks.append((context.estimator_name, context.task_name))

    def teardown(self, estimator, context):
        self.lives.append("teardown")


@pytest.fixture
def recorder():
    return Recorder()


def test_phases_and_epochs_are_told(images, model, recorder):
    model.set_callbacks(recorder).fit(images)
    encoder, own = "ConvAutoencoder", "DeepConvEmbeddingClustering"
    assert recorder.tasks == [
        (encoder, "epoch"),
        (encoder, "epoch"),
        (encoder, "fit"),
        (own, "epoch"),
        (own, "epoch"),
        (own, "joint training"),
        (own, "fit"),
    ]
    assert recorder.lives == ["setup", "teardown"]
    assert not [name for name in vars(model) if "callback_" in name]
    assert not [name for name in vars(model.encoder_) if "callback_" in name]


def test_results_are_the_same_and_clones_tell_as_well(images, model, recorder):
    expected = clone(model).fit(images)
    told = clone(model.set_callbacks(recorder)).fit(images)
    np.testing.assert_array_equal(told.labels_, expected.labels_)
    np.testing.assert_array_equal(told.transform(images), expected.transform(images))
    assert recorder.tasks


def test_pipelines_and_searches_hand_them_on(images, recorder):
    rows = images.reshape(len(images), -1)
    model = DeepEmbeddingClustering(
        2,
        encoder=DenseAutoencoder(3, hidden_layer_sizes=(8,), max_epochs=1),
        max_epochs=1,
        random_state=0,
    )
    pipeline = make_pipeline(StandardScaler(), model)
    search = GridSearchCV(
        pipeline,
        {"deepembeddingclustering__n_clusters": [2, 3]},
        cv=TransductiveSplit(),
    )
    search.set_callbacks(recorder).fit(rows)
    fits = [task for task in recorder.tasks if task == ("DeepEmbeddingClustering", "fit")]
    assert len(fits) == 3
    assert recorder.lives == ["setup", "teardown"]


@pytest.mark.parametrize("parts", ["encoder without epochs", "failure", "no joint phase"])
def test_the_end_is_told_whatever_comes(parts, images, recorder):
    rows = images.reshape(len(images), -1)
    if parts == "encoder without epochs":
        model = DeepEmbeddingClustering(2, encoder=PCA(3), max_epochs=0)
    elif parts == "no joint phase":
        encoder = DenseAutoencoder(3, hidden_layer_sizes=(8,), max_epochs=1)
        model = DeepEmbeddingClustering(2, encoder=encoder, max_epochs=0)
    else:
        model = DeepEmbeddingClustering(1000)
    model.set_callbacks(recorder)
    if parts == "failure":
        with pytest.raises(ValueError, match="n_samples=60"):
            model.fit(rows)
        assert recorder.tasks == []
    else:
        model.fit(rows)
        assert recorder.tasks[-1] == ("DeepEmbeddingClustering", "fit")
    assert recorder.lives == ["setup", "teardown"]
    assert not [name for name in vars(model) if "callback_" in name]


def test_what_comes_from_the_cache_has_no_epochs(images, model, recorder, tmp_path):
    model.set_params(memory=str(tmp_path)).set_callbacks(Recorder()).fit(images)
    clone(model).set_callbacks(recorder).fit(images)
    assert ("ConvAutoencoder", "epoch") not in recorder.tasks
    assert recorder.tasks[-1] == ("DeepConvEmbeddingClustering", "fit")


def test_files_hold_none_of_them(images, recorder, tmp_path):
    encoder = ConvAutoencoder(3, filters=(4,), max_epochs=1).set_callbacks(recorder).fit(images)
    encoder.save(tmp_path / "encoder.safetensors")
    assert not hasattr(ConvAutoencoder.load(tmp_path / "encoder.safetensors"), "_skl_callbacks")


def test_progress_bars_of_scikit_learn_are_shown(images, model, capsys):
    pytest.importorskip("rich", reason="needs rich")
    pipeline = make_pipeline(model)
    pipeline.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(images)
    assert isinstance(pipeline[-1], DeepConvEmbeddingClustering)
    printed = "".join(capsys.readouterr())
    assert "DeepConvEmbeddingClustering" in printed
    assert "100%" in printed
