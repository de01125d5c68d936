// A small network's attack step as one program of layers, for one block of trials after another.
//
// A block is as many trials as a vector of the processor has lanes, and all that a step of a block needs stays in the
// cache; a lane computes what it would compute alone, in the same order, so a result depends neither on the other
// trials nor on the number of threads. The program, made by program.py, lists the layers and where each value lies in
// a block's memory; a layer that changes its input number by number works in place. A block takes the four passes of
// passes.py one after the other: forward, backward with G, the distance, whose derivative v = αT + γG overwrites G, and
// the tangents of the first two; only inner products of whole parameter tensors enter the distance. All products with
// kernels, be they the network's or a lane's own, are one loop over rows of neighbouring numbers (`correlate`), and G is
// another (`correlate_pixels`), each with as many sums as the registers hold. Values are
// [images][rows][columns][channels] with a border of zeros, kernels [rows][columns][inputs][outputs].
//
// A trial's images may be spread over several neighbouring lanes; then G is summed over these. What each of these lanes
// has one of is a slot.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

// The processor's vector type, and the number of sums that stay in its registers.
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define SUMS 24
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define SUMS 12
#else
#define VECTOR_BYTES 16
#define SUMS 12
#endif

// The same as in program.py, field by field.
extern "C" {

enum Kind : int64_t { CONVOLUTION, LINEAR, BATCH_NORM, SIGMOID, RELU, ADD, MAX_POOL, AVERAGE_POOL };
enum Distance : int64_t { COSINE, LAYERWISE_COSINE, SQUARED_EUCLIDEAN };
enum Buffer { VALUE, GRAD, TANGENT, GRAD_TANGENT };

// A value: its shape, the border above and to the left of it, its rows and columns with the border, where its four
// buffers begin, whether it depends on the parameters, and whether its derivatives are read though it does not.
struct Value {
    int64_t channels, height, width, top, left, high, wide, at[4], moves, rests;
};

// A layer: its inputs (`other` is the second one of a sum) and output, whether δ is added to what other layers wrote
// there, its window, stride and padding (of pooling also: what the divisor counts), the parameter tensors that it has
// (-1 for none), and where its constants begin: the kernel for z = W∗a, that for Wᵀ∗δ, and numbers for each channel.
struct Layer {
    int64_t kind, input, other, output, adds, adds_other, rows, columns, down, right, above, before, with_padding,
        divisor, weight, bias, kernel, transposed, channel;
};

struct Program {
    const Value* values;
    const Layer* layers;
    const int64_t* parameters;  // where the elements of each parameter tensor begin, and where the last one ends
    const void* constants;
    int64_t value_count, layer_count, parameter_count, activations, transposed, classes;
};

// What a call reads and writes. A target has [elements][trials] for each block of trials.
struct Batch {
    int64_t trials, images, spread, distance, threads;
    double total_variation;
    const void *pixels, *expected, *target, *target_squares, *weights, *chosen;
    void *grad_pixels, *grad_expected, *objective, *matching, *memory;
};
}

namespace {

template <typename S>
struct Lanes {
    typedef S Vector __attribute__((vector_size(VECTOR_BYTES)));
    typedef std::conditional_t<sizeof(S) == 4, int32_t, int64_t> Integer;
    typedef Integer Mask __attribute__((vector_size(VECTOR_BYTES)));
    static constexpr int64_t COUNT = VECTOR_BYTES / sizeof(S);
};

template <typename V>
V in_all_lanes(const V& value) {
    return value;
}
template <typename V, typename S>
std::enable_if_t<std::is_arithmetic_v<S>, V> in_all_lanes(S value) {
    return value - V{};  // a plain broadcast, while adding zeros would turn −0 to 0
}

// e^x to the last digits: the remainder of x/ln 2 by a polynomial (Cephes), the rest through the exponent's bits.
Lanes<float>::Vector exponential(Lanes<float>::Vector x) {
    typedef Lanes<float>::Vector V;
    const V top = V{} + 88.f, low = V{} - 87.f;
    x = x > top ? top : x;
    x = x < low ? low : x;
    const V whole = (x * 1.44269504088896341f + 12582912.f) - 12582912.f;
    x -= whole * 0.693359375f;
    x -= whole * -2.12194440e-4f;
    V y = V{} + 1.9875691500e-4f;
    for (float factor : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        y = y * x + factor;
    y = y * x * x + x + 1.f;
    const Lanes<float>::Mask exponent = (__builtin_convertvector(whole, Lanes<float>::Mask) + 127) << 23;
    return y * (V)exponent;
}

Lanes<double>::Vector exponential(Lanes<double>::Vector x) {
    for (int64_t i = 0; i < Lanes<double>::COUNT; i++) x[i] = std::exp(x[i]);
    return x;
}

// A row of products: `count` pixels `step` apart, each with `rows` runs of `inner` neighbouring inputs, `row` apart,
// and as many kernel rows of `across` outputs, of which `channels` are wanted. The results are `out_step` apart.
struct Row {
    int64_t count, step, rows, row, inner, across, channels, out_step;
};

template <typename V, typename W, int PIXELS, int CHANNELS>
void correlate(const Row& r, const V* inputs, const W* kernel, V* outputs, bool adds) {
    V sum[PIXELS][CHANNELS];
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; c++) sum[p][c] = adds ? outputs[p * r.out_step + c] : V{};
    for (int64_t row = 0; row < r.rows; row++) {
        const V* a = inputs + row * r.row;
        for (int64_t j = 0; j < r.inner; j++, kernel += r.across) {
            V here[PIXELS];
#pragma GCC unroll 8
            for (int p = 0; p < PIXELS; p++) here[p] = a[p * r.step + j];
#pragma GCC unroll 8
            for (int c = 0; c < CHANNELS; c++) {
                const V w = in_all_lanes<V>(kernel[c]);
#pragma GCC unroll 8
                for (int p = 0; p < PIXELS; p++) sum[p][c] += here[p] * w;
            }
        }
    }
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; c++) outputs[p * r.out_step + c] = sum[p][c];
}

// Sums over all pixels of an image: those of INPUTS neighbouring inputs times CHANNELS neighbouring channels of δ.
struct Image {
    int64_t height, width, input_row, input_step, grad_row, grad_step, across;
};

template <typename V, int INPUTS, int CHANNELS>
void correlate_pixels(const Image& m, const V* inputs, const V* grads, V* gradient, bool adds) {
    V sum[INPUTS][CHANNELS];
#pragma GCC unroll 8
    for (int n = 0; n < INPUTS; n++)
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; c++) sum[n][c] = adds ? gradient[n * m.across + c] : V{};
    for (int64_t y = 0; y < m.height; y++) {
        const V *a = inputs + y * m.input_row, *d = grads + y * m.grad_row;
        for (int64_t x = 0; x < m.width; x++, a += m.input_step, d += m.grad_step) {
            V here[INPUTS];
#pragma GCC unroll 8
            for (int n = 0; n < INPUTS; n++) here[n] = a[n];
#pragma GCC unroll 8
            for (int c = 0; c < CHANNELS; c++) {
                const V grad = d[c];
#pragma GCC unroll 8
                for (int n = 0; n < INPUTS; n++) sum[n][c] += here[n] * grad;
            }
        }
    }
#pragma GCC unroll 8
    for (int n = 0; n < INPUTS; n++)
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; c++) gradient[n * m.across + c] = sum[n][c];
}

// Tiles of at most MOST × MOST_CHANNELS sums, each with a function compiled for it.
constexpr int MOST = 8, MOST_CHANNELS = 8;
constexpr bool fits(int pixels, int channels) { return pixels * channels <= SUMS; }

template <typename V, typename W>
struct Functions {
    typedef void (*Rows)(const Row&, const V*, const W*, V*, bool);
    typedef void (*Pixels)(const Image&, const V*, const V*, V*, bool);
    Rows rows[MOST * MOST_CHANNELS];
    Pixels pixels[MOST * MOST_CHANNELS];

    constexpr Functions() : Functions(std::make_integer_sequence<int, MOST * MOST_CHANNELS>()) {}
    template <int... I>
    constexpr Functions(std::integer_sequence<int, I...>)
        : rows{rows_of<I / MOST_CHANNELS + 1, I % MOST_CHANNELS + 1>()...},
          pixels{pixels_of<I / MOST_CHANNELS + 1, I % MOST_CHANNELS + 1>()...} {}

    template <int P, int C>
    static constexpr Rows rows_of() {
        if constexpr (fits(P, C)) return correlate<V, W, P, C>;
        return nullptr;
    }
    template <int P, int C>
    static constexpr Pixels pixels_of() {
        if constexpr (fits(P, C) && std::is_same_v<V, W>) return correlate_pixels<V, P, C>;
        return nullptr;
    }
};
template <typename V, typename W>
constexpr Functions<V, W> FUNCTIONS;

// Call `f(first, size)` for parts of nearly the same size, at most `most`.
template <typename F>
void in_parts(int64_t total, int64_t most, F f) {
    const int64_t parts = (total + most - 1) / most;
    for (int64_t part = 0, first = 0; part < parts; part++) {
        const int64_t size = (total - first + parts - part - 1) / (parts - part);
        f(first, size);
        first += size;
    }
}

// The tile sizes that need the fewest cycles: two sums a cycle, two loads a cycle, four cycles for a sum.
struct Tile {
    int64_t pixels, channels;
};

Tile best_tile(int64_t pixels, int64_t channels) {
    Tile best{};
    double least = std::numeric_limits<double>::infinity();
    for (int64_t p = 1; p <= MOST; p++)
        for (int64_t c = 1; c <= MOST_CHANNELS; c++) {
            const double across = std::max<int64_t>(1, (pixels + p - 1) / p), along = (channels + c - 1) / c;
            const double some = pixels / across, few = channels / along;
            const double cycles = across * along * (std::max({some * few / 2, 0.6 * (some + few), 4.}) + 0.1);
            if (fits(p, c) && cycles < least) least = cycles, best = {p, c};
        }
    return best;
}

template <typename V, typename W>
void correlate_row(const Row& r, Tile tile, const V* inputs, const W* kernel, V* outputs, bool adds) {
    in_parts(r.channels, tile.channels, [&](int64_t c, int64_t few) {
        in_parts(r.count, tile.pixels, [&](int64_t p, int64_t some) {
            const auto function = FUNCTIONS<V, W>.rows[(some - 1) * MOST_CHANNELS + few - 1];
            function(r, inputs + p * r.step, kernel + c, outputs + p * r.out_step + c, adds);
        });
    });
}

// The part of a kernel's taps that meet pixels of the same remainder, of the position divided by the stride.
struct Taps {
    int64_t first, count, place;  // the first tap, the number of taps, and the output that the last one meets
    Taps(int64_t remainder, int64_t padding, int64_t stride, int64_t taps)
        : first((remainder + padding) % stride),
          count(std::max<int64_t>(0, (taps - first + stride - 1) / stride)),
          place((remainder + padding - first) / stride - (count - 1)) {}
};

template <typename S>
class Block {
    typedef typename Lanes<S>::Vector V;
    static constexpr int64_t LANES = Lanes<S>::COUNT;

   public:
    Block(const Program& program, const Batch& batch, V* memory)
        : p(program),
          b(batch),
          constants(static_cast<const S*>(program.constants)),
          slots((batch.images + batch.spread - 1) / batch.spread),
          at_once(LANES / batch.spread),
          elements(program.parameters[program.parameter_count]),
          memory(memory),
          gradient(memory + slots * program.activations),
          expanded(gradient + elements),
          turned(expanded + elements),
          numbers(slots * LANES) {
        for (int64_t i = 0; i < p.value_count; i++) clear(p.values[i]);
    }

    static int64_t vectors(const Program& program, int64_t images, int64_t spread) {
        const int64_t slots = (images + spread - 1) / spread;
        return slots * program.activations + 2 * program.parameters[program.parameter_count] + program.transposed;
    }

    void run(int64_t number) {
        first = number * at_once;
        trials = std::min(at_once, b.trials - first);
        find_images();
        read_images();
        read_target();
        for (int64_t i = 0; i < p.layer_count; i++) forward(p.layers[i]);
        begin_backward();
        for (int64_t i = p.layer_count; i-- > 0;) backward(p.layers[i]);
        sum_over_lanes(gradient, elements);
        turn_to_direction();
        for (int64_t i = 0; i < p.layer_count; i++) tangent_forward(p.layers[i]);
        begin_tangent_backward();
        for (int64_t i = p.layer_count; i-- > 0;) tangent_backward(p.layers[i]);
        const V prior = b.total_variation ? add_total_variation() : V{};
        for (int64_t trial = first; trial < first + trials; trial++)
            static_cast<S*>(b.objective)[trial] =
                static_cast<const S*>(b.matching)[trial] + prior[(trial - first) * b.spread];
        write_images();
    }

   private:
    const Program& p;
    const Batch& b;
    const S* constants;
    const int64_t slots, at_once, elements;
    V* memory;
    V *gradient, *expanded, *turned;
    const V* target = nullptr;
    V scale{};  // of each trial's δ
    std::vector<int64_t> numbers;
    int64_t first = 0, trials = 0;

    // Where things are ---------------------------------------------------------------------------------------------

    V* buffer(int64_t value, Buffer which) const { return memory + p.values[value].at[which] * slots; }

    static int64_t place(const Value& v, int64_t image, int64_t y, int64_t x) {
        return ((image * v.high + v.top + y) * v.wide + v.left + x) * v.channels;
    }

    const Value& in(const Layer& s) const { return p.values[s.input]; }

    const Value& out(const Layer& s) const { return p.values[s.output]; }

    // G of a parameter tensor, later v.
    V* at(int64_t parameter) const { return gradient + p.parameters[parameter]; }

    // Put zeros where nothing is written later: on a value's borders, and into the derivatives of one that rests.
    void clear(const Value& v) const {
        for (int64_t which : {VALUE, GRAD, TANGENT, GRAD_TANGENT}) {
            V* here = memory + v.at[which] * slots;
            const bool all = v.rests && (which == GRAD || which == TANGENT);
            const auto zero = [&](int64_t from, int64_t to) {
                std::memset(static_cast<void*>(here + from), 0, (to - from) * sizeof(V));
            };
            int64_t before = 0;
            for (int64_t image = 0; image < slots && !all; image++)
                for (int64_t y = 0; y < v.height; y++) {
                    zero(before, place(v, image, y, 0));
                    before = place(v, image, y, v.width);
                }
            zero(before, slots * v.high * v.wide * v.channels);
        }
    }

    // Call `f(place, channel)` for every number of a value without its border.
    template <typename F>
    void for_each(const Value& v, F f) const {
        for (int64_t image = 0; image < slots; image++)
            for (int64_t y = 0; y < v.height; y++) {
                int64_t i = place(v, image, y, 0);
                for (int64_t x = 0; x < v.width; x++)
                    for (int64_t c = 0; c < v.channels; c++) f(i++, c);
            }
    }

    static void put(V& to, V value, bool adds) { to = adds ? to + value : value; }

    // Trials in and out --------------------------------------------------------------------------------------------

    // Find the images of the lanes: their numbers in the batch, slot by slot, -1 for a lane that has none.
    void find_images() {
        for (int64_t i = 0; i < slots * LANES; i++) {
            const int64_t lane = i % LANES, image = i / LANES * b.spread + lane % b.spread;
            const bool there = lane < trials * b.spread && image < b.images;
            numbers[i] = there ? (first + lane / b.spread) * b.images + image : -1;
        }
    }

    // Call `f(lane, number)` for every lane that has an image in this slot.
    template <typename F>
    void for_each_lane(int64_t slot, F f) const {
        for (int64_t lane = 0; lane < LANES; lane++)
            if (numbers[slot * LANES + lane] >= 0) f(lane, numbers[slot * LANES + lane]);
    }

    // Call `f(slot, place, offset, count)` for pieces of at most as many neighbouring pixels as there are lanes: their
    // place in the block, and their offset in an image of the batch.
    template <typename F>
    void for_each_piece(F f) const {
        const Value& v = p.values[0];
        for (int64_t slot = 0; slot < slots; slot++)
            for (int64_t y = 0; y < v.height; y++)
                for (int64_t c = 0; c < v.channels; c++)
                    for (int64_t x = 0; x < v.width; x += LANES)
                        f(slot, place(v, slot, y, x) + c, (c * v.height + y) * v.width + x,
                          std::min(LANES, v.width - x));
    }

    // Copy as many numbers as a vector has, in the usual case by one instruction.
    static void copy(void* to, const void* from, int64_t count) {
        if (count == LANES)
            std::memcpy(to, from, sizeof(V));
        else
            std::memcpy(to, from, count * sizeof(S));
    }

    // Exchange rows and columns: of every two rows STEP apart the halves of pieces of twice that length, then of longer
    // ones.
    template <int64_t STEP = 1>
    static void turn_square(V (&rows)[LANES]) {
        typename Lanes<S>::Mask low{}, high{};  // of two rows, what comes to the first and to the second
#pragma GCC unroll 16
        for (int64_t i = 0; i < LANES; i++) {
            low[i] = i & STEP ? LANES + i - STEP : i;
            high[i] = i & STEP ? LANES + i : i + STEP;
        }
#pragma GCC unroll 16
        for (int64_t i = 0; i < LANES; i++) {
            if (i & STEP) continue;
            const V one = rows[i], other = rows[i + STEP];
            rows[i] = __builtin_shuffle(one, other, low);
            rows[i + STEP] = __builtin_shuffle(one, other, high);
        }
        if constexpr (2 * STEP < LANES) turn_square<2 * STEP>(rows);
    }

    void read_images() const {
        const int64_t channels = p.values[0].channels, size = channels * p.values[0].height * p.values[0].width;
        V *to = buffer(0, VALUE), rows[LANES];
        const S* from = static_cast<const S*>(b.pixels);
        for_each_piece([&](int64_t slot, int64_t place, int64_t offset, int64_t count) {
            std::fill(rows, rows + LANES, V{});
            for_each_lane(slot, [&](int64_t lane, int64_t number) {
                copy(&rows[lane], from + number * size + offset, count);
            });
            turn_square(rows);
            for (int64_t x = 0; x < count; x++) to[place + x * channels] = rows[x];
        });
    }

    void write_images() const {
        const int64_t channels = p.values[0].channels, size = channels * p.values[0].height * p.values[0].width;
        V *from = buffer(0, GRAD_TANGENT), rows[LANES] = {};
        S* to = static_cast<S*>(b.grad_pixels);
        for_each_piece([&](int64_t slot, int64_t place, int64_t offset, int64_t count) {
            for (int64_t x = 0; x < count; x++) rows[x] = from[place + x * channels];
            turn_square(rows);
            for_each_lane(slot, [&](int64_t lane, int64_t number) {
                copy(to + number * size + offset, &rows[lane], count);
            });
        });
    }

    // T of this block: as it is, or each trial's repeated in its lanes.
    void read_target() {
        const S* from = static_cast<const S*>(b.target) + first * elements;
        target = reinterpret_cast<const V*>(from);
        if (trials == LANES) return;
        typename Lanes<S>::Mask trial;
        for (int64_t lane = 0; lane < LANES; lane++) trial[lane] = lane / b.spread;
        for (int64_t e = 0; e < elements; e++, from += trials) {
            V each{};
            std::memcpy(&each, from, trials * sizeof(S));
            expanded[e] = __builtin_shuffle(each, trial);
        }
        target = expanded;
    }

    // Add the gradient of the weighted total variation to that of the images; return it itself.
    V add_total_variation() const {
        const Value& v = p.values[0];
        const V* images = buffer(0, VALUE);
        V *gradient = buffer(0, GRAD_TANGENT), total{};
        const auto pairs = [&](int64_t height, int64_t width, int64_t step) {
            const S factor = S(b.total_variation) / (b.images * v.channels * height * width);
            for (int64_t image = 0; image < slots; image++)
                for (int64_t y = 0; y < height; y++) {
                    const int64_t from = place(v, image, y, 0);
                    V sum{};
                    for (int64_t i = from; i < from + width * v.channels; i++) {
                        const V difference = images[i + step] - images[i];
                        const V slope = difference > V{} ? V{} + factor : difference < V{} ? V{} - factor : difference;
                        gradient[i + step] += slope;
                        gradient[i] -= slope;
                        sum += difference * slope;
                    }
                    total += sum;
                }
        };
        pairs(v.height, v.width - 1, v.channels);
        pairs(v.height - 1, v.width, v.wide * v.channels);
        sum_over_lanes(&total, 1);
        return total;
    }

    // The loss -----------------------------------------------------------------------------------------------------

    const Value& logits() const { return p.values[p.layers[p.layer_count - 1].output]; }

    V* at_logits(Buffer which, int64_t slot) const {
        return buffer(p.layers[p.layer_count - 1].output, which) + place(logits(), slot, 0, 0);
    }

    // 1/n in the lanes that have an image in this slot, else 0.
    V share(int64_t slot) const {
        V found{};
        for_each_lane(slot, [&](int64_t lane, int64_t) { found[lane] = S(1) / b.images; });
        return found;
    }

    // The probabilities take the logits' place; δ = (probabilities − expected)/n, at unit scale where the distance does
    // not depend on that of G.
    void begin_backward() {
        for (int64_t slot = 0; slot < slots; slot++) {
            V *z = at_logits(VALUE, slot), *d = at_logits(GRAD, slot), most = z[0], total{};
            for (int64_t k = 1; k < p.classes; k++) most = z[k] > most ? z[k] : most;
            for (int64_t k = 0; k < p.classes; k++) total += z[k] = exponential(z[k] - most);
            for (int64_t k = 0; k < p.classes; k++) d[k] = z[k] /= total;
            for_each_lane(slot, [&](int64_t lane, int64_t number) {
                const S* expected = static_cast<const S*>(b.expected) + number * p.classes;
                for (int64_t k = 0; k < p.classes; k++) d[k][lane] -= expected[k];
            });
            const V factor = share(slot);
            for (int64_t k = 0; k < p.classes; k++) d[k] *= factor;
        }
        scale = V{} + S(1);
        if (b.distance == COSINE || b.distance == LAYERWISE_COSINE) to_unit_scale();
    }

    // Bring the largest δ of each trial at the logits to [1/2, 1) by a power of two: see scale.py.
    void to_unit_scale() {
        V largest{};
        for (int64_t slot = 0; slot < slots; slot++)
            for (int64_t k = 0; k < p.classes; k++) {
                const V d = at_logits(GRAD, slot)[k], size = d < V{} ? -d : d;
                largest = size > largest ? size : largest;
            }
        for (int64_t lane = 0; lane < LANES; lane++) {
            S of_trial = 0;
            for (int64_t i = 0; i < b.spread; i++)
                of_trial = std::max(of_trial, S(largest[lane / b.spread * b.spread + i]));
            int exponent = 0;
            std::frexp(std::max(of_trial, std::numeric_limits<S>::min()), &exponent);
            if (of_trial > 0) scale[lane] = std::ldexp(S(1), -exponent);
        }
        for (int64_t slot = 0; slot < slots; slot++)
            for (int64_t k = 0; k < p.classes; k++) at_logits(GRAD, slot)[k] *= scale;
    }

    // The tangent l of the log-probabilities takes the place of the logits'; δ̇ = probabilities · l / n.
    void begin_tangent_backward() {
        for (int64_t slot = 0; slot < slots; slot++) {
            const V* q = at_logits(VALUE, slot);
            V *l = at_logits(TANGENT, slot), *d = at_logits(GRAD_TANGENT, slot), mean{};
            for (int64_t k = 0; k < p.classes; k++) mean += q[k] * l[k];
            const V factor = scale * share(slot);
            for (int64_t k = 0; k < p.classes; k++) {
                l[k] = (l[k] - mean) * factor;
                d[k] = q[k] * l[k];
            }
            for_each_lane(slot, [&](int64_t lane, int64_t number) {
                S* to = static_cast<S*>(b.grad_expected) + number * p.classes;
                for (int64_t k = 0; k < p.classes; k++) to[k] = -l[k][lane];
            });
        }
    }

    // The distance -------------------------------------------------------------------------------------------------

    // Sum each number over the lanes of each trial; all of them get the sum.
    void sum_over_lanes(V* values, int64_t count) const {
        for (int64_t step = 1; step < b.spread; step *= 2) {
            typename Lanes<S>::Mask partner;
            for (int64_t lane = 0; lane < LANES; lane++) partner[lane] = lane ^ step;
            for (int64_t i = 0; i < count; i++) values[i] += __builtin_shuffle(values[i], partner);
        }
    }

    // Products of one parameter tensor: ⟨G, T⟩, ‖G‖², ‖G − T‖².
    struct Products {
        V inner{}, squares{}, differences{};
        void add(V g, V t) {
            inner += g * t;
            squares += g * g;
            differences += (g - t) * (g - t);
        }
    };

    // In several parts, so that a sum need not wait for the one before it.
    Products products_of(int64_t parameter) const {
        constexpr int64_t PARTS = 4;
        Products parts[PARTS];
        int64_t e = p.parameters[parameter];
        const int64_t end = p.parameters[parameter + 1];
        for (; e + PARTS <= end; e += PARTS)
#pragma GCC unroll 4
            for (int64_t i = 0; i < PARTS; i++) parts[i].add(gradient[e + i], target[e + i]);
        for (; e < end; e++) parts[0].add(gradient[e], target[e]);
        for (int64_t i = 1; i < PARTS; i++) {
            parts[0].inner += parts[i].inner;
            parts[0].squares += parts[i].squares;
            parts[0].differences += parts[i].differences;
        }
        return parts[0];
    }

    // Write the distances, and v in place of G.
    void turn_to_direction() {
        std::vector<Products> products;
        for (int64_t i = 0; i < p.parameter_count; i++) products.push_back(products_of(i));
        std::vector<V> along(p.parameter_count), against(p.parameter_count);
        for (int64_t lane = 0; lane < trials * b.spread; lane++) {
            const int64_t trial = first + lane / b.spread;
            static_cast<S*>(b.matching)[trial] = distance(trial, lane, products, along, against);
        }
        for (int64_t i = 0; i < p.parameter_count; i++)
            for (int64_t e = p.parameters[i]; e < p.parameters[i + 1]; e++)
                gradient[e] = along[i] * target[e] + against[i] * gradient[e];
    }

    // The distance D of a lane; ∂D/∂G is along · T + against · G for every parameter tensor. As in distances.py.
    S distance(int64_t trial, int64_t lane, const std::vector<Products>& products, std::vector<V>& along,
               std::vector<V>& against) const {
        const int64_t count = p.parameter_count;
        const S* targets = static_cast<const S*>(b.target_squares) + trial * count;
        const S* weights = static_cast<const S*>(b.weights) + trial * count;
        const S* chosen = static_cast<const S*>(b.chosen) + trial * count;
        S value = 0, inner = 0, squares = 0, target_squares = 0;
        switch (b.distance) {
            case COSINE: {
                for (int64_t i = 0; i < count; i++) {
                    const S weight = weights[i] * chosen[i];
                    inner += products[i].inner[lane] * weight;
                    squares += products[i].squares[lane] * weight;
                    target_squares += targets[i] * weight;
                }
                const S norms = std::sqrt(squares) * std::sqrt(target_squares);
                for (int64_t i = 0; i < count; i++) {
                    along[i][lane] = -weights[i] * chosen[i] / norms;
                    against[i][lane] = weights[i] * chosen[i] * (inner / norms / squares);
                }
                return 1 - inner / norms;
            }
            case LAYERWISE_COSINE: {
                const S least = S(1e-20);
                for (int64_t i = 0; i < count; i++) {
                    const S square = std::max(products[i].squares[lane], least);
                    const S norms = std::sqrt(square) * std::sqrt(std::max(targets[i], least));
                    const S cosine = products[i].inner[lane] / norms * weights[i];
                    value += (1 - cosine) * chosen[i];
                    along[i][lane] = -weights[i] * chosen[i] / norms;
                    against[i][lane] = products[i].squares[lane] < least ? 0 : cosine * chosen[i] / square;
                }
                return value;
            }
            default:
                for (int64_t i = 0; i < count; i++) {
                    const S weight = weights[i] * chosen[i];
                    value += products[i].differences[lane] * weight;
                    along[i][lane] = -2 * weight;
                    against[i][lane] = 2 * weight;
                }
                return value;
        }
    }

    // The four passes ----------------------------------------------------------------------------------------------

    void forward(const Layer& s) const {
        const V* a = buffer(s.input, VALUE);
        V* z = buffer(s.output, VALUE);
        switch (s.kind) {
            case CONVOLUTION:
            case LINEAR:
                if (s.bias >= 0) for_each(out(s), [=](int64_t i, int64_t c) { z[i] = V{} + constants[s.channel + c]; });
                return convolve(s, a, constants + s.kernel, z, s.bias >= 0);
            case BATCH_NORM:
                return for_each(out(s), [=, n = Norm(*this, s)](int64_t i, int64_t c) {
                    z[i] = a[i] * n.slope[c] + n.offset[c];
                });
            case SIGMOID:
                return for_each(out(s), [=](int64_t i, int64_t) { z[i] = S(1) / (S(1) + exponential(-a[i])); });
            case RELU:
                return for_each(out(s), [=](int64_t i, int64_t) { z[i] = a[i] <= V{} ? V{} : a[i]; });
            case ADD:
                return add(s, VALUE);
            case MAX_POOL:
                return find_largest(s);
            case AVERAGE_POOL:
                return average(s, VALUE);
        }
    }

    // G, and δ at the input unless that does not depend on parameters.
    void backward(const Layer& s) const {
        const V *a = buffer(s.input, VALUE), *z = buffer(s.output, VALUE), *d = buffer(s.output, GRAD);
        V* back = buffer(s.input, GRAD);
        const bool adds = s.adds;
        if (s.kind == CONVOLUTION || s.kind == LINEAR) gradient_of_kernel(s, a, d);
        if (s.kind == BATCH_NORM)
            sum_pixels(out(s), at(s.weight), [=, n = Norm(*this, s)](int64_t i, int64_t c) {
                return d[i] * ((a[i] - n.mean[c]) * n.rate[c]);
            });
        if (s.bias >= 0) sum_pixels(out(s), at(s.bias), [=](int64_t i, int64_t) { return d[i]; });
        if (!p.values[s.output].moves) return;
        if (s.kind == ADD) return distribute(s, GRAD);
        if (!p.values[s.input].moves) return;
        switch (s.kind) {
            case CONVOLUTION:
                return transpose(s, d, constants + s.transposed, back, adds);
            case LINEAR:
                return transpose_linear(s, d, constants + s.kernel, back, adds);
            case BATCH_NORM:
                return for_each(out(s), [=, n = Norm(*this, s)](int64_t i, int64_t c) {
                    put(back[i], d[i] * n.slope[c], adds);
                });
            case SIGMOID:
                return for_each(out(s), [=](int64_t i, int64_t) { put(back[i], d[i] * z[i] * (S(1) - z[i]), adds); });
            case RELU:
                return for_each(out(s), [=](int64_t i, int64_t) { put(back[i], z[i] <= V{} ? V{} : d[i], adds); });
            case MAX_POOL:
                return to_largest(s, GRAD);
            case AVERAGE_POOL:
                return to_averaged(s, GRAD);
        }
    }

    // ż, with ȧ = 0 where the input does not depend on parameters.
    void tangent_forward(const Layer& s) const {
        const V *a = buffer(s.input, VALUE), *z = buffer(s.output, VALUE), *da = buffer(s.input, TANGENT);
        V* dz = buffer(s.output, TANGENT);
        if (!p.values[s.output].moves) return;
        switch (s.kind) {
            case CONVOLUTION:
            case LINEAR:
                if (s.bias >= 0) for_each(out(s), [=, v = at(s.bias)](int64_t i, int64_t c) { dz[i] = v[c]; });
                convolve(s, a, at(s.weight), dz, s.bias >= 0);
                if (p.values[s.input].moves) convolve(s, da, constants + s.kernel, dz, true);
                return;
            case BATCH_NORM:
                return for_each(
                    out(s), [=, n = Norm(*this, s), scale = at(s.weight), shift = at(s.bias)](int64_t i, int64_t c) {
                        dz[i] = da[i] * n.slope[c] + ((a[i] - n.mean[c]) * n.rate[c] * scale[c] + shift[c]);
                    });
            case SIGMOID:
                return for_each(out(s), [=](int64_t i, int64_t) { dz[i] = da[i] * z[i] * (S(1) - z[i]); });
            case RELU:
                return for_each(out(s), [=](int64_t i, int64_t) { dz[i] = z[i] <= V{} ? V{} : da[i]; });
            case ADD:
                return add(s, TANGENT);
            case MAX_POOL:
                return take_largest(s);
            case AVERAGE_POOL:
                return average(s, TANGENT);
        }
    }

    // δ̇ at the input.
    void tangent_backward(const Layer& s) const {
        const V *z = buffer(s.output, VALUE), *d = buffer(s.output, GRAD), *dz = buffer(s.output, TANGENT);
        const V* dd = buffer(s.output, GRAD_TANGENT);
        V* back = buffer(s.input, GRAD_TANGENT);
        const bool adds = s.adds;
        switch (s.kind) {
            case CONVOLUTION:
                transpose(s, dd, constants + s.transposed, back, adds);
                turn(s, at(s.weight));
                return transpose(s, d, turned, back, true);
            case LINEAR:
                transpose_linear(s, dd, constants + s.kernel, back, adds);
                return transpose_linear(s, d, at(s.weight), back, true);
            case BATCH_NORM:
                return for_each(out(s), [=, n = Norm(*this, s), scale = at(s.weight)](int64_t i, int64_t c) {
                    put(back[i], dd[i] * n.slope[c] + d[i] * (scale[c] * n.rate[c]), adds);
                });
            case SIGMOID:
                return for_each(out(s), [=](int64_t i, int64_t) {
                    put(back[i], dd[i] * z[i] * (S(1) - z[i]) + (S(1) - S(2) * z[i]) * dz[i] * d[i], adds);
                });
            case RELU:
                return for_each(out(s), [=](int64_t i, int64_t) { put(back[i], z[i] <= V{} ? V{} : dd[i], adds); });
            case ADD:
                return distribute(s, GRAD_TANGENT);
            case MAX_POOL:
                return to_largest(s, GRAD_TANGENT);
            case AVERAGE_POOL:
                return to_averaged(s, GRAD_TANGENT);
        }
    }

    // Convolutions and linear layers -------------------------------------------------------------------------------

    // z = W∗a.
    template <typename W>
    void convolve(const Layer& s, const V* inputs, const W* kernel, V* outputs, bool adds) const {
        const Value &a = in(s), &z = out(s);
        Row row;
        row.count = z.width, row.step = s.right * a.channels, row.out_step = z.channels;
        row.rows = s.rows, row.row = a.wide * a.channels, row.inner = s.columns * a.channels;
        row.channels = row.across = z.channels;
        const Tile tile = best_tile(z.width, z.channels);
        for (int64_t image = 0; image < slots; image++)
            for (int64_t y = 0; y < z.height; y++)
                correlate_row(row, tile, inputs + place(a, image, y * s.down - s.above, -s.before), kernel,
                              outputs + place(z, image, y, 0), adds);
    }

    // δ_in = Wᵀ∗δ, as a convolution for each remainder of the pixels' position divided by the stride.
    template <typename W>
    void transpose(const Layer& s, const V* grads, const W* kernel, V* inputs, bool adds) const {
        const Value &a = in(s), &z = out(s);
        for (int64_t top = 0; top < s.down; top++)
            for (int64_t left = 0; left < s.right; left++) {
                const Taps up(top, s.above, s.down, s.rows), across(left, s.before, s.right, s.columns);
                Row row;
                row.count = (a.width - left + s.right - 1) / s.right;
                row.step = z.channels, row.out_step = s.right * a.channels;
                row.rows = up.count, row.row = z.wide * z.channels, row.inner = across.count * z.channels;
                row.channels = row.across = a.channels;
                const Tile tile = best_tile(row.count, a.channels);
                for (int64_t image = 0; image < slots; image++)
                    for (int64_t y = top, from = up.place; y < a.height; y += s.down, from++)
                        correlate_row(row, tile, grads + place(z, image, from, across.place), kernel,
                                      inputs + place(a, image, y, left), adds);
                kernel += row.rows * row.inner * row.across;
            }
    }

    // δ_in = Wᵀ·δ of a linear layer, whose kernel covers the whole input.
    template <typename W>
    void transpose_linear(const Layer& s, const V* grads, const W* kernel, V* inputs, bool adds) const {
        const Value &a = in(s), &z = out(s);
        for (int64_t image = 0; image < slots; image++) {
            const V* d = grads + place(z, image, 0, 0);
            const W* w = kernel;
            for (int64_t y = 0; y < a.height; y++) {
                V* to = inputs + place(a, image, y, 0);
                for (int64_t j = 0; j < a.width * a.channels; j++, w += z.channels) {
                    V sum = adds ? to[j] : V{};
                    for (int64_t k = 0; k < z.channels; k++) sum += in_all_lanes<V>(w[k]) * d[k];
                    to[j] = sum;
                }
            }
        }
    }

    // Arrange a kernel for `transpose`, as program.py does the network's own.
    void turn(const Layer& s, const V* kernel) const {
        const int64_t inputs = in(s).channels, outputs = out(s).channels;
        V* to = turned;
        for (int64_t top = 0; top < s.down; top++)
            for (int64_t left = 0; left < s.right; left++) {
                const Taps up(top, s.above, s.down, s.rows), across(left, s.before, s.right, s.columns);
                for (int64_t i = up.count; i-- > 0;)
                    for (int64_t j = across.count; j-- > 0; to += inputs * outputs) {
                        const int64_t tap = (up.first + i * s.down) * s.columns + across.first + j * s.right;
                        const V* from = kernel + tap * inputs * outputs;
                        for (int64_t c = 0; c < inputs; c++)
                            for (int64_t k = 0; k < outputs; k++) to[k * inputs + c] = from[c * outputs + k];
                    }
            }
    }

    // G = δ∗a.
    void gradient_of_kernel(const Layer& s, const V* inputs, const V* grads) const {
        const Value &a = in(s), &z = out(s);
        Image shape;
        shape.height = z.height, shape.width = z.width, shape.across = z.channels;
        shape.input_row = s.down * a.wide * a.channels, shape.input_step = s.right * a.channels;
        shape.grad_row = z.wide * z.channels, shape.grad_step = z.channels;
        const int64_t inner = s.columns * a.channels;
        const Tile tile = best_tile(inner, z.channels);
        in_parts(z.channels, tile.channels, [&](int64_t c, int64_t few) {
            for (int64_t r = 0; r < s.rows; r++)
                in_parts(inner, tile.pixels, [&](int64_t j, int64_t some) {
                    const auto function = FUNCTIONS<V, V>.pixels[(some - 1) * MOST_CHANNELS + few - 1];
                    V* to = at(s.weight) + (r * inner + j) * z.channels + c;
                    for (int64_t image = 0; image < slots; image++)
                        function(shape, inputs + place(a, image, r - s.above, -s.before) + j,
                                 grads + place(z, image, 0, 0) + c, to, image > 0);
                });
        });
    }

    // Other layers -------------------------------------------------------------------------------------------------

    // The constants of a batch norm, [channels] each: z = slope · a + offset, and â = (a − mean) · rate.
    struct Norm {
        const S *mean, *rate, *slope, *offset;
        Norm(const Block& block, const Layer& s) {
            const int64_t channels = block.out(s).channels;
            mean = block.constants + s.channel;
            rate = mean + channels;
            slope = rate + channels;
            offset = slope + channels;
        }
    };

    // Sum `f(place, channel)` over the pixels of all images, row by row, for every channel.
    template <typename F>
    void sum_pixels(const Value& v, V* sums, F f) const {
        in_parts(v.channels, MOST_CHANNELS, [&](int64_t first, int64_t few) {
            V total[MOST_CHANNELS] = {};
            for (int64_t image = 0; image < slots; image++)
                for (int64_t y = 0; y < v.height; y++) {
                    V sum[MOST_CHANNELS] = {};
                    for (int64_t x = 0, i = place(v, image, y, 0) + first; x < v.width; x++, i += v.channels)
                        for (int64_t c = 0; c < few; c++) sum[c] += f(i + c, first + c);
                    for (int64_t c = 0; c < few; c++) total[c] += sum[c];
                }
            std::copy(total, total + few, sums + first);
        });
    }

    void add(const Layer& s, Buffer which) const {
        const V *x = buffer(s.input, which), *y = buffer(s.other, which);
        V* z = buffer(s.output, which);
        for_each(out(s), [=](int64_t i, int64_t) { z[i] = x[i] + y[i]; });
    }

    // δ of a sum is that of both summands.
    void distribute(const Layer& s, Buffer which) const {
        const V* d = buffer(s.output, which);
        const auto give = [&](int64_t value, bool adds) {
            V* to = buffer(value, which);
            if (to == d || (which == GRAD && !p.values[value].moves)) return;
            for_each(out(s), [=](int64_t i, int64_t) { put(to[i], d[i], adds); });
        };
        give(s.input, s.adds);
        give(s.other, s.adds_other);
    }

    // The places of a pooling's inputs for one number of its output.
    struct Window {
        int64_t first, row, column, rows, columns;
        template <typename F>
        void for_each(F f) const {
            for (int64_t y = 0; y < rows; y++)
                for (int64_t x = 0; x < columns; x++) f(first + y * row + x * column);
        }
    };

    // The part of a window along one side: its first pixel in the image, the number of these, and with the padding.
    struct Side {
        int64_t first, inside, counted;
        Side(int64_t start, int64_t size, int64_t window, int64_t padding)
            : first(std::max<int64_t>(start, 0)),
              inside(std::min(start + window, size) - first),
              counted(std::min(start + window, size + padding) - start) {}
    };

    // Call `f(output place, window, factor of an average)` for every number of a pooling's output.
    template <typename F>
    void for_each_window(const Layer& s, F f) const {
        const Value &a = in(s), &z = out(s);
        for (int64_t image = 0; image < slots; image++)
            for (int64_t y = 0; y < z.height; y++)
                for (int64_t x = 0; x < z.width; x++) {
                    const Side rows(y * s.down - s.above, a.height, s.rows, s.above);
                    const Side columns(x * s.right - s.before, a.width, s.columns, s.before);
                    const int64_t inside = rows.inside * columns.inside, counted = rows.counted * columns.counted;
                    const S factor = S(1) / (s.divisor ? s.divisor : s.with_padding ? counted : inside);
                    Window window{place(a, image, rows.first, columns.first), a.wide * a.channels, a.channels,
                                  rows.inside, columns.inside};
                    for (int64_t c = 0; c < z.channels; c++, window.first++)
                        f(place(z, image, y, x) + c, window, factor);
                }
    }

    void find_largest(const Layer& s) const {
        const V* a = buffer(s.input, VALUE);
        V* z = buffer(s.output, VALUE);
        for_each_window(s, [=](int64_t i, const Window& window, S) {
            V most = a[window.first];
            window.for_each([&](int64_t j) { most = a[j] <= most ? most : a[j]; });
            z[i] = most;
        });
    }

    // Call `f(output place, input place, mask)` where an input is the first of the largest in its window.
    template <typename F>
    void for_each_largest(const Layer& s, F f) const {
        const V *a = buffer(s.input, VALUE), *z = buffer(s.output, VALUE);
        for_each_window(s, [=](int64_t i, const Window& window, S) {
            typename Lanes<S>::Mask open = z[i] == z[i];
            window.for_each([&](int64_t j) {
                const typename Lanes<S>::Mask found = (a[j] == z[i]) & open;
                open &= ~found;
                f(i, j, found);
            });
        });
    }

    void take_largest(const Layer& s) const {
        const V* from = buffer(s.input, TANGENT);
        V* to = buffer(s.output, TANGENT);
        for_each(out(s), [=](int64_t i, int64_t) { to[i] = V{}; });
        for_each_largest(s, [=](int64_t i, int64_t j, auto found) { to[i] = found ? from[j] : to[i]; });
    }

    void to_largest(const Layer& s, Buffer which) const {
        const V* from = buffer(s.output, which);
        V* to = buffer(s.input, which);
        if (!s.adds) for_each(in(s), [=](int64_t i, int64_t) { to[i] = V{}; });
        for_each_largest(s, [=](int64_t i, int64_t j, auto found) { to[j] += found ? from[i] : V{}; });
    }

    void average(const Layer& s, Buffer which) const {
        const V* from = buffer(s.input, which);
        V* to = buffer(s.output, which);
        for_each_window(s, [=](int64_t i, const Window& window, S factor) {
            V sum{};
            window.for_each([&](int64_t j) { sum += from[j]; });
            to[i] = sum * factor;
        });
    }

    void to_averaged(const Layer& s, Buffer which) const {
        const V* from = buffer(s.output, which);
        V* to = buffer(s.input, which);
        if (!s.adds) for_each(in(s), [=](int64_t i, int64_t) { to[i] = V{}; });
        for_each_window(s, [=](int64_t i, const Window& window, S factor) {
            window.for_each([&](int64_t j) { to[j] += from[i] * factor; });
        });
    }
};

template <typename S>
void run(const Program& program, const Batch& batch) {
    typedef typename Lanes<S>::Vector V;
    const uintptr_t memory = (reinterpret_cast<uintptr_t>(batch.memory) + VECTOR_BYTES - 1) & -VECTOR_BYTES;
    const int64_t each = Block<S>::vectors(program, batch.images, batch.spread);
    const int64_t at_once = Lanes<S>::COUNT / batch.spread, blocks = (batch.trials + at_once - 1) / at_once;
#pragma omp parallel num_threads(std::min(batch.threads, blocks))
    {
        Block<S> block(program, batch, reinterpret_cast<V*>(memory) + omp_get_thread_num() * each);
#pragma omp for schedule(dynamic)
        for (int64_t number = 0; number < blocks; number++) block.run(number);
    }
}

}  // namespace

#define DEFINE(S, SUFFIX)                                                                                    \
    extern "C" void run_##SUFFIX(const Program* program, const Batch* batch) { run<S>(*program, *batch); }   \
    extern "C" int64_t lanes_##SUFFIX() { return Lanes<S>::COUNT; }                                          \
    extern "C" int64_t memory_##SUFFIX(const Program* program, int64_t images, int64_t spread) {             \
        return Block<S>::vectors(*program, images, spread) * VECTOR_BYTES;                                   \
    }

DEFINE(float, f32)
DEFINE(double, f64)

// What this build was made from (builds.py).
extern "C" {
extern const char made_from[];
const char made_from[] = "made from " CHECKSUM;
}
