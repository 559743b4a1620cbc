import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import flowtrain as ft


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    return rng.integers(200, 3000, (130, 200, 4)).astype(np.uint16)


@pytest.fixture
def script(load, monkeypatch):
    """The command line, with the first 64 rows to train on, and a function that calls it."""
    module = load("landcover", "landcover")
    monkeypatch.setattr(module, "TRAIN_ROWS", 64)

    def call(*arguments):
        result = CliRunner().invoke(module.main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output + str(result.exception)
        return result.output

    module.call = call
    return module


def test_vegetation_is_where_ndvi_is_high(load, scene):
    data = load("landcover", "data")
    bands, label = data.vegetation(scene)
    red, infrared = scene[..., 2].astype(float), scene[..., 3].astype(float)
    np.testing.assert_array_equal(label[..., 0], (infrared - red) / (infrared + red) > 0.4)
    np.testing.assert_array_equal(bands, scene[..., :3])
    with pytest.raises(ft.FlowtrainError, match="B08"):
        data.vegetation(bands)


def test_a_raster_of_patches_gives_its_patches_again(load):
    patches = load("landcover", "patches")
    some = np.random.default_rng(0).random((5, 16, 16, 3))
    np.testing.assert_array_equal(patches.unstacked(patches.stacked(some)), some)
    with pytest.raises(ft.FlowtrainError, match="multiple of its width"):
        patches.unstacked(np.zeros((17, 16, 3)))


def test_both_forms_of_patches_give_the_same_data(load, scene, tmp_path):
    data, patches = load("landcover", "data"), load("landcover", "patches")
    bands, label = (patches.grid(raster, 32) for raster in data.vegetation(scene))
    patches.write_patches_images(tmp_path / "images", bands, label)
    patches.write_tfrecords(tmp_path / "records", bands, label, per_file=10)
    for folder in ("images", "records"):
        read = list(patches.patches_of(tmp_path / folder, shuffle=False))
        assert len(read) == 24
        np.testing.assert_array_equal(np.stack([dp[0] for dp in read]), bands)
        np.testing.assert_array_equal(np.stack([dp[1] for dp in read]), label)
    assert len(list((tmp_path / "records").glob("*.records"))) == 3
    with pytest.raises(ft.FlowtrainError, match="neither"):
        patches.patches_of(tmp_path, shuffle=False)


def test_tensorflow_reads_the_records(load, scene, tmp_path):
    data, patches = load("landcover", "data"), load("landcover", "patches")
    bands, label = (patches.grid(raster) for raster in data.vegetation(scene))
    patches.write_tfrecords(tmp_path / "records", bands, label)
    record = next(iter(tf.data.TFRecordDataset(str(tmp_path / "records/0.records"))))
    parsed = tf.io.parse_single_example(record, {"bands": tf.io.FixedLenFeature([], tf.string)})
    np.testing.assert_array_equal(tf.io.parse_tensor(parsed["bands"], tf.uint16), bands[0])


def test_bands_and_labels_are_turned_alike(load, scene):
    data, patches = load("landcover", "data"), load("landcover", "patches")
    _, label = data.vegetation(scene)
    flow = patches.training_data(patches.RandomPatches(label, label, size=20, patch=32), batch=10)
    for bands, labels in flow:
        np.testing.assert_array_equal(bands, labels)


def test_tiles_give_what_the_whole_scene_gives(load, scene):
    network, script = load("landcover", "network"), load("landcover", "landcover")
    graph = ft.ModelGraph(network.LandCover())
    predictor = graph.predictor(["bands"], [script.OUTPUT])
    assert ft.valid_crop(predictor).crop <= network.MARGIN
    bands = np.tile(scene[:, :, :3], (3, 2, 1))[:384, :320]
    (whole,) = predictor(bands[None].astype(np.float32))
    np.testing.assert_allclose(script.probabilities(predictor, bands, expression=64), np.asarray(whole)[0], atol=1e-5)
    assert np.asarray(whole).sum(-1) == pytest.approx(1, abs=1e-5)


def test_from_a_scene_to_a_map_and_a_saved_model(script, scene, tmp_path):
    np.savez(tmp_path / "scene.npz", bands=scene)
    run = tmp_path / "run"
    script.call("train", tmp_path / "scene.npz", "--epochs", 1, "--steps", 2, "--batch", 2, "--log-dir", run)
    table = script.call("evaluate", run, tmp_path / "scene.npz")
    assert all(name in table for name in ("logistic regression", "gradient-boosted trees", "fully convolutional"))
    assert "130 x 200" in script.call("map", run, tmp_path / "scene.npz", tmp_path / "map.png")

    script.call("export", run, tmp_path / "saved")
    saved = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    outputs = saved(bands=tf.constant(np.tile(scene, (3, 2, 1))[None, :320, :320, :3], tf.float32))
    whole = outputs["predictions_softmax_tensor"].numpy()
    for pixels in (16, 32, 64, 96, 128):
        inner = whole[:, pixels:-pixels, pixels:-pixels]
        np.testing.assert_allclose(outputs[f"predictions_crop{pixels}"], inner, atol=1e-6)


def test_a_saved_model_is_mapped_as_its_run_is_and_placed_as_the_scene(trained, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    script, _, run = trained
    place = rasterio.transform.from_origin(500_000, 5_000_000, 10, 10)
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", height=130, width=200, count=4, dtype="uint16",
        crs="EPSG:32631", transform=place,
    ) as file:  # fmt: skip
        file.write(np.moveaxis(_scene(0), -1, 0))
    _call(script, "export", run, tmp_path / "sm")
    fields = ["--output", "predictions_crop32", "--rfield", 128, "--efield", 64]
    _call(script, "map", run, tmp_path / "scene.tif", tmp_path / "of_run.tif")
    _call(script, "map", tmp_path / "sm", tmp_path / "scene.tif", tmp_path / "whole.tif")
    _call(script, "map", tmp_path / "sm", tmp_path / "scene.tif", tmp_path / "fields.tif", *fields)
    _call(script, "map", run, tmp_path / "scene.tif", tmp_path / "run_fields.tif", *fields)
    maps = []
    for name in ("of_run", "whole", "fields", "run_fields"):
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            assert (file.crs, file.transform, file.shape) == ("EPSG:32631", place, (130, 200))
            maps.append(file.read())
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)
    np.testing.assert_allclose(maps[3], maps[2], atol=1e-5)
    inside = np.s_[:, 32:-32, 32:-32]  # at the scene's border a cropped output sees it continued, not padded with zeros
    np.testing.assert_allclose(maps[2][inside], maps[0][inside], atol=1e-5)
    np.save(tmp_path / "two.npy", _scene(0)[..., :2])
    said = _call(script, "map", run, tmp_path / "two.npy", tmp_path / "map.png", code=2)
    assert "the model takes its first 3 bands" in said


def test_training_on_a_folder_of_patches(script, scene, tmp_path):
    np.savez(tmp_path / "scene.npz", bands=scene)
    script.call("make-patches", tmp_path / "scene.npz", tmp_path / "patches", "--size", 32)
    script.call("train", tmp_path / "patches", "--epochs", 1, "--batch", 4, "--log-dir", tmp_path / "run")
    assert (tmp_path / "run/checkpoints").is_dir()


def test_geotiffs_keep_their_place(load, scene, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    data = load("landcover", "data")
    place = rasterio.transform.from_origin(500_000, 5_000_000, 10, 10)
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", height=130, width=200, count=4, dtype="uint16",
        crs="EPSG:32631", transform=place,
    ) as file:  # fmt: skip
        file.write(np.moveaxis(scene, -1, 0))
    read = data.read_raster(tmp_path / "scene.tif")
    np.testing.assert_array_equal(read, scene)
    data.write_raster(tmp_path / "map.tif", read[..., :2].astype(np.float32), like=tmp_path / "scene.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        assert (file.count, file.crs, file.transform) == (2, "EPSG:32631", place)


@pytest.fixture(scope="module")
def trained(load, tmp_path_factory):
    """A run on a scene of 130 rows, of which 64 were trained on: (script, folder, run)."""
    folder = tmp_path_factory.mktemp("landcover")
    module = load("landcover", "landcover")
    np.savez(folder / "scene.npz", bands=_scene(0))
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "TRAIN_ROWS", 64)
    _call(module, "train", folder / "scene.npz", "--epochs", 1, "--steps", 2, "--batch", 2, "--log-dir", folder / "run")
    yield module, folder, folder / "run"
    patch.undo()


def _scene(seed, rows=130):
    return np.random.default_rng(seed).integers(200, 3000, (rows, 200, 4)).astype(np.uint16)


def _call(module, *arguments, code=0):
    result = CliRunner().invoke(module.main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


def test_another_scene_is_wholly_a_test(trained, tmp_path):
    script, folder, run = trained
    np.save(tmp_path / "other.npy", _scene(1, rows=50))  # fewer rows than are trained on
    table = _call(script, "evaluate", run, tmp_path / "other.npy")
    assert "gradient-boosted trees" in table
    (folder / "run/trained_on.json").rename(tmp_path / "noted")
    assert "--trained-on" in _call(script, "evaluate", run, tmp_path / "other.npy", code=2)
    assert table == _call(script, "evaluate", run, tmp_path / "other.npy", "--trained-on", folder / "scene.npz")
    (tmp_path / "noted").rename(folder / "run/trained_on.json")


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_all_rasters_of_a_folder_are_read(load, tmp_path, suffix):
    data, patches = load("landcover", "data"), load("landcover", "patches")
    rng = np.random.default_rng(0)
    bands, label = rng.integers(0, 9, (18, 16, 16, 3), np.uint16), rng.integers(0, 2, (18, 16, 16, 1), np.uint8)
    for number, part in ((1, slice(0, 5)), (2, slice(5, 12)), (10, slice(12, 18))):
        data.write_raster(tmp_path / f"bands.{number}{suffix}", patches.stacked(bands[part]))
        data.write_raster(tmp_path / f"label.{number}{suffix}", patches.stacked(label[part]))
    read = list(patches.patches_of(tmp_path, shuffle=False))
    np.testing.assert_array_equal([dp[0] for dp in read], bands)
    np.testing.assert_array_equal([dp[1] for dp in read], label)


def test_validation_on_a_folder_of_patches(trained, tmp_path):
    script, folder, _ = trained
    scene = folder / "scene.npz"
    _call(script, "make-patches", scene, tmp_path / "train", "--size", 32, "--form", "tif")
    _call(script, "make-patches", scene, tmp_path / "valid", "--size", 32, "--lower", "--per-file", 5)
    assert len(list((tmp_path / "valid").glob("*.records"))) == 3
    _call(script, "train", tmp_path / "train", "--valid", tmp_path / "valid", "--epochs", 1, "--batch", 4,
          "--log-dir", tmp_path / "run")  # fmt: skip
    assert "validation_iou" in (tmp_path / "run/metrics.jsonl").read_text()
    assert "gradient-boosted" in _call(script, "evaluate", tmp_path / "run", scene)


def test_errors_are_one_line_before_the_work(trained, tmp_path):
    script, folder, run = trained
    for arguments, said in (
        (["map", run, folder / "scene.npz", tmp_path / "map.foo"], "ends in none of .png"),
        (["train", folder / "scene.npz", "--epochs", 0], "--epochs"),
        (["train", tmp_path], "holds neither 0.records"),
        (["evaluate", tmp_path, folder / "scene.npz"], "--trained-on"),
        (["export", run, folder], "exists: choose another"),
    ):
        assert said in _call(script, *arguments, code=2).strip().splitlines()[-1]
