"""Label spaces: classes, colours, groups, the meaning of every raw mask value, and maps from one space to another."""

from segwright.labels.mapping import LabelMap, map_labels
from segwright.labels.space import LabelClass, LabelSpace, catalogue, load_label_space

__all__ = ["LabelClass", "LabelMap", "LabelSpace", "catalogue", "load_label_space", "map_labels"]
