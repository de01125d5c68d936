"""Two kinds of compiled convolutions, once for each generation of x86 processors; the package picks one when it runs.

They are optional: without a C++ compiler the package installs and gives the same results, more slowly.
"""

import os
import platform

from setuptools import Extension, setup

GENERATIONS = {"avx512": ["-march=x86-64-v4"], "avx2": ["-march=x86-64-v3"], "default": []}
OTHER_PROCESSORS = {"default": []}
KINDS = ("convolution", "winograd")

setup(
    options={"build_ext": {"parallel": os.cpu_count()}},
    ext_modules=[
        Extension(
            f"invgrad.tangent.kernels._{kind}_{name}",
            [f"src/invgrad/tangent/kernels/_{kind}.cpp"],
            extra_compile_args=["-O3", "-std=c++17", "-fopenmp", "-Wno-psabi", *flags],
            extra_link_args=["-fopenmp"],
            optional=True,
        )
        for kind in KINDS
        for name, flags in (GENERATIONS if platform.machine() == "x86_64" else OTHER_PROCESSORS).items()
    ]
)
