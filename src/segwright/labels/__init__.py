"""Label spaces: classes, colours, groups, and the meaning of every raw mask value."""

from segwright.labels.space import LabelClass, LabelSpace, catalogue, load_label_space

__all__ = ["LabelClass", "LabelSpace", "catalogue", "load_label_space"]
