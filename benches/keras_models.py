"""What it takes to build a Keras model with Keras' initializers, and with the library's.

Twelve dense layers of different widths, 18 million weights. Each kind of initializer has a process of
its own, so that neither finds anything compiled.
"""

import os
import subprocess
import sys
import time

WIDTHS = [1000 + 37 * i for i in range(13)]


def build(kind: str) -> None:
    """Build the model, and print the seconds of processor time and of the clock."""
    import keras

    import initcore as ic

    module = {"keras": keras.initializers, "initcore": ic.keras}[kind]
    start = time.process_time(), time.perf_counter()
    layers = [
        keras.layers.Dense(n, kernel_initializer=module.HeNormal(seed=0), bias_initializer=module.Zeros())
        for n in WIDTHS[1:]
    ]
    keras.Sequential([keras.Input((WIDTHS[0],)), *layers])
    busy, passed = time.process_time() - start[0], time.perf_counter() - start[1]
    print(f"{keras.backend.backend():6}{kind:10}{busy:7.2f} s of the processor{passed:7.2f} s")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        build(sys.argv[2])
    else:
        for kind in ("keras", "initcore"):
            environment = os.environ | {"KERAS_BACKEND": sys.argv[1]}
            subprocess.run([sys.executable, __file__, sys.argv[1], kind], env=environment, check=True)
