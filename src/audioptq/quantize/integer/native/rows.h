// Rows: a token's activations, or the weights of an output channel, in float and as integers.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

static inline bool has_nan(const float* values, int64_t n) {
  int is_nan = 0;
#pragma omp simd reduction(| : is_nan)
  for (int64_t i = 0; i < n; i++) is_nan |= values[i] != values[i];
  return is_nan != 0;
}

// The scale that maps the largest magnitude to `largest`; 1 for zeros. NaN if any value is NaN, or infinite: what is divided by
// infinity and multiplied by it again is NaN, too.
static inline float scale_of(const float* values, int64_t n, float largest) {
  float absmax = 0;
#pragma omp simd reduction(max : absmax)
  for (int64_t i = 0; i < n; i++) {
    const float magnitude = std::fabs(values[i]);
    absmax = absmax < magnitude ? magnitude : absmax;
  }
  if (std::isinf(absmax) || has_nan(values, n)) return std::numeric_limits<float>::quiet_NaN();
  const float scale = absmax / largest;
  return scale == 0 ? 1.0f : scale;
}

// Nearest integers of `values / scale`, halves to even, within `largest`. Divided, not multiplied by a reciprocal: the same integers
// as step by step in torch.
static inline void round_to(const float* values, int64_t n, float scale, float largest, int8_t* integers) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const float steps = std::nearbyintf(values[i] / scale);
    const float above = steps > -largest ? steps : -largest;
    integers[i] = (int8_t)(int32_t)(above < largest ? above : largest);
  }
}

// A weight's row as stored: int8, or two values of 4 bits a byte, the first in the low bits.
static inline void unpack_row(const uint8_t* stored, bool is_packed, int64_t n, int8_t* row) {
  if (!is_packed) {
    for (int64_t i = 0; i < n; i++) row[i] = (int8_t)stored[i];
    return;
  }
  for (int64_t i = 0; i < n / 2; i++) {
    row[2 * i] = (int8_t)(((stored[i] & 15) ^ 8) - 8);
    row[2 * i + 1] = (int8_t)((stored[i] >> 4 ^ 8) - 8);
  }
  if (n % 2) row[n - 1] = (int8_t)(((stored[n / 2] & 15) ^ 8) - 8);
}

// Makes `row * scale * smooth` integers of 8 bits, in place, and returns their scale. `values` is room for n.
static inline float requantize_row(int8_t* row, int64_t n, float scale, const float* smooth, float* values) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) values[i] = (float)row[i] * scale * smooth[i];
  const float made = scale_of(values, n, 127);
  round_to(values, n, made, 127, row);
  return made;
}
