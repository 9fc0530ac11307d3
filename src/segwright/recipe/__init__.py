"""Recipes: the schema, and reading them from YAML with overrides."""

from segwright.recipe.loading import LoadedRecipe, dump, load_recipe, shipped
from segwright.recipe.schema import (
    Augmentation,
    Data,
    Loss,
    Model,
    Optimizer,
    Recipe,
    Schedule,
    Source,
    Training,
)

__all__ = [
    "Augmentation",
    "Data",
    "LoadedRecipe",
    "Loss",
    "Model",
    "Optimizer",
    "Recipe",
    "Schedule",
    "Source",
    "Training",
    "dump",
    "load_recipe",
    "shipped",
]
