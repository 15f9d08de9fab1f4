"""Builds the extension modules of mta_ext. MTA_BUILD=debug turns on bounds checks, assertions and line tracing."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("MTA_BUILD") == "debug"

extensions = [
    Extension(
        f"mta_ext.{source.stem}",
        [str(source)],
        extra_compile_args=["-O0", "-g"] if DEBUG else ["-O2"],
        define_macros=[("CYTHON_TRACE", "1")] if DEBUG else [("CYTHON_WITHOUT_ASSERTIONS", "1")],
    )
    for source in sorted(Path("mta_ext").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        annotate=DEBUG,
        force=DEBUG,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
            "linetrace": DEBUG,
        },
    )
)
