"""The network that is learnt, and the rival that it has to beat: a logistic on the same inputs. Extra `train`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_models.leak.gateways import PAST_H
from gateway.window.channel import CHANNELS, LAGS_H

if TYPE_CHECKING:
    from edge_models.leak.gateways import School

EPOCHS = 4
BATCH = 512

SMOOTHED = 0.01
"""Labels are that unsure, which keeps scores within about 6 and their int8 steps fine."""

AVERAGED = 0.999
"""Weights are a moving average over about the last thousand steps, which differs less from seed to seed."""

RECENT = 9
"""Steps of the input that have a short way: the last 12 hours."""


def network(kind: str) -> Any:
    """ "tcn": channels mixed at each step, then strided convolutions over time; beside them the last half
    day by a short way. "logistic": one weight an input."""
    import tensorflow as tf

    layers = tf.keras.layers
    first = x = layers.Input((len(LAGS_H), len(CHANNELS)))
    if kind == "logistic":
        regular = tf.keras.regularizers.l2(1e-5)
        return tf.keras.Model(first, layers.Dense(1, kernel_regularizer=regular)(layers.Flatten()(x)))
    x = layers.SpatialDropout1D(0.15)(x)
    x = layers.Conv1D(24, 1, activation="relu")(x)
    x = layers.Conv1D(24, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv1D(16, 3, strides=2, padding="same", activation="relu")(x)
    recent = layers.Conv1D(16, 1, activation="relu")(layers.Dropout(0.2)(first[:, -RECENT:]))
    recent = layers.Dense(16, activation="relu")(layers.Flatten()(recent))
    x = layers.Concatenate()([layers.Dropout(0.25)(layers.Flatten()(x)), recent])
    x = layers.Dropout(0.1)(layers.Dense(24, activation="relu")(x))
    return tf.keras.Model(first, layers.Dense(1)(x))


def learn(kind: str, seed: int, school: School) -> Any:
    """A network with learnt weights."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    parts = [gateway.samples(rng) for gateway in school.gateways]
    at = np.concatenate([begin + PAST_H + part[0] for begin, part in zip(school.begins, parts, strict=True)])
    label, weight = (np.concatenate([part[i] for part in parts]).astype(np.float32) for i in (1, 2))
    weight[label > 0] *= 0.6 * weight[label == 0].sum() / weight[label > 0].sum()
    lags = np.array(LAGS_H)
    model = network(kind)
    steps = len(at) // BATCH
    rate = tf.keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * steps)
    optimiser = tf.keras.optimizers.Adam(rate, use_ema=True, ema_momentum=AVERAGED)

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: Any, w: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                w
                * tf.nn.sigmoid_cross_entropy_with_logits(
                    SMOOTHED + (1 - 2 * SMOOTHED) * y, model(tf.cast(x, tf.float32), training=True)[:, 0]
                )
            )
            loss += tf.add_n(model.losses) if model.losses else 0.0
        optimiser.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    for epoch in range(EPOCHS):
        begun, loss = time.monotonic(), 0.0
        order = rng.permutation(len(at))[: steps * BATCH].reshape(steps, BATCH)
        for batch in order:
            x = school.rows.take(at[batch][:, None] - lags, axis=0)
            # A young gateway has no long past: some examples are shown without theirs.
            short = rng.random(BATCH) < 0.25
            x[short[:, None] & (lags[None] > rng.integers(24, PAST_H, (BATCH, 1)))] = 0
            loss += float(step(x, label[batch], weight[batch]))
        print(
            f"{kind} seed {seed} epoch {epoch}: {len(at)} hours, loss {loss / steps:.4f}, {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    optimiser.finalize_variable_values(model.trainable_variables)
    return model
