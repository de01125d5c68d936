// Convolutions of many small images at once, one image a SIMD lane.
//
// All arrays are dense with the image as the fastest index: activations [channels][height][width][images], kernels of
// each image [outputs][channels][rows][columns][images]. Every lane computes what it would compute alone, in the same
// order, so a result does not depend on the other images. A shared kernel is [outputs][channels][rows][columns].

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

// The processor's vector type, and the number of rows of TILE sums that stay in its registers.
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define SUM_ROWS 4
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define SUM_ROWS 2
#else
#define VECTOR_BYTES 16
#define SUM_ROWS 2
#endif

extern "C" struct Geometry {
    int64_t images, channels, height, width, outputs, rows, columns;
    int64_t stride_down, stride_right, padding_down, padding_right, out_height, out_width;
};

namespace {

constexpr int64_t TILE = 4;
static_assert(TILE % SUM_ROWS == 0, "planes are rounded up to whole tiles, and taken by SUM_ROWS");

template <typename S>
struct Lanes {
    typedef S Vector __attribute__((vector_size(VECTOR_BYTES)));
    static constexpr int64_t COUNT = VECTOR_BYTES / sizeof(S);
};

int64_t rounded(int64_t count) { return (count + TILE - 1) / TILE * TILE; }

// Scratch memory of this thread, aligned for vectors; `slot` distinguishes simultaneous uses.
template <typename V>
V* scratch(int slot, int64_t count) {
    thread_local std::vector<char> memory[4];
    auto& bytes = memory[slot];
    if (bytes.size() < count * sizeof(V) + 64) bytes.resize(count * sizeof(V) + 64);
    return reinterpret_cast<V*>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) & ~uintptr_t(63));
}

template <typename S>
typename Lanes<S>::Vector load(const S* from, int64_t lanes) {
    typename Lanes<S>::Vector value{};
    if (lanes == Lanes<S>::COUNT)
        std::memcpy(&value, from, sizeof(value));
    else
        std::memcpy(&value, from, lanes * sizeof(S));
    return value;
}

template <typename S>
void store(S* to, typename Lanes<S>::Vector value, int64_t lanes) {
    if (lanes == Lanes<S>::COUNT)
        std::memcpy(to, &value, sizeof(value));
    else
        std::memcpy(to, &value, lanes * sizeof(S));
}

// One block of images of [channels][height][width] with zeros around and channels rounded up to whole tiles.
template <typename S>
const typename Lanes<S>::Vector* padded(const S* from, const Geometry& g, int64_t first, int64_t lanes) {
    typedef typename Lanes<S>::Vector V;
    const int64_t high = g.height + 2 * g.padding_down, wide = g.width + 2 * g.padding_right;
    const int64_t count = rounded(g.channels) * high * wide;
    V* to = scratch<V>(0, count);
    std::memset(static_cast<void*>(to), 0, count * sizeof(V));
    for (int64_t c = 0; c < g.channels; c++)
        for (int64_t y = 0; y < g.height; y++)
            for (int64_t x = 0; x < g.width; x++)
                to[(c * high + y + g.padding_down) * wide + x + g.padding_right] =
                    load(from + ((c * g.height + y) * g.width + x) * g.images + first, lanes);
    return to;
}

// One block of images of [planes][pixels], planes rounded up to whole tiles of zeros.
template <typename S>
const typename Lanes<S>::Vector* gathered(const S* from, int64_t planes, int64_t pixels, int64_t images, int64_t first,
                                          int64_t lanes, int slot) {
    typedef typename Lanes<S>::Vector V;
    V* to = scratch<V>(slot, rounded(planes) * pixels);
    for (int64_t i = 0; i < planes * pixels; i++) to[i] = load(from + i * images + first, lanes);
    std::memset(static_cast<void*>(to + planes * pixels), 0, (rounded(planes) - planes) * pixels * sizeof(V));
    return to;
}

// Kernels in the order in which the loops read them, [tap][from][to rounded up to whole tiles]; a shared kernel is
// repeated in every lane, which is faster to read than to broadcast in the innermost loop.
template <typename S>
const typename Lanes<S>::Vector* arranged(const S* kernel, bool own, bool transposed, const Geometry& g, int64_t first,
                                          int64_t lanes) {
    typedef typename Lanes<S>::Vector V;
    const int64_t taps = g.rows * g.columns;
    const int64_t from = transposed ? g.outputs : g.channels, to = transposed ? g.channels : g.outputs;
    const int64_t across = rounded(to);
    V* weights = scratch<V>(1, taps * from * across);
    std::memset(static_cast<void*>(weights), 0, taps * from * across * sizeof(V));
    for (int64_t k = 0; k < g.outputs; k++)
        for (int64_t c = 0; c < g.channels; c++)
            for (int64_t tap = 0; tap < taps; tap++) {
                const int64_t index = (k * g.channels + c) * taps + tap;
                weights[(tap * from + (transposed ? k : c)) * across + (transposed ? c : k)] =
                    own ? load(kernel + index * g.images + first, lanes) : V{} + kernel[index];
            }
    return weights;
}

// z = W∗a for PIXELS neighbouring pixels and one tile of outputs.
template <typename V, int PIXELS>
void correlate(V (&sum)[PIXELS][TILE], const V* a, const V* weights, const Geometry& g, int64_t across) {
    const int64_t high = g.height + 2 * g.padding_down, wide = g.width + 2 * g.padding_right;
    for (int64_t r = 0; r < g.rows; r++)
        for (int64_t s = 0; s < g.columns; s++)
            for (int64_t c = 0; c < g.channels; c++) {
                const V* here = a + (c * high + r) * wide + s;
                const V* w = weights + ((r * g.columns + s) * g.channels + c) * across;
                for (int p = 0; p < PIXELS; p++)
                    for (int q = 0; q < TILE; q++) sum[p][q] += here[p * g.stride_right] * w[q];
            }
}

template <typename S>
void forward_block(const S* inputs, const S* kernel, S* outputs, bool own, const Geometry& g, int64_t first,
                   int64_t lanes) {
    typedef typename Lanes<S>::Vector V;
    const V* a = padded(inputs, g, first, lanes);
    const V* weights = arranged(kernel, own, false, g, first, lanes);
    const int64_t wide = g.width + 2 * g.padding_right, across = rounded(g.outputs);
    const auto put = [&](int64_t k, int64_t y, int64_t x, const V(&sum)[TILE]) {
        for (int64_t q = 0; q < std::min(TILE, g.outputs - k); q++)
            store(outputs + (((k + q) * g.out_height + y) * g.out_width + x) * g.images + first, sum[q], lanes);
    };
    for (int64_t k = 0; k < g.outputs; k += TILE)
        for (int64_t y = 0; y < g.out_height; y++) {
            const V* row = a + y * g.stride_down * wide;
            int64_t x = 0;
            for (; x + SUM_ROWS <= g.out_width; x += SUM_ROWS) {
                V sum[SUM_ROWS][TILE] = {};
                correlate<V, SUM_ROWS>(sum, row + x * g.stride_right, weights + k, g, across);
                for (int p = 0; p < SUM_ROWS; p++) put(k, y, x + p, sum[p]);
            }
            for (; x < g.out_width; x++) {
                V sum[1][TILE] = {};
                correlate<V, 1>(sum, row + x * g.stride_right, weights + k, g, across);
                put(k, y, x, sum[0]);
            }
        }
}

// Add the contributions of PIXELS neighbouring values of δ to one tile of channels, at one tap.
template <typename V, int PIXELS>
void spread(V* to, const V* grad_output, const V* w, const Geometry& g, int64_t pixels, int64_t plane, int64_t across) {
    V sum[PIXELS][TILE] = {};
    for (int64_t k = 0; k < g.outputs; k++)
        for (int p = 0; p < PIXELS; p++)
            for (int q = 0; q < TILE; q++) sum[p][q] += grad_output[k * pixels + p] * w[k * across + q];
    for (int p = 0; p < PIXELS; p++)
        for (int q = 0; q < TILE; q++) to[q * plane + p * g.stride_right] += sum[p][q];
}

template <typename S>
void backward_block(const S* grad_outputs, const S* kernel, S* inputs, bool own, const Geometry& g, int64_t first,
                    int64_t lanes) {
    typedef typename Lanes<S>::Vector V;
    const int64_t high = g.height + 2 * g.padding_down, wide = g.width + 2 * g.padding_right;
    const int64_t pixels = g.out_height * g.out_width, across = rounded(g.channels);
    const V* grad_output = gathered(grad_outputs, g.outputs, pixels, g.images, first, lanes, 2);
    const V* weights = arranged(kernel, own, true, g, first, lanes);
    V* to = scratch<V>(0, across * high * wide);
    std::memset(static_cast<void*>(to), 0, across * high * wide * sizeof(V));
    for (int64_t c = 0; c < g.channels; c += TILE)
        for (int64_t y = 0; y < g.out_height; y++)
            for (int64_t r = 0; r < g.rows; r++)
                for (int64_t s = 0; s < g.columns; s++) {
                    V* row = to + (c * high + y * g.stride_down + r) * wide + s;
                    const V* from = grad_output + y * g.out_width;
                    const V* w = weights + (r * g.columns + s) * g.outputs * across + c;
                    int64_t x = 0;
                    for (; x + SUM_ROWS <= g.out_width; x += SUM_ROWS)
                        spread<V, SUM_ROWS>(row + x * g.stride_right, from + x, w, g, pixels, high * wide, across);
                    for (; x < g.out_width; x++)
                        spread<V, 1>(row + x * g.stride_right, from + x, w, g, pixels, high * wide, across);
                }
    for (int64_t c = 0; c < g.channels; c++)
        for (int64_t y = 0; y < g.height; y++)
            for (int64_t x = 0; x < g.width; x++)
                store(inputs + ((c * g.height + y) * g.width + x) * g.images + first,
                      to[(c * high + y + g.padding_down) * wide + x + g.padding_right], lanes);
}

// G_W = δ∗a of every image, for SUM_ROWS outputs and one tile of channels at a time.
template <typename S>
void gradient_block(const S* inputs, const S* grad_outputs, S* gradient, const Geometry& g, int64_t first,
                    int64_t lanes) {
    typedef typename Lanes<S>::Vector V;
    const int64_t high = g.height + 2 * g.padding_down, wide = g.width + 2 * g.padding_right;
    const int64_t pixels = g.out_height * g.out_width, taps = g.rows * g.columns;
    const V* a = padded(inputs, g, first, lanes);
    const V* grad_output = gathered(grad_outputs, g.outputs, pixels, g.images, first, lanes, 2);
    for (int64_t k = 0; k < g.outputs; k += SUM_ROWS)
        for (int64_t c = 0; c < g.channels; c += TILE)
            for (int64_t tap = 0; tap < taps; tap++) {
                V sum[SUM_ROWS][TILE] = {};
                const V* corner = a + (c * high + tap / g.columns) * wide + tap % g.columns;
                for (int64_t y = 0; y < g.out_height; y++)
                    for (int64_t x = 0; x < g.out_width; x++) {
                        const V* here = corner + y * g.stride_down * wide + x * g.stride_right;
                        const V* there = grad_output + k * pixels + y * g.out_width + x;
                        for (int p = 0; p < SUM_ROWS; p++)
                            for (int q = 0; q < TILE; q++) sum[p][q] += there[p * pixels] * here[q * high * wide];
                    }
                for (int64_t p = 0; p < std::min<int64_t>(SUM_ROWS, g.outputs - k); p++)
                    for (int64_t q = 0; q < std::min(TILE, g.channels - c); q++)
                        store(gradient + (((k + p) * g.channels + c + q) * taps + tap) * g.images + first, sum[p][q],
                              lanes);
            }
}

// Run `block` for every block of images, side by side on `threads` threads.
template <typename S, typename Block>
void for_each_block(const Geometry& g, int64_t threads, Block block) {
    constexpr int64_t COUNT = Lanes<S>::COUNT;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t first = 0; first < g.images; first += COUNT) block(first, std::min(COUNT, g.images - first));
}

}  // namespace

#define DEFINE(S, SUFFIX)                                                                                              \
    extern "C" void convolve_##SUFFIX(const S* a, const S* w, S* z, const Geometry* g, int64_t own, int64_t threads) { \
        for_each_block<S>(*g, threads, [=](int64_t i, int64_t n) { forward_block<S>(a, w, z, own, *g, i, n); });       \
    }                                                                                                                  \
    extern "C" void transpose_##SUFFIX(const S* d, const S* w, S* a, const Geometry* g, int64_t own,                   \
                                       int64_t threads) {                                                              \
        for_each_block<S>(*g, threads, [=](int64_t i, int64_t n) { backward_block<S>(d, w, a, own, *g, i, n); });      \
    }                                                                                                                  \
    extern "C" void gradient_##SUFFIX(const S* a, const S* d, S* w, const Geometry* g, int64_t threads) {              \
        for_each_block<S>(*g, threads, [=](int64_t i, int64_t n) { gradient_block<S>(a, d, w, *g, i, n); });           \
    }

DEFINE(float, f32)
DEFINE(double, f64)

// What this build was made from (builds.py).
extern "C" {
extern const char made_from[];
const char made_from[] = "made from " CHECKSUM;
}
