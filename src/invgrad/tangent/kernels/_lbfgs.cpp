// The memory of L-BFGS for many trials: a trial's newest pair is taken in, and the two loops of its recursion run, before
// the next trial's turn, so that its pairs are read from main memory once.
//
// Between two pairs only q and a sum stay: q moves along one pair while its product with the next pair is summed. Every
// sum is taken in the same order whatever the other trials and the number of threads.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

// The same as in lbfgs.py, field by field. Pairs are [trials][pairs][size], their curvatures ⟨s, y⟩
// [trials][pairs]; `count` are the pairs that each trial has ever accepted.
extern "C" struct Memory {
    int64_t trials, pairs, size, threads;
    double floor;
    void *steps, *changes, *curvatures, *scale;
    int64_t* count;
    void* previous;
    const void *gradient, *step;
    const bool* which;
    void* direction;
};

namespace {

template <typename S>
struct Trial {
    typedef S Vector __attribute__((vector_size(VECTOR_BYTES)));
    static constexpr int64_t LANES = VECTOR_BYTES / sizeof(S), SUMS = 4;  // as many as need not wait for each other

    const Memory& m;
    const S *gradient, *step;
    S *previous, *steps, *changes, *curvatures, *scale, *q;
    int64_t& count;

    Trial(const Memory& m, int64_t number)
        : m(m),
          gradient(static_cast<const S*>(m.gradient) + number * m.size),
          step(static_cast<const S*>(m.step) + number * m.size),
          previous(static_cast<S*>(m.previous) + number * m.size),
          steps(static_cast<S*>(m.steps) + number * m.pairs * m.size),
          changes(static_cast<S*>(m.changes) + number * m.pairs * m.size),
          curvatures(static_cast<S*>(m.curvatures) + number * m.pairs),
          scale(static_cast<S*>(m.scale) + number),
          q(static_cast<S*>(m.direction) + number * m.size),
          count(m.count[number]) {}

    void accept_pair() const {
        S* change = q;  // for now
        for (int64_t i = 0; i < m.size; i++) change[i] = gradient[i] - previous[i];
        std::copy(gradient, gradient + m.size, previous);
        const S curvature = product(change, step);
        if (!(curvature > S(m.floor))) return;
        count++;
        std::copy(step, step + m.size, steps + slot(0) * m.size);
        std::copy(change, change + m.size, changes + slot(0) * m.size);
        curvatures[slot(0)] = curvature;
        *scale = curvature / product(change, change);
    }

    void two_loops() const {
        const int64_t pairs = std::min(count, m.pairs);
        std::vector<S> factors(pairs);
        for (int64_t i = 0; i < m.size; i++) q[i] = -gradient[i];
        S along = pairs ? product(q, steps + slot(0) * m.size) : S(0);
        for (int64_t age = 0; age < pairs; age++) {
            const S* next = age + 1 < pairs ? steps + slot(age + 1) * m.size : q;
            factors[age] = along / curvatures[slot(age)];
            along = move(-factors[age], changes + slot(age) * m.size, next);
        }
        for (int64_t i = 0; i < m.size; i++) q[i] *= *scale;
        along = pairs ? product(q, changes + slot(pairs - 1) * m.size) : S(0);
        for (int64_t age = pairs; age-- > 0;) {
            const S* next = age ? changes + slot(age - 1) * m.size : q;
            along = move(factors[age] - along / curvatures[slot(age)], steps + slot(age) * m.size, next);
        }
    }

   private:
    // Where the pair of this age is, 0 for the newest: older ones lie behind it, since memory is read fastest upwards.
    int64_t slot(int64_t age) const { return (m.pairs - count % m.pairs + age) % m.pairs; }

    // q += factor · pair; returns ⟨q, next⟩.
    S move(S factor, const S* pair, const S* next) const {
        return sum([&](int64_t i, int64_t some) {
            const Vector moved = load(q + i, some) + factor * load(pair + i, some);
            std::memcpy(q + i, &moved, some * sizeof(S));
            return moved * load(next + i, some);
        });
    }

    S product(const S* one, const S* other) const {
        return sum([&](int64_t i, int64_t some) { return load(one + i, some) * load(other + i, some); });
    }

    // Sum `term(i, some)`, of `some` numbers from the i-th on.
    template <typename F>
    S sum(F term) const {
        Vector sums[SUMS] = {};
        int64_t i = 0;
        for (; i + SUMS * LANES <= m.size; i += SUMS * LANES)
#pragma GCC unroll 4
            for (int64_t part = 0; part < SUMS; part++) sums[part] += term(i + part * LANES, LANES);
        for (; i < m.size; i += LANES) sums[0] += term(i, std::min(LANES, m.size - i));
        const Vector all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        S total = 0;
        for (int64_t lane = 0; lane < LANES; lane++) total += all[lane];
        return total;
    }

    static Vector load(const S* from, int64_t some) {
        Vector found{};
        std::memcpy(&found, from, some * sizeof(S));
        return found;
    }
};

template <typename S>
void directions(const Memory& m) {
#pragma omp parallel for schedule(dynamic) num_threads(std::min(m.threads, m.trials))
    for (int64_t number = 0; number < m.trials; number++) {
        if (!m.which[number]) continue;
        const Trial<S> trial(m, number);
        trial.accept_pair();
        trial.two_loops();
    }
}

}  // namespace

extern "C" void direction_f32(const Memory* memory) { directions<float>(*memory); }
extern "C" void direction_f64(const Memory* memory) { directions<double>(*memory); }

// What this build was made from (builds.py).
extern "C" {
extern const char made_from[];
const char made_from[] = "made from " CHECKSUM;
}
