"""What a reader moves: sliders over drawings, live in JupyterLab and as frames in the page.

One module a chapter, under the chapter's name; `explore` is what they are made of.
"""

from helpers.explorers.class_treatment import mapping_explorer
from helpers.explorers.controls import explore
from helpers.explorers.dirty_data import dirt_explorer
from helpers.explorers.perturbation_constraints import constraint_explorer
from helpers.explorers.robustness import robustness_explorer
from helpers.explorers.weight_norms import spiral_explorer, weight_explorer

__all__ = [
    "constraint_explorer",
    "dirt_explorer",
    "explore",
    "mapping_explorer",
    "robustness_explorer",
    "spiral_explorer",
    "weight_explorer",
]
