"""Mean-field theory of wide networks: how far signals and gradients get before they die out or blow up.

In a wide layer with weights of variance sigma_w^2 / fan_in and biases of variance sigma_b^2, the inputs u
of the activation f are Gaussian. Their mean square q, and the correlation c of two of them, go from layer to
layer by the ::

    length map         q -> sigma_w^2 E[f(u)^2] + sigma_b^2                          u ~ N(0, q)
    correlation map    c -> (sigma_w^2 E[f(u1) f(u2)] + sigma_b^2) / length map      u1, u2 of correlation c

and squared gradients grow by ``chi_1 = sigma_w^2 E[f'(u)^2]`` from a layer to the one below. At
``chi_1 = 1``, the edge of chaos, signals neither merge nor part and gradients keep their size. Arguments
broadcast as in NumPy; numbers give numbers.

References
----------
B. Poole, S. Lahiri, M. Raghu, J. Sohl-Dickstein, S. Ganguli, Exponential expressivity in deep neural networks
through transient chaos, NeurIPS 2016.
S. Schoenholz, J. Gilmer, S. Ganguli, J. Sohl-Dickstein, Deep information propagation, ICLR 2017.
"""

from initcore.activations import Activation

from .inputs import Inputs
from .maps import chi, correlation_map, correlation_slope, critical, length_map, length_slope
from .phases import FixedPoint, correlation_fixed_point, depth_scales, fixed_point, phase
from .prediction import Estimate, Prediction, predict
from .recommendation import Recommendation, recommend
from .statistics import Statistics, statistics

__all__ = [
    "Activation",
    "Estimate",
    "FixedPoint",
    "Inputs",
    "Prediction",
    "Recommendation",
    "Statistics",
    "chi",
    "correlation_fixed_point",
    "correlation_map",
    "correlation_slope",
    "critical",
    "depth_scales",
    "fixed_point",
    "length_map",
    "length_slope",
    "phase",
    "predict",
    "recommend",
    "statistics",
]
