import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

import flowtrain as ft
from flowtrain.model.checkpoint_io import CheckpointWriter
from flowtrain.predict import get_model_loader, read_weights
from flowtrain.utils.errors import CheckpointError

L = keras.layers


def _model(seed=3):
    keras.utils.set_random_seed(seed)
    picture = keras.Input((8, 8, 3), name="picture")
    layers = [keras.Input((8, 8, 4)), L.Conv2D(4, 3, name="conv"), L.BatchNormalization(name="bn")]
    inner = keras.Sequential(layers, name="inner")
    return keras.Model(picture, L.Dense(2, name="head")(inner(L.Dense(4, name="stem")(picture))), name="outer")


@pytest.fixture(scope="module")
def trained():
    model = _model()
    model.compile(keras.optimizers.Adam(), "mse")
    model.train_on_batch(np.ones((2, 8, 8, 3)), np.ones((2, 6, 6, 2)))
    return model


def _values(model):
    return {variable.path: variable.numpy() for variable in model.variables}


def _save_own(model, folder):
    writer = CheckpointWriter(folder / "step-00000007")
    slots = {"optimizer/momentum/head/kernel": np.zeros((4, 2)), "optimizer/iterations": np.int64(1)}
    writer.write(_values(model) | slots, {}, {"global_step": 7})
    writer.commit()
    return folder / "step-00000007"


def _save_tf1(model, folder):
    values = _values(model)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in values.items():
            tf.compat.v1.Variable(value, name=name)
            tf.compat.v1.Variable(np.zeros_like(value), name=name + "/Adam")
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, str(folder / "model.ckpt"))


def _save_npz(model, folder):
    np.savez(folder / "weights.npz", **{f"{name}:0": value for name, value in _values(model).items()})
    return folder / "weights.npz"


def _save_keras(suffix, method="save"):
    def save(model, folder):
        getattr(model, method)(folder / f"m{suffix}")
        return folder / f"m{suffix}"

    return save


def _export(model, folder):
    model.export(folder / "exported", verbose=False)
    return folder / "exported"


FORMATS = {
    "own checkpoint": _save_own,
    "run's folder": lambda model, folder: _save_own(model, folder).parent,
    "tf.train.Checkpoint": lambda model, folder: tf.train.Checkpoint(net=model).save(str(folder / "ckpt")),
    "folder of checkpoints": lambda model, folder: (tf.train.Checkpoint(net=model).save(str(folder / "c")), folder)[1],
    "TensorFlow 1": _save_tf1,
    "TensorFlow 1 .meta": lambda model, folder: _save_tf1(model, folder) + ".meta",
    "SavedModel": _export,
    "npz": _save_npz,
    "dict": lambda model, folder: _values(model),
    ".keras": _save_keras(".keras"),
    ".weights.h5": _save_keras(".weights.h5", "save_weights"),
    ".h5": _save_keras(".h5"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_weights(name, trained, tmp_path):
    source = FORMATS[name](trained, tmp_path)
    target = _model(seed=99)
    report = get_model_loader(source).restore(target)
    assert report.fits
    assert len(report.matched) == len(target.variables)
    for path, value in _values(trained).items():
        np.testing.assert_array_equal(_values(target)[path], value, err_msg=path)


def test_everything_that_does_not_fit_is_listed():
    target = _model()
    before = _values(target)
    weights = _values(_model(seed=5))
    weights["head/kernel"] = np.zeros((4, 7))
    weights["tail/kernel"] = weights.pop("stem/kernel")
    weights["extra"] = np.zeros(3)
    loader = get_model_loader(weights)
    with pytest.raises(CheckpointError) as error:
        loader.restore(target)
    for part in ("stem/kernel", "tail/kernel", "extra", "head/kernel", "(4, 2)", "(4, 7)", "1 missing", "2 unexpected"):
        assert part in str(error.value)
    for path, value in _values(target).items():
        np.testing.assert_array_equal(value, before[path])
    table = loader.compare(target).table(matched=True)
    assert "head/bias" in table
    assert "matched" in table


def test_ignore_mismatch_loads_what_fits(caplog):
    target = _model()
    weights = _values(_model(seed=5)) | {"head/kernel": np.zeros((4, 7)), "extra": np.zeros(3)}
    del weights["head/bias"]
    report = get_model_loader(weights, ignore_mismatch=True).restore(target)
    assert (report.missing, report.unexpected, list(report.misshaped)) == (["head/bias"], ["extra"], ["head/kernel"])
    np.testing.assert_array_equal(_values(target)["stem/kernel"], weights["stem/kernel"])
    assert "head/kernel" in caplog.text
    with pytest.raises(CheckpointError, match="0 matched"):
        get_model_loader({"nothing": np.zeros(2)}, ignore_mismatch=True).restore(target)


def test_rename():
    weights = {f"net/{name.replace('kernel', 'W')}:0": value for name, value in _values(_model(seed=5)).items()}
    target = _model()
    get_model_loader(weights, rename={"^net/": "", "W$": "kernel"}).restore(target)
    np.testing.assert_array_equal(_values(target)["stem/kernel"], weights["net/stem/W:0"])
    with pytest.raises(CheckpointError, match="matches none of the names"):
        get_model_loader(weights, rename={"^scope/": ""})
    with pytest.raises(CheckpointError, match="makes both"):
        get_model_loader(weights, rename={"/(W|bias)$": "/same"})
    with pytest.raises(CheckpointError, match="no regular expression"):
        get_model_loader(weights, rename={"(": ""})
    with pytest.raises(CheckpointError, match="cannot replace"):
        get_model_loader(weights, rename={"stem": r"\7"})


def test_scalars_and_random_states_may_be_missing():
    target = {
        "w": tf.Variable(np.zeros(3, "float32")),
        "learning_rate": tf.Variable(0.1, trainable=False),
        "seed": tf.Variable(np.zeros(2, "int64"), trainable=False),
    }
    report = get_model_loader({"w": np.arange(3.0)}).restore(target)
    assert report.fits
    np.testing.assert_array_equal(target["w"].numpy(), [0, 1, 2])


def test_own_saved_model_names_with_unnamed_variables(tmp_path):
    checkpoint = tf.train.Checkpoint(a=tf.Variable([1.0]), b=tf.Variable([2.0]))
    weights = read_weights(checkpoint.save(str(tmp_path / "c")))
    assert weights["a"] == [1.0]
    assert weights["b"] == [2.0]


class _Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_no_pickle_is_loaded(tmp_path):
    np.savez(tmp_path / "evil.npz", x=np.array([_Evil()], dtype=object))
    with pytest.raises(CheckpointError, match="never loaded"):
        get_model_loader(tmp_path / "evil.npz")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(CheckpointError, match="never loaded"):
        get_model_loader(tmp_path / "evil.pkl")
    (tmp_path / "hidden.npz").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(CheckpointError, match="never loaded"):
        get_model_loader(tmp_path / "hidden.npz")


def test_an_array_that_a_damaged_list_hides(tmp_path):
    """A length in the list of an npz that is too large takes the next entry for a comment; np.load leaves it out."""
    np.savez(tmp_path / "w.npz", a=np.ones(3), b=np.zeros(2))
    content = bytearray((tmp_path / "w.npz").read_bytes())
    for place in range(content.index(b"PK\1\2"), len(content)):
        for bits in (1, 0x80):
            content[place] ^= bits
            (tmp_path / "w.npz").write_bytes(content)
            content[place] ^= bits
            try:
                assert sorted(read_weights(tmp_path / "w.npz")) == ["a", "b"], place
            except CheckpointError as error:
                assert "w.npz" in str(error)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [".keras", ".weights.h5", "npz", "own checkpoint", "TensorFlow 1"])
def test_files_that_are_cut_short(name, trained, tmp_path):
    source = FORMATS[name](trained, tmp_path)
    for file in tmp_path.rglob("*"):
        if ".data-" in file.name or file.suffix in (".keras", ".h5", ".npz"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"cut short|damaged"):
        get_model_loader(source)


def test_wrong_paths(tmp_path):
    (tmp_path / "model.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"Did you mean 'model\.npz'"):
        get_model_loader(tmp_path / "modl.npz")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CheckpointError, match="of no kind that can be loaded"):
        get_model_loader(tmp_path / "notes.txt")
    with pytest.raises(CheckpointError, match=r"holds no model: model\.npz, notes\.txt"):
        get_model_loader(tmp_path)
    with pytest.raises(CheckpointError, match="cut short"):
        get_model_loader(tmp_path / "model.npz")


def _sequential(name=None):
    return keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), L.Dense(2, name="b")], name=name)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name", ["own checkpoint", "tf.train.Checkpoint", ".keras", ".weights.h5", ".h5", "SavedModel"]
)
def test_the_name_of_a_sequential_does_not_count(name, tmp_path):
    model, other = _sequential(), _sequential("another")
    source = FORMATS[name](model, tmp_path)
    assert get_model_loader(source).restore(other).fits
    for ours, theirs in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def _automatic(hidden=5):
    """A model with names that Keras makes up: another count in each process, and in each call."""
    return keras.Sequential(
        [keras.Input((4,)), L.Dense(hidden), L.Dropout(0.5), L.BatchNormalization(), L.Dense(5), L.Dense(1)]
    )


def _run_of(model, folder):
    x = np.random.default_rng(0).random((32, 4), np.float32)
    ds = ft.BatchData(ft.DataFromArrays(x, x[:, :1]), 8)
    desc = ft.KerasModelDesc(model, "mse")
    return ft.train(ft.TrainConfig(model=desc, dataflow=ds, max_epoch=1, log_dir=folder, callbacks=[ft.ModelSaver()]))


def test_a_runs_weights_go_into_a_plain_keras_model(tmp_path):
    trained = _automatic()
    _run_of(trained, tmp_path)
    plain, x = _automatic(), np.ones((2, 4), np.float32)
    paths = [variable.path for variable in plain.variables]
    report = get_model_loader(tmp_path).restore(plain)
    assert report.fits
    assert np.array_equal(plain.predict(x, verbose=0), trained.predict(x, verbose=0))
    assert [variable.path for variable in plain.variables] == paths
    with pytest.raises(CheckpointError, match=r"keras_model/dense/kernel.*\(4, 3\)"):
        get_model_loader(tmp_path).restore(_automatic(hidden=3))
    frozen = _automatic()
    frozen.trainable = False
    assert get_model_loader(tmp_path).restore(frozen).fits
