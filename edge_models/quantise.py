"""A Keras network -> an int8 TFLite file: int8 weights, activations, input and output. Extra `train`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def int8_model(model: Any, examples: NDArray[np.float32]) -> bytes:
    """examples (n, *input shape): what the network will see, the ends of its range among them; scales come from them."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    @tf.function(input_signature=[tf.TensorSpec((1, *examples.shape[1:]), tf.float32)])
    def serve(x: Any) -> Any:
        return model(x, training=False)

    # With Keras 3 the converter's calibration finds variables uninitialised unless they are constants already.
    frozen = convert_variables_to_constants_v2(serve.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])

    def each() -> Iterator[list[NDArray[np.float32]]]:
        for example in examples:
            yield [example[None]]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = each
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())
