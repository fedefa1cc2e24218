// Quantized linear layers on x86 processors: what Python calls (native/backend.py). All arrays are contiguous.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "rows.h"
#include "tiles.h"

namespace {

// Panels of output channels that a thread makes and uses together, small enough for the second cache.
constexpr int64_t PANELS = 32 / CHANNELS > 1 ? 32 / CHANNELS : 1;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <class T>
using Room = std::unique_ptr<T[], Free>;

template <class T>
Room<T> room(int64_t n) {
  return Room<T>(static_cast<T*>(std::aligned_alloc(64, (n * sizeof(T) + 63) / 64 * 64)));
}

struct Weight {
  const uint8_t* stored;
  const float* scale;
  const float* smooth;
  const float* bias;
  int64_t outputs, channels;
  bool is_packed, has_one_scale;
};

// What a thread has made of the output channels from `first` on.
struct Made {
  Room<int8_t> panels, row;
  Room<float> values;
  float scale[PANELS * CHANNELS];
  int32_t sum[PANELS * CHANNELS];
};

void make_panels(const Weight& weight, int64_t first, int64_t width, Made& made) {
  const int64_t bytes = weight.is_packed ? (weight.channels + 1) / 2 : weight.channels;
  int8_t* row = made.row.get();
  std::memset(row + weight.channels, 0, width - weight.channels);
  for (int64_t i = 0; i < PANELS * CHANNELS; i++) {
    const int64_t output = first + i;
    made.sum[i] = 0;
    if (output >= weight.outputs) continue;  // its sums are never looked at
    unpack_row(weight.stored + output * bytes, weight.is_packed, weight.channels, row);
    made.scale[i] = weight.scale[weight.has_one_scale ? 0 : output];
    if (weight.smooth)
      made.scale[i] = requantize_row(row, weight.channels, made.scale[i], weight.smooth, made.values.get());
    int8_t* panel = made.panels.get() + i / CHANNELS * CHANNELS * width + i % CHANNELS * 4;
    int32_t sum = 0;
    for (int64_t channel = 0; channel < width; channel += 4) std::memcpy(panel + CHANNELS * channel, row + channel, 4);
    for (int64_t channel = 0; channel < weight.channels; channel++) sum += row[channel];
    made.sum[i] = sum;
  }
}

// The tile's sums, scaled, with the bias; those beyond the last output are left out.
void write(const int32_t* sums, int64_t rows, int64_t first, int64_t at, int32_t zero, const Weight& weight, const Made& made,
           const float* x_scale, float* y) {
  const int64_t stop = std::min(CHANNELS, weight.outputs - first);
  for (int64_t row = 0; row < rows; row++) {
    float* out = y + row * weight.outputs + first;
    const auto scaled = [&](int64_t i) {
      const float product = (float)(sums[CHANNELS * row + i] - zero * made.sum[at + i]) * made.scale[at + i] * x_scale[row];
      return weight.bias ? product + weight.bias[first + i] : product;
    };
    if (stop == CHANNELS)
      for (int64_t i = 0; i < CHANNELS; i++) out[i] = scaled(i);
    else
      for (int64_t i = 0; i < stop; i++) out[i] = scaled(i);
  }
}

// Whether there was memory for it.
template <bool IS_NARROW>
bool multiply(const int8_t* x, const float* x_scale, int64_t tokens, const Weight& weight, int threads, float* y) {
  using Value = typename Operand<IS_NARROW>::type;
  constexpr int32_t zero = Operand<IS_NARROW>::zero;
  const int64_t width = (weight.channels + 3) / 4 * 4, step = PANELS * CHANNELS;
  const Room<Value> operand = room<Value>(tokens * width);
  if (!operand) return false;
  bool is_short = false;
#pragma omp parallel num_threads(threads)
  {
#pragma omp for
    for (int64_t token = 0; token < tokens; token++) {
      Value* out = operand.get() + token * width;
      for (int64_t i = 0; i < weight.channels; i++) out[i] = (Value)(x[token * weight.channels + i] + zero);
      for (int64_t i = weight.channels; i < width; i++) out[i] = 0;
    }
    Made made{room<int8_t>(step * width), room<int8_t>(width), room<float>(weight.channels), {}, {}};
    const bool has_room = made.panels && made.row && made.values;
    if (!has_room) {
#pragma omp atomic write
      is_short = true;
    }
    alignas(64) int32_t sums[ROWS * CHANNELS];
#pragma omp for schedule(dynamic)
    for (int64_t first = 0; first < weight.outputs; first += step) {
      if (!has_room) continue;
      make_panels(weight, first, width, made);
      for (int64_t token = 0; token < tokens; token += ROWS) {
        const int64_t rows = std::min(ROWS, tokens - token);
        const Value* tile = operand.get() + token * width;
        for (int64_t at = 0; at < step && first + at < weight.outputs; at += CHANNELS) {
          const int8_t* panel = made.panels.get() + at * width;
          if (rows == ROWS)
            sum_tile<IS_NARROW>(std::make_index_sequence<ROWS>(), tile, width, panel, sums);
          else
            for (int64_t row = 0; row < rows; row++)
              sum_tile<IS_NARROW>(std::make_index_sequence<1>(), tile + row * width, width, panel, sums + CHANNELS * row);
          write(sums, rows, first + at, at, zero, weight, made, x_scale + token, y + token * weight.outputs);
        }
      }
    }
  }
  return !is_short;
}

}  // namespace

extern "C" {

// x [tokens, channels] / smooth [channels] (or null) -> integers within `largest`, and a scale per token: the one that is given
// for all, or (null) from the token's range. The scale of a token that has a NaN is NaN. Returns whether there was memory for it.
int audioptq_quantize(const float* x, const float* smooth, const float* given, int64_t tokens, int64_t channels, float largest,
                      int threads, int8_t* integers, float* scale) {
  bool is_short = false;
#pragma omp parallel num_threads(threads)
  {
    const Room<float> values = room<float>(channels);
    if (!values) {
#pragma omp atomic write
      is_short = true;
    }
#pragma omp for
    for (int64_t token = 0; token < tokens; token++) {
      if (!values) continue;
      const float* row = x + token * channels;
      if (smooth) {
#pragma omp simd
        for (int64_t i = 0; i < channels; i++) values[i] = row[i] / smooth[i];
        row = values.get();
      }
      const bool is_given = given && !has_nan(row, channels);
      scale[token] = is_given ? *given : scale_of(row, channels, largest);
      round_to(row, channels, scale[token], largest, integers + token * channels);
    }
  }
  return !is_short;
}

// y [tokens, outputs] = x_scale (x W^T) scale + bias (or null). W is stored [outputs, bytes]; with smooth [channels] it is multiplied
// by that and made integers of 8 bits again, each row with a scale of its own. Narrow: its integers are within 7. Returns whether
// there was memory for it.
int audioptq_product(const int8_t* x, const float* x_scale, const uint8_t* stored, const float* scale, const float* smooth,
                     const float* bias, int64_t tokens, int64_t channels, int64_t outputs, int is_packed, int has_one_scale,
                     int is_narrow, int threads, float* y) {
  const Weight weight{stored, scale, smooth, bias, outputs, channels, is_packed != 0, has_one_scale != 0};
  if (is_narrow && !smooth)
    return multiply<true>(x, x_scale, tokens, weight, threads, y);
  return multiply<false>(x, x_scale, tokens, weight, threads, y);
}
}
