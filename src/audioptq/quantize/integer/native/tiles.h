// Sums of products of a tile: ROWS tokens by CHANNELS output channels, over all input channels, in registers.
//
// Input channels come four at a time. A panel holds the weights of CHANNELS output channels as [in / 4][CHANNELS][4] int8, so that one
// load has four neighbouring values of each of several output channels, and meets four values of a token that are repeated.
//
// A register is updated by an instruction that is spelled out: left to itself, GCC reorders the additions until the sums no
// longer fit the registers, which makes them half as fast.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

template <class T>
static inline T value_at(const void* address) {
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

#ifdef __AVX512VNNI__

constexpr int64_t ROWS = 6, CHANNELS = 32;

// Activations as the kernel takes them: unsigned, 128 above their value; the weights' sums times 128 are taken off afterwards.
template <bool IS_NARROW>
struct Operand {
  using type = uint8_t;
  static constexpr int32_t zero = 128;
};

// One instruction multiplies and adds 64 pairs, in 32 bits.
template <bool IS_NARROW, size_t... ROW>
static inline void sum_tile(std::index_sequence<ROW...>, const uint8_t* x, int64_t width, const int8_t* panel, int32_t* sums) {
  __m512i low[sizeof...(ROW)], high[sizeof...(ROW)];
  ((low[ROW] = high[ROW] = _mm512_setzero_si512()), ...);
  for (int64_t channel = 0; channel < width; channel += 4) {
    const __m512i first = _mm512_load_si512(panel + CHANNELS * channel);
    const __m512i second = _mm512_load_si512(panel + CHANNELS * channel + 64);
    const auto add = [&](const uint8_t* values, __m512i& a, __m512i& b) __attribute__((always_inline)) {
      const __m512i four = _mm512_set1_epi32(value_at<int32_t>(values));
      asm volatile("vpdpbusd %1, %2, %0" : "+v"(a) : "v"(first), "v"(four));
      asm volatile("vpdpbusd %1, %2, %0" : "+v"(b) : "v"(second), "v"(four));
    };
    (add(x + ROW * width + channel, low[ROW], high[ROW]), ...);
  }
  ((_mm512_store_si512(sums + CHANNELS * ROW, low[ROW]), _mm512_store_si512(sums + CHANNELS * ROW + 16, high[ROW])), ...);
}

#else

constexpr int64_t ROWS = 6, CHANNELS = 16;

// Narrow weights (of at most 4 bits) meet unsigned bytes; others meet 16-bit integers, since a sum of two products of 8 by 8 bits
// does not fit the 16 bits that AVX2's product of bytes has for it.
template <bool IS_NARROW>
struct Operand {
  using type = std::conditional_t<IS_NARROW, uint8_t, int16_t>;
  static constexpr int32_t zero = IS_NARROW ? 128 : 0;
};

// Two products of a byte and a weight of at most 7 are at most 3,570: nine such sums fit 16 bits. Eight are added there, then in 32.
constexpr int64_t SUMS_IN_16_BITS = 8;

template <bool IS_NARROW, size_t... ROW>
static inline void sum_tile(std::index_sequence<ROW...>, const uint8_t* x, int64_t width, const int8_t* panel, int32_t* sums) {
  __m256i low[sizeof...(ROW)], high[sizeof...(ROW)];
  ((low[ROW] = high[ROW] = _mm256_setzero_si256()), ...);
  for (int64_t start = 0; start < width; start += 4 * SUMS_IN_16_BITS) {
    __m256i a16[sizeof...(ROW)], b16[sizeof...(ROW)];
    ((a16[ROW] = b16[ROW] = _mm256_setzero_si256()), ...);
    const int64_t stop = start + 4 * SUMS_IN_16_BITS < width ? start + 4 * SUMS_IN_16_BITS : width;
    for (int64_t channel = start; channel < stop; channel += 4) {
      const __m256i first = _mm256_load_si256((const __m256i*)(panel + CHANNELS * channel));
      const __m256i second = _mm256_load_si256((const __m256i*)(panel + CHANNELS * channel + 32));
      const auto add = [&](const uint8_t* values, __m256i& a, __m256i& b) __attribute__((always_inline)) {
        const __m256i four = _mm256_set1_epi32(value_at<int32_t>(values));
        asm volatile("vpaddw %1, %0, %0" : "+x"(a) : "x"(_mm256_maddubs_epi16(four, first)));
        asm volatile("vpaddw %1, %0, %0" : "+x"(b) : "x"(_mm256_maddubs_epi16(four, second)));
      };
      (add(x + ROW * width + channel, a16[ROW], b16[ROW]), ...);
    }
    const __m256i ones = _mm256_set1_epi16(1);
    ((low[ROW] = _mm256_add_epi32(low[ROW], _mm256_madd_epi16(a16[ROW], ones)),
      high[ROW] = _mm256_add_epi32(high[ROW], _mm256_madd_epi16(b16[ROW], ones))), ...);
  }
  ((_mm256_store_si256((__m256i*)(sums + CHANNELS * ROW), low[ROW]),
    _mm256_store_si256((__m256i*)(sums + CHANNELS * ROW + 8), high[ROW])), ...);
}

// Products of 16 bits, of which a register holds four of each of four output channels: eight of them at a time.
template <bool IS_NARROW, size_t... ROW>
static inline void sum_tile(std::index_sequence<ROW...>, const int16_t* x, int64_t width, const int8_t* panel, int32_t* sums) {
  for (int64_t half = 0; half < CHANNELS; half += 8) {
    __m256i low[sizeof...(ROW)], high[sizeof...(ROW)];
    ((low[ROW] = high[ROW] = _mm256_setzero_si256()), ...);
    for (int64_t channel = 0; channel < width; channel += 4) {
      const __m128i* weights = (const __m128i*)(panel + CHANNELS * channel + 4 * half);
      const __m256i first = _mm256_cvtepi8_epi16(_mm_load_si128(weights));
      const __m256i second = _mm256_cvtepi8_epi16(_mm_load_si128(weights + 1));
      const auto add = [&](const int16_t* values, __m256i& a, __m256i& b) __attribute__((always_inline)) {
        const __m256i four = _mm256_set1_epi64x(value_at<int64_t>(values));
        asm volatile("vpaddd %1, %0, %0" : "+x"(a) : "x"(_mm256_madd_epi16(four, first)));
        asm volatile("vpaddd %1, %0, %0" : "+x"(b) : "x"(_mm256_madd_epi16(four, second)));
      };
      (add(x + ROW * width + channel, low[ROW], high[ROW]), ...);
    }
    // Two sums of each output channel, next to each other: added, and put in order.
    (_mm256_store_si256((__m256i*)(sums + CHANNELS * ROW + half),
                        _mm256_permute4x64_epi64(_mm256_hadd_epi32(low[ROW], high[ROW]), 0xD8)), ...);
  }
}

#endif
