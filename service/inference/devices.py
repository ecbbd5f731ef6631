"""Where ONNX Runtime computes: on an NVIDIA GPU where one works, otherwise on the CPU."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import onnxruntime

from models_store.manifest import Precision

log = logging.getLogger(__name__)

Provider = str | tuple[str, dict[str, Any]]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
"""One of these is there wherever a process can reach an NVIDIA GPU, on Linux and under WSL."""
CUDA_OPTIONS = {
    # A vector in fp32 is the same to its last digits on a GPU and on a CPU; who wants speed for digits asks for fp16.
    "use_tf32": "0",
    # The default tries every algorithm once for each new size of a batch, in the request that happens to bring it.
    "cudnn_conv_algo_search": "HEURISTIC",
}
ROWS, PIXELS = (Path(__file__).with_name(f"{name}.onnx") for name in ("rows", "pixels"))
"""The graphs of `on_device.Device`."""


@functools.cache
def on_gpu() -> bool:
    """Whether there is a GPU, and ONNX Runtime can use it. Where a library of CUDA is missing it would go on with the CPU."""
    if CUDA not in onnxruntime.get_available_providers() or not any(
        Path(device).exists() for device in GPU_DEVICES
    ):
        return False
    onnxruntime.preload_dlls()  # CUDA's libraries where pip puts them, which no loader looks through
    works = CUDA in session(ROWS, CUDA, 1).get_providers()
    if not works:
        log.warning(
            "there is a GPU, but ONNX Runtime cannot use it, so the CPU computes: install CUDA and cuDNN, for example by "
            "pip install 'fusebox[gpu]'"
        )
    return works


def provider(precision: Precision) -> str:
    """What computes a model. A GPU has no kernels for int8."""
    return CUDA if on_gpu() and precision != "int8" else CPU


def session(graph: bytes | Path, provider: str, threads: int) -> onnxruntime.InferenceSession:
    """threads: of a CPU, for one batch."""
    providers: list[Provider] = [(CUDA, CUDA_OPTIONS), CPU] if provider == CUDA else [CPU]
    return onnxruntime.InferenceSession(graph, options(threads), providers=providers)


def options(threads: int) -> onnxruntime.SessionOptions:
    """Threads that wait do not spin: a trainer on the same machine is left its share, and so are other batches."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
