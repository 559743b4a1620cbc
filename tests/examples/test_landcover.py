import numpy as np
import pytest

import flowtrain as ft


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    return rng.integers(200, 3000, (130, 200, 4)).astype(np.uint16)


def test_vegetation_is_where_ndvi_is_high(load, scene):
    data = load("landcover", "data")
    bands, labels = data.vegetation(scene)
    red, infrared = scene[..., 2].astype(float), scene[..., 3].astype(float)
    np.testing.assert_array_equal(labels[..., 0], (infrared - red) / (infrared + red) > 0.4)
    np.testing.assert_array_equal(bands, scene[..., :3])


def test_a_raster_of_patches_gives_its_patches_again(load):
    data = load("landcover", "data")
    patches = np.random.default_rng(0).random((5, 16, 16, 3))
    np.testing.assert_array_equal(data.from_patches_image(data.patches_image(patches)), patches)
    with pytest.raises(ft.FlowtrainError, match="multiple of its width"):
        data.from_patches_image(np.zeros((17, 16, 3)))


def test_tiles_give_what_the_whole_scene_gives(load, scene):
    network, script = load("landcover", "network"), load("landcover", "landcover")
    predictor = ft.ModelGraph(network.LandCover()).predictor(["bands"], [script.OUTPUT])
    bands = scene[:128, :192, :3].astype(np.float32)
    (whole,) = predictor(bands[None])
    (tiles,) = ft.tiled(predictor, bands, expression=32, margin=32, align=network.STRIDE)
    np.testing.assert_allclose(tiles, np.asarray(whole)[0], atol=1e-5)
    assert np.asarray(whole).sum(-1) == pytest.approx(1, abs=1e-5)
