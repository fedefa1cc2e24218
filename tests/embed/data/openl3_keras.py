"""Makes openl3_keras.npz: what Keras and kapre give for the network of tests/published_evaluators/openl3.py.

Not part of the tests: it needs tensorflow-cpu==2.13.1, kapre==0.3.7, librosa==0.9.2, resampy==0.2.2 and numpy==1.23.5, which
cannot share an environment with the rest. Run it as `python openl3_keras.py WEIGHTS.h5.gz`.

The network and its frontend follow openl3 0.4.2, in float64: TensorFlow's float32 Fourier transform on processors is off by
up to 18 dB where a spectrum is 60 dB and more below its maximum, in float64 there is nothing to argue about.
"""

import gzip
import sys
from pathlib import Path

import numpy as np

STRIDE = 7  # of the frontend's bands and steps, every seventh is kept


def sound() -> np.ndarray:
    """A chirp that begins late, in fading noise, peak -1 dBFS: `[66150]` float32 at 44.1 kHz, 1.5 s."""
    time = np.arange(66150) / 44100
    chirp = 0.5 * np.sin(2 * np.pi * (200 + 1500 * time) * time) * (time > 0.3)
    noise = np.random.default_rng(5).standard_normal(time.size)
    mixed = chirp + 0.1 * noise * np.exp(-2 * time)
    return (mixed * (10 ** (-1 / 20) / np.abs(mixed).max())).astype(np.float32)


def main(weights: str) -> None:
    """Builds the model, loads the weights by Keras' own code and embeds the sound."""
    import resampy
    import tensorflow as tf
    from kapre.composed import get_melspectrogram_layer
    from tensorflow.keras import Model, layers

    tf.keras.backend.set_floatx("float64")

    def decibels(mel: tf.Tensor) -> tf.Tensor:
        level = 10 * tf.math.log(tf.maximum(mel, tf.cast(1e-10, mel.dtype))) / tf.math.log(tf.cast(10, mel.dtype))
        return tf.maximum(level - tf.reduce_max(level, axis=(1, 2, 3), keepdims=True), -80)

    data_format = {"input_data_format": "channels_first", "output_data_format": "channels_last"}
    shape = {"n_fft": 2048, "hop_length": 242, "n_mels": 256, "sample_rate": 48000}
    mel = get_melspectrogram_layer(input_shape=(1, 48000), pad_end=True, return_decibel=False, **shape, **data_format)
    mel.add(layers.Lambda(decibels))
    mel.add(layers.Permute((2, 1, 3)))
    seconds = layers.Input((1, 48000))
    spectrogram = mel(seconds)
    features = layers.BatchNormalization()(spectrogram)
    for index, width in enumerate((64, 64, 128, 128, 256, 256, 512)):
        features = layers.Conv2D(width, (3, 3), padding="same")(features)
        features = layers.Activation("relu")(layers.BatchNormalization()(features))
        if index in (1, 3, 5):
            features = layers.MaxPooling2D((2, 2), strides=2)(features)
    features = layers.Conv2D(512, (3, 3), padding="same", name="audio_embedding_layer")(features)
    network = Model(seconds, features)
    unpacked = Path("openl3_unpacked.h5")
    unpacked.write_bytes(gzip.decompress(Path(weights).read_bytes()))
    network.load_weights(unpacked)
    pooled = layers.Flatten()(layers.MaxPooling2D((32, 24), padding="same")(network.output))

    resampled = resampy.resample(sound(), 44100, 48000, filter="kaiser_best")
    centred = np.pad(resampled, (24000, 0))
    n_hops = int(np.ceil((centred.size - 48000) / 24000))
    centred = np.pad(centred, (0, 48000 + 24000 * n_hops - centred.size))
    frames = np.stack([centred[24000 * hop :][:48000] for hop in range(n_hops + 1)])[:, None].astype(np.float64)
    levels = Model(seconds, spectrogram).predict(frames, verbose=0)[:, ::STRIDE, ::STRIDE, 0]
    embeddings = Model(seconds, pooled).predict(frames, verbose=0)
    here = Path(__file__).with_suffix(".npz")
    np.savez_compressed(here, embeddings=embeddings.astype(np.float32), decibels=levels.astype(np.float32))


if __name__ == "__main__":
    main(sys.argv[1])
