"""What the fuzz battery leaves out, each with its reason."""

from __future__ import annotations

EXEMPT = {
    "check_elementwise": "the check itself; activation is its entry",
    "solve": "a kernel that checks nothing, as it says; invert is its entry",
    "angle_map": "a jitted kernel; slope_at_zero and rho are its entries",
    "sign": "an operator, run inside the trace of invert",
    "identity": "returns anything as it is",
    **dict.fromkeys(
        (
            "gaussian_rule",
            "panel_rule",
            "integral_from_zero",
            "bracketed_root",
            "increasing_root",
        ),
        "a numerical kernel, run inside others' traces; the entries that call it check",
    ),
    **dict.fromkeys(("mse", "cross_entropy"), "losses, run inside the trace of train"),
    "names": "takes no arguments",
    "diagnose": "takes no arguments",
    "schema": "takes no arguments",
    "gan": "takes no arguments",
    "fetch_mnist": "needs the internet",
    "save_checkpoint": "tests/io/test_io_checkpoints.py and tests/test_files.py",
    "load_checkpoint": "tests/io/test_io_checkpoints.py and tests/test_files.py",
    "onnxruntime_evaluation": "tests/io/test_io_onnx.py; its network is not looked at first",
}
"""Public functions that are not in the table."""

_NANS = [f"nan in leaf {k}" for k in range(20)]

KNOWN: dict[tuple[str, str, str], str] = {
    (name, "state", how): "NaN is what the record of a diverged game holds"
    for name in ("play", "diverged_report")
    for how in _NANS
}
"""(function, argument, spoil) that are taken where the table would have them refused."""
