"""Runs golden examples on whatever runtime is installed, with nothing of ours: `golden.py FOLDER...` prints JSON.

For each folder: the runtime, how many nodes a delegate computes, the int8 outputs, and the output's scale and zero.
"""

import base64
import importlib
import json
import sys
import zlib
from pathlib import Path

import numpy as np


def main(folders):
    for name in ("ai_edge_litert", "tflite_runtime"):
        try:
            runtime = importlib.import_module(f"{name}.interpreter")
            break
        except ImportError:
            continue
    else:
        sys.exit("golden.py: expected ai-edge-litert or tflite-runtime; install one of them")
    found = {}
    for folder in map(Path, folders):
        stored = json.loads((folder / "example.json").read_text(encoding="utf-8"))
        inputs = np.frombuffer(zlib.decompress(base64.b64decode(stored["inputs"])), np.int8).reshape(stored["shape"])
        interpreter = runtime.Interpreter(model_content=(folder / "model.tflite").read_bytes(), num_threads=1)
        interpreter.allocate_tensors()
        given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        outputs = []
        for one in inputs:
            interpreter.set_tensor(given["index"], one[None])
            interpreter.invoke()
            outputs.append(int(interpreter.get_tensor(result["index"]).reshape(-1)[0]))
        found[folder.name] = {
            "runtime": name,
            "delegated": sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details()),
            "outputs": outputs,
            "quantisation": [float(result["quantization"][0]), int(result["quantization"][1])],
        }
    print(json.dumps(found))


main(sys.argv[1:])
