"""The words of the page, for those who are new to all this."""

from __future__ import annotations

STATES = {
    "ready": "ready, not trained",
    "running": "training",
    "paused": "paused",
    "finished": "finished",
    "diverged": "diverged",
    "failed": "failed",
}

#: Of each verdict: a symbol and a colour, so that it is told twice, and what it means.
MEANING = {
    "healthy": ("check_circle", "#009E73", "Signals and gradients keep their size, and units differ."),
    "zero trap": (
        "block",
        "#D55E00",
        "All weights are zero, so all gradients are zero: nothing moves, ever.",
    ),
    "symmetric": ("content_copy", "#D55E00", "Units of a layer are equal and stay equal: they work as one."),
    "exploding": ("trending_up", "#D55E00", "Signals or gradients grow from layer to layer."),
    "vanishing": ("trending_down", "#0072B2", "Signals or gradients shrink from layer to layer."),
    "chaotic": ("shuffle", "#CC79A7", "Gradients grow from layer to layer: inputs that are alike part."),
    "saturated": ("vertical_align_top", "#E69F00", "Activations are at their flat ends: no gradient passes."),
    "dead": ("power_off", "#E69F00", "Units give the same output for every input."),
}

#: What stands behind the controls and the question marks.
HELP = {
    "init": "How the weights are drawn before the training. Arguments may be written: normal(0.01)",
    "scale": "Multiplies the weights: 1 leaves them as the initializer makes them",
    "seed": "The same seed gives the same weights, data and order of samples again",
    "widths": "How many units each hidden layer has: 16,16 is two layers of 16; 5x32 is five of 32",
    "activation": "What each unit does to its sum: without it, all layers together would be a single one",
    "data": "What is to be told apart: points in the plane, or images of digits",
    "optimizer": "How the weights follow the gradients. sgd takes plain steps; the others adapt them, which "
    "hides part of what an initialization does",
    "lr": "How large the steps are that the optimizer takes",
    "batch_size": "Samples per step",
    "speed": "How many epochs per second; an epoch is one pass over the training samples",
    "cost": "The loss, a measure of how wrong the answers are, after each pass over the training samples. "
    "Test samples are never trained on.",
    "answers": "Points: the ground has the colour of the class that the network gives to that place, paler "
    "where it is less sure; the symbols are test samples. Digits: test images with the network's answer and "
    "how sure it is.",
    "network": "Lines are weights, or gradients, which say how weights should change: orange and solid above "
    "zero, blue and dashed below, thicker if larger. Of wide layers some units are drawn. Where all lines "
    "of a layer look alike, its units do the same. The two panels below follow the switch: signals on their "
    "way forward, or gradients on their way back.",
    "signals": "How the numbers in each layer are distributed, the first layer on top, all on one scale; "
    "exact zeros are left out and counted. They should neither shrink to a needle at zero nor grow from "
    "layer to layer. std, the standard deviation, is how far they spread.",
    "depth": "Points: the standard deviation that was measured in each layer. Band: where theory expects it "
    "for the random weights at the start, two standard deviations either way. Flat is good: what changes "
    "from layer to layer is multiplied. A hollow point at the bottom is zero.",
    "layers": "Hold the pointer over a heading or a verdict to read more.",
}

#: The columns of the table of layers, and what stands behind their headings.
COLUMNS = {
    "layer": "from the inputs to the outputs",
    "units": "how many numbers it gives out",
    "dead": "units that give the same output for every input",
    "flat": "outputs where the activation is so flat that almost no gradient passes",
    "step": "how far one step of the optimizer moves the weights, relative to their size",
    "verdict": "on this layer",
}
