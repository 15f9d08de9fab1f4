"""Builds the extension modules of mta_ext. MTA_BUILD=debug turns on bounds checks, assertions and line tracing;
MTA_BUILD=sanitize builds them with AddressSanitizer and UndefinedBehaviorSanitizer, see tests/sanitize."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("MTA_BUILD") == "debug"
SANITIZE = os.environ.get("MTA_BUILD") == "sanitize"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]

extensions = [
    Extension(
        f"mta_ext.{source.stem}",
        [str(source)],
        extra_compile_args=["-O0", "-g"] if DEBUG else ["-O1", *SANITIZERS] if SANITIZE else ["-O2"],
        extra_link_args=SANITIZERS if SANITIZE else [],
        define_macros=[("CYTHON_TRACE", "1")] if DEBUG else [("CYTHON_WITHOUT_ASSERTIONS", "1")],
    )
    for source in sorted(Path("mta_ext").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        annotate=DEBUG,
        force=DEBUG or SANITIZE,
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
