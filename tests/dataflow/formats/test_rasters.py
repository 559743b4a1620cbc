import numpy as np
import pytest
from affine import Affine

import flowtrain as ft
from flowtrain.dataflow.formats.raster import RasterFile
from flowtrain.utils.errors import DataFlowError, FormatError

PLACE = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def georeferenced(path, values):
    import rasterio

    height, width, count = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=values.dtype, crs="EPSG:32631",
        transform=PLACE,
    ) as file:  # fmt: skip
        file.write(np.moveaxis(values, -1, 0))
    return path


def some(*shape, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(0, 3000, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("name", ["a.tif", "a.TIF", "a.tiff"])
def test_what_is_written_comes_back(tmp_path, dtype, name):
    values = some(20, 31, 5, dtype=dtype)
    ft.write_raster(tmp_path / name, values)
    read = ft.read_raster(tmp_path / name)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, values)


def test_place_on_earth_is_kept_moved_and_scaled(tmp_path):
    import rasterio

    scene = georeferenced(tmp_path / "scene.tif", some(40, 60, 2))
    ft.write_raster(tmp_path / "same.tif", some(40, 60, 1), like=scene)
    ft.write_raster(tmp_path / "part.tif", some(10, 10, 1), like=scene, origin=(4, 8), pixel=(2, 2))
    with rasterio.open(tmp_path / "same.tif") as file:
        assert (file.crs, file.transform) == ("EPSG:32631", PLACE)
    with rasterio.open(tmp_path / "part.tif") as file:
        assert file.transform == Affine(20, 0, 500_080, 0, -20, 4_999_960)


def test_windows_and_bands(tmp_path):
    values = some(40, 60, 4)
    file = RasterFile(georeferenced(tmp_path / "scene.tif", values), bands=[3, 1])
    np.testing.assert_array_equal(file[5:20, 30:], values[5:20, 30:, [2, 0]])
    np.testing.assert_array_equal(np.asarray(file), values[..., [2, 0]])
    with pytest.raises(DataFlowError, match=r"has the bands 1 to 4; there is no band \[5\]"):
        ft.read_raster(tmp_path / "scene.tif", [5])


def test_jpeg_2000_is_read_as_it_is(tmp_path):
    import rasterio

    values = some(64, 64, 3)
    with rasterio.open(
        tmp_path / "a.jp2", "w", driver="JP2OpenJPEG", height=64, width=64, count=3, dtype="uint16", quality=100,
        reversible=True, transform=PLACE,
    ) as file:  # fmt: skip
        file.write(np.moveaxis(values, -1, 0))
    np.testing.assert_array_equal(ft.read_raster(tmp_path / "a.jp2"), values)


def test_no_raster(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0 and no more")
    with pytest.raises(FormatError, match=r"a\.tif: not a raster"):
        ft.read_raster(tmp_path / "a.tif")
    with pytest.raises(DataFlowError, match=r"is written as \.tif; got 'a\.png'"):
        ft.write_raster(tmp_path / "a.png", some(3, 3, 1))
    with pytest.raises(DataFlowError, match="no raster at"):
        ft.read_raster(tmp_path / "b.tif")


@pytest.fixture
def patches(tmp_path):
    """Three files of patches and their labels: (paths by name, patches (18, 8, 8, 3), labels (18, 8, 8, 1))."""
    bands, labels, paths = some(18, 8, 8, 3), some(18, 8, 8, 1, dtype=np.uint8, seed=1), {"xs": [], "labels": []}
    for number, part in enumerate([slice(0, 5), slice(5, 12), slice(12, 18)]):
        for name, values in (("xs", bands), ("labels", labels)):
            path = tmp_path / f"{name}.{number}.tif"
            ft.write_raster(path, values[part].reshape(-1, *values.shape[2:]))
            paths[name].append(path)
    return paths, bands, labels


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_patches_of_a_list_of_rasters(patches, streaming, workers):
    paths, bands, labels = patches
    ds = ft.PatchesImages(paths, streaming)
    read = list(ft.PrefetchData(ds, num_proc=workers) if workers else ds)
    assert len(ds) == len(read) == 18
    np.testing.assert_array_equal([dp["xs"] for dp in read], bands)
    np.testing.assert_array_equal([dp["labels"] for dp in read], labels)


@pytest.mark.parametrize("streaming", [False, True])
def test_orders_of_patches(patches, streaming):
    paths, bands, labels = patches
    own = ft.PatchesImages(paths, streaming, keys=["labels", "xs"], order=[17, 3, 3])
    np.testing.assert_array_equal([dp[0] for dp in own], labels[[17, 3, 3]])
    shuffled = ft.PatchesImages(paths, streaming, keys=["xs"], shuffle=True, seed=5)
    assert sorted(dp[0].tobytes() for dp in shuffled) == sorted(patch.tobytes() for patch in bands)
    again = ft.PatchesImages(paths, not streaming, keys=["xs"], shuffle=True, seed=5)
    np.testing.assert_array_equal([dp[0] for dp in shuffled], [dp[0] for dp in _second_epoch(again)])


def _second_epoch(ds):
    list(ds)
    return ds


def test_patches_that_do_not_belong_together(patches, tmp_path):
    paths, _, _ = patches
    with pytest.raises(DataFlowError, match=r"files of 'labels' have \[5, 7\] patches, those of 'xs' \[5, 7, 6\]"):
        ft.PatchesImages({"xs": paths["xs"], "labels": paths["labels"][:2]})
    with pytest.raises(DataFlowError, match=r"has no 'label'\. Did you mean 'labels'"):
        ft.PatchesImages(paths, keys=["label"])
    with pytest.raises(DataFlowError, match="patches 0 to 17; order goes from 0 to 18"):
        ft.PatchesImages(paths, order=range(19))
    ft.write_raster(tmp_path / "odd.tif", some(20, 8, 3))
    with pytest.raises(FormatError, match="20 x 8 pixels are no pile of 8 x 8 patches"):
        ft.PatchesImages({"xs": tmp_path / "odd.tif"})


@pytest.mark.parametrize("per_file", [5, 6, 100])
def test_shards_in_the_layout_of_otbtf(patches, tmp_path, per_file):
    paths, bands, labels = patches
    ds = ft.PatchesImages(paths, streaming=True)
    ft.write(ds, tmp_path / "shards", "otbtf", per_file=per_file, progress=False)
    assert len(list((tmp_path / "shards").glob("*.records"))) == -(-18 // per_file)
    read = list(ft.OTBTFData(tmp_path / "shards", ["xs", "labels"]))
    np.testing.assert_array_equal([dp[0] for dp in read], bands)
    np.testing.assert_array_equal([dp[1] for dp in read], labels)
    assert read[0][0].dtype == np.uint16
    one = ft.PatchesImages(paths, keys=["labels"])
    ft.write(one, tmp_path / "shards", "otbtf", keys=["truth"], overwrite=True, progress=False)
    assert [dp["truth"].dtype for dp in ft.OTBTFData(tmp_path / "shards")] == [np.uint8] * 18


def test_shards_are_gone_on_with_after_an_error(tmp_path):
    fails = True

    def make(dp):
        if fails and dp[0] == 13:
            raise RuntimeError("once")
        return {"x": np.float32([dp[0]])}

    ds = ft.MapData(ft.DataFromList([[i] for i in range(20)], shuffle=False), make)
    with pytest.raises(RuntimeError, match="once"):
        ft.write(ds, tmp_path / "shards", "otbtf", per_file=4, commit_every=6, progress=False)
    fails = False
    ft.write(ds, tmp_path / "shards", "otbtf", per_file=4, progress=False)
    assert [int(dp["x"][0]) for dp in ft.OTBTFData(tmp_path / "shards")] == list(range(20))


def test_shards_need_names(tmp_path):
    with pytest.raises(FormatError, match=r"2 components without names: pass keys=\[\.\.\.\]"):
        ft.write(ft.FakeData([[2], [2]], size=3), tmp_path / "a", "otbtf", progress=False)
    with pytest.raises(DataFlowError, match="this is npz"):
        ft.write(ft.FakeData([[2], [2]], size=3), tmp_path / "a.npz", keys=["x", "y"], progress=False)
