"""Recipes: the schema, and reading them from YAML with overrides."""

from segwright.recipe.loading import LoadedRecipe, dump, load_recipe, shipped
from segwright.recipe.schema import (
    Augmentation,
    Data,
    Group,
    Loss,
    Model,
    Optimizer,
    Recipe,
    Schedule,
    Source,
    Stage,
    Training,
)

__all__ = [
    "Augmentation",
    "Data",
    "Group",
    "LoadedRecipe",
    "Loss",
    "Model",
    "Optimizer",
    "Recipe",
    "Schedule",
    "Source",
    "Stage",
    "Training",
    "dump",
    "load_recipe",
    "shipped",
]
