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

_RECORDS = "rules and states are taken for what game and init made"
_HOWS = ("a number", "a string", "nothing", "an array", *(f"nan in leaf {k}" for k in range(20)))

KNOWN: dict[tuple[str, str, str], str] = {
    **{
        ("write_counterexample", name, how): "it writes what it is given"
        for name in ("x", "y")
        for how in ("nan", "complex", "strings", "objects", "nothing", "ragged")
    },
    **{
        ("sweep", "inputs", how): "JAX's own error, from the function's first trace"
        for how in ("strings", "objects", "nothing", "ragged")
    },
    **{("sweep", "progress", how): "called after a chunk" for how in _HOWS},
    **{
        ("fit_generator", name, how): "found at the deadline, to mend"
        for name in ("train", "optimizer")
        for how in _HOWS
    },
    **{("play", name, how): _RECORDS for name in ("rules", "state") for how in _HOWS},
    **{("diverged_report", name, how): _RECORDS for name in ("rules", "state") for how in _HOWS},
}
"""(function, argument, spoil) that are refused badly to this day: defects to mend."""
