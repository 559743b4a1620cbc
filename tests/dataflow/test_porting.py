"""Each line of docs/reference/porting.md about data: an old spelling is an error that names today's."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import flowtrain as ft
from flowtrain.dataflow import imgaug
from flowtrain.dataflow.core.rng import RandomStream
from flowtrain.utils.errors import FlowtrainError

DS = ft.DataFromList([[np.full((8, 8, 3), n, np.uint8)] for n in range(4)])


class OldFlow(ft.DataFlow):
    def get_data(self):
        yield [0]


class OldRandom(ft.RNGDataFlow):
    def __iter__(self):
        yield [self.rng.randint(3)]


OLD = {
    "get_data": (lambda: list(OldFlow()), "__iter__"),
    "size": (lambda: DS.size(), r"len\(ds\)"),
    "map": (lambda: DS.map(len), r"MapData\(ds, function\)"),
    "batch": (lambda: DS.batch(2), r"BatchData\(ds, batch_size\)"),
    "imgaug.RandomHorizontalFlip": (lambda: imgaug.RandomHorizontalFlip, r"Flip\(horiz=True\)"),
    "rng.randint": (lambda: list(OldRandom()), "integers"),
    "nr_prefetch": (lambda: ft.PrefetchData(DS, nr_prefetch=2, nr_proc=2), "num_prefetch"),
    "PrefetchDataZMQ": (lambda: ft.PrefetchDataZMQ(DS, nr_proc=2), "num_proc"),
    "MultiProcessRunnerZMQ": (lambda: ft.MultiProcessRunnerZMQ(DS, nr_proc=2), "num_proc"),
    "ThreadedMapData": (lambda: ft.ThreadedMapData, "MultiThreadMapData"),
    "nr_thread": (lambda: ft.MultiThreadMapData(DS, nr_thread=2, map_func=list), "num_thread"),
    "MapData, None": (lambda: list(ft.MapData(DS, lambda dp: None)), "may_drop=True"),
    "copy=False": (lambda: ft.AugmentImageComponent(DS, [imgaug.Flip(horiz=True)], copy=False), "copy"),
    "LMDBSerializer": (lambda: ft.LMDBSerializer, "write"),
    "dataset": (lambda: ft.dataset, "datasets"),
    "RandomCropRandomShape": (lambda: imgaug.RandomCropRandomShape(wmin=2, hmin=2, wmax=4, hmax=4), "min_size"),
    "CaffeLMDB": (lambda: ft.CaffeLMDB, 'decode="caffe"'),
}


@pytest.mark.parametrize("line", OLD)
def test_an_old_spelling_is_an_error_that_names_todays(line):
    make, today = OLD[line]
    with pytest.raises((FlowtrainError, AttributeError), match=today):
        make()


def test_the_generator_is_numpys_own_in_all_else():

    rng = RandomStream(3, 0).at(0, 5)
    assert isinstance(rng, np.random.Generator)
    assert not hasattr(rng, "nothing")
    assert np.array_equal(
        pickle.loads(pickle.dumps(rng)).integers(9, size=5), RandomStream(3, 0).at(0, 5).integers(9, size=5)
    )


def test_what_is_no_error_works_as_the_page_says():
    DS.reset_state()
    assert len(DS) == 4
    assert ft.PrefetchDataZMQ is not None
    assert [dp[0][0, 0, 0] for dp in ft.PrefetchData(DS, num_prefetch=2, num_proc=1)] == [0, 1, 2, 3]
