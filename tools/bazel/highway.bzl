"""Instruction sets that kernels of the CPU are compiled for."""

# Baseline, AVX2 and AVX-512: the levels between buy too little.
HIGHWAY_COPTS = ["-DHWY_DISABLED_TARGETS=(HWY_SSSE3|HWY_SSE4|HWY_AVX3_DL)"]
