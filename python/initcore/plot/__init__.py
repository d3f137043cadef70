"""Pictures: what an initialization does to signals, gradients and trainings, and what theory says of it.

matplotlib is imported when something is drawn. Without axes to draw on, a pyplot figure is made and
left to the caller, to show or to save; nothing is shown here. `styles` says how everything looks, the other
files draw: `training` over the epochs, `layers` distributions, `depth` from layer to layer, `planes` what has
two coordinates, `networks` weights, `animation` anything as it changes.
"""

from .animation import animate
from .depth import dead_units, std_with_depth, variance_with_depth
from .layers import MAX_COLUMNS, AxesGrid, activation_histograms, activations, gradients
from .networks import matrix, network
from .planes import decision_boundary, phase_diagram
from .styles import COLORS, MARKERS, require, style
from .training import History, comparison_figures, cost_curves, trajectory

__all__ = [
    "COLORS",
    "MARKERS",
    "MAX_COLUMNS",
    "AxesGrid",
    "History",
    "activation_histograms",
    "activations",
    "animate",
    "comparison_figures",
    "cost_curves",
    "dead_units",
    "decision_boundary",
    "gradients",
    "matrix",
    "network",
    "phase_diagram",
    "require",
    "std_with_depth",
    "style",
    "trajectory",
    "variance_with_depth",
]
