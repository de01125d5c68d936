// Convolutions with 3×3 kernels, stride 1 and one row of zeros around the image, by Winograd's F(4×4, 3×3).
//
// The image is cut into tiles of 4×4 outputs, each of which sees 6×6 inputs. Inputs, kernels and outputs are
// polynomials, known by their values at 6×6 points, where a convolution is one product per point: 36 multiplications
// per tile and pair of channels instead of 144. The values of all tiles and channels at a point make a matrix product.
//
// Images and output gradients δ are dense [images][channels][height][width]. Transformed ones are
// [point][tile][channel], kernels [panel][point][from][to], where a panel are PANEL vectors of neighbouring `to` (the
// last may have fewer). Channels that are fastest in memory are rounded up to a multiple of PADDING by zeros.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

// The sums of a product, six rows of PANEL vectors, stay in registers. A vector has at least four numbers.
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define PANEL 4
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define PANEL 2
#else
#define VECTOR_BYTES 32
#define PANEL 1
#endif

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, typename Simd<S>::Order{__VA_ARGS__})
#endif

extern "C" struct Geometry {
    int64_t images, channels, height, width, outputs;
};

namespace {

constexpr int64_t SIDE = 6, POINTS = SIDE * SIDE, TILE = 4, TAPS = 9, PADDING = 16;
constexpr int ROWS = 6;
constexpr int64_t BLOCK = 4 * ROWS;  // rows of a product whose sums at all points stay in the second cache

template <typename S>
struct Simd {
    static constexpr int64_t LANES = VECTOR_BYTES / sizeof(S), WIDTH = PANEL * LANES;
    typedef S Vector __attribute__((vector_size(VECTOR_BYTES)));
    typedef S Four __attribute__((vector_size(4 * sizeof(S))));
    typedef std::conditional_t<sizeof(S) == 4, int32_t, int64_t> Order __attribute__((vector_size(4 * sizeof(S))));
};

// The map from `SIZE` values to the polynomial's values at the six points 0, ±A, ±B and infinity, without the last
// step: each pair at ±p is still split into its even and its odd part. These points lose half as many digits as the
// usual 0, ±1, ±2.
template <int SIZE>
struct Matrix {
    double at[SIDE][SIZE];
};
constexpr double A = 0.75, B = 1.5, AA = A * A, BB = B * B;
constexpr double AT_A = 1 / (2 * AA * (AA - BB)), AT_B = 1 / (2 * BB * (BB - AA));
constexpr Matrix<6> DATA = {{{AA * BB, 0, -AA - BB, 0, 1, 0},
                             {0, 0, -BB, 0, 1, 0},
                             {0, -A * BB, 0, A, 0, 0},
                             {0, 0, -AA, 0, 1, 0},
                             {0, -B * AA, 0, B, 0, 0},
                             {0, AA * BB, 0, -AA - BB, 0, 1}}};
constexpr Matrix<3> KERNEL = {{{1 / (AA * BB), 0, 0},
                               {AT_A, 0, AT_A * AA},
                               {0, AT_A * A, 0},
                               {AT_B, 0, AT_B * BB},
                               {0, AT_B * B, 0},
                               {0, 0, 1}}};
constexpr Matrix<4> GRAD_OUTPUT = {
    {{1, 0, 0, 0}, {1, 0, AA, 0}, {0, A, 0, A * AA}, {1, 0, BB, 0}, {0, B, 0, B * BB}, {0, 0, 0, 1}}};

template <typename V, typename S>
inline V load(const S* from) {
    V value;
    std::memcpy(&value, from, sizeof(V));
    return value;
}

template <typename V, typename S>
inline void store(S* to, V value) {
    std::memcpy(to, &value, sizeof(V));
}

template <typename V>
inline void pairs(V* y) {
    for (int p = 1; p < 5; p += 2) {
        const V even = y[p], odd = y[p + 1];
        y[p] = even + odd;
        y[p + 1] = even - odd;
    }
}

template <const auto& M, int SIZE, typename S, typename V>
inline void to_points(const V* x, int64_t step, V* y) {
#pragma GCC unroll 6
    for (int i = 0; i < SIDE; i++) {
        y[i] = V{};
#pragma GCC unroll 6
        for (int j = 0; j < SIZE; j++)
            if (M.at[i][j] != 0) y[i] += S(M.at[i][j]) * x[j * step];
    }
    pairs(y);
}

// The transpose of `to_points`.
template <const auto& M, int SIZE, typename S, typename V>
inline void from_points(V* y, V* x, int64_t step) {
    pairs(y);
#pragma GCC unroll 6
    for (int j = 0; j < SIZE; j++) {
        V sum{};
#pragma GCC unroll 6
        for (int i = 0; i < SIDE; i++)
            if (M.at[i][j] != 0) sum += S(M.at[i][j]) * y[i];
        x[j * step] = sum;
    }
}

// SIZE×SIZE values, `down` and 1 apart, to the 6×6 points, `apart` scalars apart.
template <const auto& M, int SIZE, typename S, typename V>
inline void transform(const V* x, int64_t down, S* to, int64_t apart) {
    V columns[SIZE][SIDE];
#pragma GCC unroll 6
    for (int j = 0; j < SIZE; j++) to_points<M, SIZE, S>(x + j, down, columns[j]);
#pragma GCC unroll 6
    for (int i = 0; i < SIDE; i++) {
        V row[SIDE];
        to_points<M, SIZE, S>(&columns[0][i], SIDE, row);
#pragma GCC unroll 6
        for (int j = 0; j < SIDE; j++) store(to + (i * SIDE + j) * apart, row[j]);
    }
}

// The transpose of `transform`.
template <const auto& M, int SIZE, typename S, typename V>
inline void transposed(const S* from, int64_t apart, V* x, int64_t down) {
    V columns[SIZE][SIDE];
#pragma GCC unroll 6
    for (int i = 0; i < SIDE; i++) {
        V row[SIDE];
#pragma GCC unroll 6
        for (int j = 0; j < SIDE; j++) row[j] = load<V>(from + (i * SIDE + j) * apart);
        from_points<M, SIZE, S>(row, &columns[0][i], SIDE);
    }
#pragma GCC unroll 6
    for (int j = 0; j < SIZE; j++) from_points<M, SIZE, S>(columns[j], x + j, down);
}

template <typename F>
inline void transpose(F (&q)[4]) {
    typedef std::decay_t<decltype(q[0][0])> S;
    const F a = SHUFFLE(q[0], q[1], 0, 4, 1, 5), b = SHUFFLE(q[2], q[3], 0, 4, 1, 5);
    const F c = SHUFFLE(q[0], q[1], 2, 6, 3, 7), d = SHUFFLE(q[2], q[3], 2, 6, 3, 7);
    q[0] = SHUFFLE(a, b, 0, 1, 4, 5);
    q[1] = SHUFFLE(a, b, 2, 3, 6, 7);
    q[2] = SHUFFLE(c, d, 0, 1, 4, 5);
    q[3] = SHUFFLE(c, d, 2, 3, 6, 7);
}

// Four values of each of four rows, of which some may be missing.
template <typename S, typename F>
inline void load_rows(const S* from, int64_t down, int64_t rows, int64_t count, F (&q)[4]) {
    S some[4][4] = {};
    if (rows < 4 || count < 4) {
        for (int64_t i = 0; i < std::min<int64_t>(4, rows); i++)
            std::memcpy(some[i], from + i * down, std::min<int64_t>(4, count) * sizeof(S));
        from = some[0], down = 4;
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) q[i] = load<F>(from + i * down);
}

template <typename S, typename F>
inline void store_rows(const F (&q)[4], S* to, int64_t down, int64_t rows, int64_t count) {
    if (rows < 4 || count < 4) {
        for (int64_t i = 0; i < std::min<int64_t>(4, rows); i++)
            for (int64_t j = 0; j < std::min<int64_t>(4, count); j++) to[i * down + j] = q[i][j];
        return;
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) store(to + i * down, q[i]);
}

// `count` neighbours of each of `rows` rows as `count` vectors with a row a lane; zeros where there are no rows.
template <typename S>
inline void gather(const S* from, int64_t down, int64_t rows, int64_t count, typename Simd<S>::Vector* to) {
    const int64_t last = std::max<int64_t>(0, count - 4);  // the last four may overlap those before
    for (int64_t lane = 0; lane < Simd<S>::LANES; lane += 4)
        for (int64_t i = 0; i < count; i += 4) {
            const int64_t first = std::min(i, last);
            typename Simd<S>::Four q[4];
            load_rows(from + lane * down + first, down, rows - lane, count, q);
            transpose(q);
            S* here = reinterpret_cast<S*>(to + first) + lane;
            for (int64_t j = 0; j < std::min<int64_t>(4, count); j++) store(here + j * Simd<S>::LANES, q[j]);
        }
}

// The transpose of `gather`.
template <typename S>
inline void scatter(const typename Simd<S>::Vector* from, S* to, int64_t down, int64_t rows, int64_t count) {
    const int64_t last = std::max<int64_t>(0, count - 4);
    for (int64_t lane = 0; lane < std::min(Simd<S>::LANES, rows); lane += 4)
        for (int64_t i = 0; i < count; i += 4) {
            const int64_t first = std::min(i, last);
            typename Simd<S>::Four q[4] = {};
            const S* here = reinterpret_cast<const S*>(from + first) + lane;
            for (int64_t j = 0; j < std::min<int64_t>(4, count); j++)
                q[j] = load<typename Simd<S>::Four>(here + j * Simd<S>::LANES);
            transpose(q);
            store_rows(q, to + lane * down + first, down, rows - lane, count);
        }
}

int64_t rounded(int64_t count, int64_t to) { return (count + to - 1) / to * to; }
int64_t tiles(int64_t size) { return (size + TILE - 1) / TILE; }
int64_t tiles(const Geometry& g) { return g.images * tiles(g.height) * tiles(g.width); }

// From one point to the next: one row more than there are, since caches have few places for powers of two.
int64_t apart(int64_t rows, int64_t across) { return (rows + 1) * across; }

// The size of blocks of at most `most` that cover `count`, such that with `others` the threads have the same work.
int64_t evenly(int64_t count, int64_t most, int64_t others, int64_t threads) {
    int64_t blocks = (count + most - 1) / most;
    while (blocks < count && blocks * others % threads) blocks++;
    return (count + blocks - 1) / blocks;
}

// Scratch memory of this thread, aligned for vectors.
template <typename S>
S* scratch(int64_t count) {
    thread_local std::vector<char> memory;
    if (memory.size() < count * sizeof(S) + 64) memory.resize(count * sizeof(S) + 64);
    return reinterpret_cast<S*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t(63));
}

// All tiles of `channels` planes to points. DATA tiles begin one pixel further up and left, and overlap by two.
template <const auto& M, int SIZE, typename S>
void transform_images(const S* images, S* to, const Geometry& g, int64_t threads) {
    typedef typename Simd<S>::Vector V;
    constexpr int64_t LANES = Simd<S>::LANES, SHIFT = (SIZE - TILE) / 2;
    const int64_t high = tiles(g.height), wide = tiles(g.width), across = rounded(g.channels, PADDING);
    const int64_t plane = g.height * g.width, pixels = wide * TILE + 2 * SHIFT;
#pragma omp parallel for num_threads(threads) collapse(3)
    for (int64_t n = 0; n < g.images; n++)
        for (int64_t down = 0; down < high; down++)
            for (int64_t c = 0; c < across; c += LANES) {
                V* band = reinterpret_cast<V*>(scratch<S>(SIZE * pixels * LANES));
                std::memset(static_cast<void*>(band), 0, SIZE * pixels * sizeof(V));
                for (int64_t r = 0; r < SIZE; r++) {
                    const int64_t y = down * TILE + r - SHIFT;
                    if (y < 0 || y >= g.height) continue;
                    const S* row = images + (n * g.channels + c) * plane + y * g.width;
                    gather(row, plane, g.channels - c, g.width, band + r * pixels + SHIFT);
                }
                S* here = to + (n * high + down) * wide * across + c;
                for (int64_t right = 0; right < wide; right++)
                    transform<M, SIZE>(band + right * TILE, pixels, here + right * across, apart(tiles(g), across));
            }
}

// A kernel [outputs][channels][3][3] to points, for W∗a; or for Wᵀ∗δ, with both sides swapped and half a turn.
template <typename S>
void transform_kernel(const S* kernel, S* points, const Geometry& g, bool swapped, int64_t threads) {
    typedef typename Simd<S>::Vector V;
    constexpr int64_t LANES = Simd<S>::LANES, WIDTH = Simd<S>::WIDTH, CHUNK = 8;
    const int64_t to = swapped ? g.channels : g.outputs, from = swapped ? g.outputs : g.channels;
    const int64_t to_stride = swapped ? TAPS : g.channels * TAPS, from_stride = swapped ? g.channels * TAPS : TAPS;
    const int64_t across = rounded(to, PADDING);
#pragma omp parallel for num_threads(threads) collapse(2)
    for (int64_t k = 0; k < across; k += LANES)
        for (int64_t first = 0; first < from; first += CHUNK) {
            const int64_t panel = k / WIDTH * WIDTH, width = std::min(WIDTH, across - panel);
            const int64_t count = std::min(CHUNK, from - first);
            const S* here = kernel + k * to_stride + first * from_stride;
            S* there = points + POINTS * apart(from, panel) + first * width + k - panel;
            V taps[CHUNK][TAPS];
            for (int64_t c = 0; c < count; c++) gather(here + c * from_stride, to_stride, to - k, TAPS, taps[c]);
            for (int64_t c = 0; c < count; c++) {
                if (swapped) std::reverse(taps[c], taps[c] + TAPS);
                transform<KERNEL, 3>(taps[c], 3, there + c * width, apart(from, width));
            }
        }
}

template <typename S>
struct Factors {
    const S *left, *right;
};

// to[r·width + n] = Σ over `count` pairs of factors and i < depth of left[r·row + i·step]·right[i·across + n].
template <typename S>
struct Product {
    const Factors<S>* factors;
    int64_t count, depth, row, step, across, width;
};

// R rows and N vectors of it, where left and right begin with these offsets.
template <int R, int N, typename S>
void multiply(const Product<S>& of, int64_t left, int64_t right, S* to) {
    typedef typename Simd<S>::Vector V;
    constexpr int64_t LANES = Simd<S>::LANES;
    V sum[R][N] = {};
    for (int64_t f = 0; f < of.count; f++)
        for (int64_t i = 0; i < of.depth; i++) {
            const S* x = of.factors[f].left + left + i * of.step;
            const S* y = of.factors[f].right + right + i * of.across;
            V here[N];
#pragma GCC unroll 4
            for (int n = 0; n < N; n++) here[n] = load<V>(y + n * LANES);
#pragma GCC unroll 6
            for (int r = 0; r < R; r++)
#pragma GCC unroll 4
                for (int n = 0; n < N; n++) sum[r][n] += x[r * of.row] * here[n];
        }
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) store(to + r * of.width + n * LANES, sum[r][n]);
}

// Any number of rows, by blocks of at most R.
template <int R, int N, typename S>
void multiply_rows(const Product<S>& of, int64_t left, int64_t right, S* to, int64_t rows) {
    for (; rows >= R; rows -= R, left += R * of.row, to += R * of.width) multiply<R, N>(of, left, right, to);
    if constexpr (R > 1)
        if (rows) multiply_rows<R - 1, N>(of, left, right, to, rows);
}

// Any number of vectors up to N.
template <int N, typename S>
void multiply_panel(const Product<S>& of, int64_t left, int64_t right, S* to, int64_t rows) {
    if (of.width == N * Simd<S>::LANES) return multiply_rows<ROWS, N>(of, left, right, to, rows);
    if constexpr (N > 1) multiply_panel<N - 1>(of, left, right, to, rows);
}

// z = Σ over `count` pairs of transformed images `left` and kernels `right`.
template <typename S>
void convolve(const Factors<S>* pairs, int64_t count, S* z, const Geometry& g, int64_t threads) {
    typedef typename Simd<S>::Vector V;
    constexpr int64_t LANES = Simd<S>::LANES, WIDTH = Simd<S>::WIDTH;
    const int64_t all = tiles(g), high = tiles(g.height), wide = tiles(g.width);
    const int64_t from = rounded(g.channels, PADDING), across = rounded(g.outputs, PADDING);
    const int64_t block = evenly(all, BLOCK, rounded(across, WIDTH) / WIDTH, threads);
#pragma omp parallel for num_threads(threads) collapse(2)
    for (int64_t panel = 0; panel < across; panel += WIDTH)
        for (int64_t first = 0; first < all; first += block) {
            const int64_t width = std::min(WIDTH, across - panel), rows = std::min(block, all - first);
            S* points = scratch<S>(POINTS * rows * width + TILE * TILE * rows * LANES);
            V* band = reinterpret_cast<V*>(points + POINTS * rows * width);
            const Product<S> product = {pairs, count, g.channels, from, 1, width, width};
            for (int64_t p = 0; p < POINTS; p++)
                multiply_panel<PANEL>(product, p * apart(all, from) + first * from,
                                      POINTS * apart(g.channels, panel) + p * apart(g.channels, width),
                                      points + p * rows * width, rows);
            for (int64_t k = 0; k < width; k += LANES)
                for (int64_t row = 0, run; row < rows; row += run) {
                    const int64_t tile = first + row, x = tile % wide * TILE, y = tile / wide % high * TILE;
                    run = std::min(rows - row, wide - tile % wide);
                    for (int64_t i = 0; i < run; i++)
                        transposed<GRAD_OUTPUT, TILE>(points + (row + i) * width + k, rows * width, band + i * TILE,
                                                      run * TILE);
                    S* here = z + ((tile / (high * wide) * g.outputs + panel + k) * g.height + y) * g.width + x;
                    for (int64_t i = 0; i < std::min(TILE, g.height - y); i++)
                        scatter(band + i * run * TILE, here + i * g.width, g.height * g.width, g.outputs - panel - k,
                                std::min(run * TILE, g.width - x));
                }
        }
}

// G = Σ over tiles of transformed output gradients `left` and images `right`.
template <typename S>
void gradient(const Factors<S>& factors, S* kernel, const Geometry& g, int64_t threads) {
    typedef typename Simd<S>::Vector V;
    constexpr int64_t LANES = Simd<S>::LANES, WIDTH = Simd<S>::WIDTH;
    const int64_t all = tiles(g), from = rounded(g.channels, PADDING), to = rounded(g.outputs, PADDING);
    const int64_t block = evenly(g.outputs, BLOCK, rounded(from, WIDTH) / WIDTH, threads);
#pragma omp parallel for num_threads(threads) collapse(2)
    for (int64_t panel = 0; panel < from; panel += WIDTH)
        for (int64_t first = 0; first < g.outputs; first += block) {
            const int64_t width = std::min(WIDTH, from - panel), rows = std::min(block, g.outputs - first);
            S* points = scratch<S>(POINTS * rows * width);
            const Product<S> product = {&factors, 1, all, 1, to, from, width};
            for (int64_t p = 0; p < POINTS; p++)
                multiply_panel<PANEL>(product, p * apart(all, to) + first, p * apart(all, from) + panel,
                                      points + p * rows * width, rows);
            for (int64_t row = 0; row < rows; row++)
                for (int64_t c = 0; c < width; c += LANES) {
                    V taps[TAPS];
                    transposed<KERNEL, 3>(points + row * width + c, rows * width, taps, 3);
                    S* here = kernel + ((first + row) * g.channels + panel + c) * TAPS;
                    scatter<S>(taps, here, TAPS, g.channels - panel - c, TAPS);
                }
        }
}

}  // namespace

#define DEFINE(S, SUFFIX)                                                                                              \
    extern "C" void data_##SUFFIX(const S* a, S* to, const Geometry* g, int64_t threads) {                             \
        transform_images<DATA, 6>(a, to, *g, threads);                                                                 \
    }                                                                                                                  \
    extern "C" void slope_##SUFFIX(const S* d, S* to, const Geometry* g, int64_t threads) {                            \
        transform_images<GRAD_OUTPUT, 4>(d, to, *g, threads);                                                          \
    }                                                                                                                  \
    extern "C" void kernel_##SUFFIX(const S* w, S* to, const Geometry* g, int64_t transposed, int64_t threads) {       \
        transform_kernel(w, to, *g, transposed, threads);                                                              \
    }                                                                                                                  \
    extern "C" void convolve_##SUFFIX(const S* w, const S* a, const S* v, const S* b, S* z, const Geometry* g,         \
                                      int64_t threads) {                                                               \
        const Factors<S> pairs[] = {{a, w}, {b, v}};                                                                   \
        convolve(pairs, v ? 2 : 1, z, *g, threads);                                                                    \
    }                                                                                                                  \
    extern "C" void gradient_##SUFFIX(const S* d, const S* a, S* w, const Geometry* g, int64_t threads) {              \
        gradient<S>({d, a}, w, *g, threads);                                                                           \
    }

DEFINE(float, f32)
DEFINE(double, f64)

// What this build was made from (builds.py).
extern "C" {
extern const char made_from[];
const char made_from[] = "made from " CHECKSUM;
}
