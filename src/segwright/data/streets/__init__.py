"""Streets: generated street scenes that need no download."""

from segwright.data.streets.city import SPLITS
from segwright.data.streets.dataset import Streets, scene_name, scene_seed
from segwright.data.streets.ids import TRAIN_ID
from segwright.data.streets.scene import Scene, render_scene
from segwright.data.streets.writing import write_streets

__all__ = ["SPLITS", "TRAIN_ID", "Scene", "Streets", "render_scene", "scene_name", "scene_seed", "write_streets"]
