// Trains one multilayer perceptron by minibatch steps, and differentiates trained ones by their inputs.
//
// All that one small network needs (weights, gradient, moments, the activations of a batch) fits the second-level
// cache of one core. So each core trains one network at a time and leaves it only every few epochs, instead of
// streaming the stacked arrays of all networks through memory at every operation.
//
// Rows are padded with zeros to whole vectors, so that no loop has a tail. A layer's weight is kept as [n_in][n_out],
// the transpose of PyTorch's: forward and gradient then run along it.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <vector>

#if defined(__AVX512F__)
constexpr int LANES = 16, TILE_ROWS = 6, TILE_VECTORS = 4;
#elif defined(__AVX__)
constexpr int LANES = 8, TILE_ROWS = 6, TILE_VECTORS = 2;
#else
constexpr int LANES = 4, TILE_ROWS = 4, TILE_VECTORS = 4;
#endif

using Vector = float __attribute__((vector_size(4 * LANES)));
using Integers = int32_t __attribute__((vector_size(4 * LANES)));

static Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
static void store(float* to, Vector values) { *reinterpret_cast<Vector*>(to) = values; }
static Vector all(float value) { return value - Vector{}; }
// NaN, the mark of divergence, passes through all three.
static Vector at_least(Vector x, float bound) { return x < bound ? all(bound) : x; }
static Vector at_most(Vector x, float bound) { return x > bound ? all(bound) : x; }
static Vector magnitude(Vector x) { return x < 0 ? -x : x; }
static long padded(long n) { return (n + LANES - 1) / LANES * LANES; }

// Memory of floats, aligned for vectors and zero at first.
constexpr std::align_val_t ALIGNED{64};
struct Array {
    float* data;
    explicit Array(size_t n) : data(static_cast<float*>(::operator new(4 * n, ALIGNED))) {
        std::fill_n(data, n, 0.0f);
    }
    Array(Array&& other) noexcept : data(other.data) { other.data = nullptr; }
    Array(const Array&) = delete;
    ~Array() { ::operator delete(data, ALIGNED); }
    operator float*() const { return data; }
};

// ---- Matrix products: out[r][c] = start[c] + sum over k of left(r, k) right[k][c] ----------------------------------

// Entry (r, k) of the left factor is data[r * row + k * column]: either orientation, no copy.
struct Left {
    const float* data;
    long row, column;
};

template <int ROWS, int VECTORS>
static void tile(Left left, const float* right, long width, long depth, const float* start, float* out) {
    Vector sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++) sum[r][v] = start ? load(start + v * LANES) : Vector{};
    for (long k = 0; k < depth; k++) {
        const float* line = right + k * width;
        const float* entry = left.data + k * left.column;
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const Vector factor = all(entry[r * left.row]);
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; v++) sum[r][v] += factor * load(line + v * LANES);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; v++) store(out + r * width + v * LANES, sum[r][v]);
}

template <int VECTORS>
static void columns(Left left, long rows, const float* right, long width, long depth, const float* start, float* out) {
    long r = 0;
    const auto at = [&](long row) { return Left{left.data + row * left.row, left.row, left.column}; };
    for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
        tile<TILE_ROWS, VECTORS>(at(r), right, width, depth, start, out + r * width);
    for (; r + 2 <= rows; r += 2) tile<2, VECTORS>(at(r), right, width, depth, start, out + r * width);
    if (r < rows) tile<1, VECTORS>(at(r), right, width, depth, start, out + r * width);
}

static void multiply(Left left, long rows, const float* right, long width, long depth, const float* start, float* out) {
    long c = 0;
    const auto from = [&](long column) { return start ? start + column : nullptr; };
    for (; c + TILE_VECTORS * LANES <= width; c += TILE_VECTORS * LANES)
        columns<TILE_VECTORS>(left, rows, right + c, width, depth, from(c), out + c);
    for (; c < width; c += LANES) columns<1>(left, rows, right + c, width, depth, from(c), out + c);
}

// ---- Activations: each turns z into psi(z) and psi'(z) ------------------------------------------------------------

// e^x - 1 with full relative accuracy: x = n log 2 + r, and a polynomial in r (Cephes, expf).
static Vector exp_minus_1(Vector x) {
    x = at_most(at_least(x, -87.0f), 88.0f);
    const Vector shift = all(12582912.0f);  // adding and subtracting it rounds to the nearest integer
    const Vector n = (x * 1.44269504f + shift) - shift;
    const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Vector p = all(1.9875691500e-4f);
    for (float coefficient : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        p = p * r + coefficient;
    const Vector scale = reinterpret_cast<Vector>((__builtin_convertvector(n, Integers) + 127) << 23);
    return scale * (p * r * r + r) + (scale - 1.0f);
}

static Vector exponential(Vector x) { return exp_minus_1(x) + 1.0f; }

struct Tanh {
    void operator()(Vector z, Vector& value, Vector& slope) const {
        const Vector t = exp_minus_1(2.0f * at_most(magnitude(z), 10.0f));
        const Vector y = t / (t + 2.0f);
        value = z < 0 ? -y : y;
        slope = 1.0f - value * value;
    }
};
struct Rectifier {  // ReLU, leaky ReLU and PReLU: a line of its own slope below 0
    Vector below;
    void operator()(Vector z, Vector& value, Vector& slope) const {
        slope = z > 0 ? all(1.0f) : below;
        value = z * slope;
    }
};
struct Abs {
    void operator()(Vector z, Vector& value, Vector& slope) const {
        slope = z > 0 ? all(1.0f) : z < 0 ? all(-1.0f) : Vector{};
        value = z * slope;
    }
};
struct Elu {
    void operator()(Vector z, Vector& value, Vector& slope) const {
        const Vector below = exp_minus_1(at_most(z, 0.0f));
        value = z > 0 ? z : below;
        slope = z > 0 ? all(1.0f) : below + 1.0f;
    }
};
struct Gelu {  // z Phi(z), with Phi from formula 7.1.26 of Abramowitz and Stegun
    void operator()(Vector z, Vector& value, Vector& slope) const {
        const Vector x = magnitude(z) * 0.70710678f;
        const Vector bell = exponential(-x * x);
        const Vector t = 1.0f / (1.0f + 0.3275911f * x);
        Vector p = all(1.061405429f);
        for (float coefficient : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) p = p * t + coefficient;
        const Vector tail = 0.5f * p * t * bell;  // 1 - Phi(|z|)
        const Vector phi = z > 0 ? 1.0f - tail : tail;
        value = z * phi;
        slope = phi + z * bell * 0.39894228f;
    }
};
struct Silu {
    void operator()(Vector z, Vector& value, Vector& slope) const {
        const Vector s = 1.0f / (1.0f + exponential(-z));
        value = z * s;
        slope = s + value * (1.0f - s);
    }
};
struct Softsign {
    void operator()(Vector z, Vector& value, Vector& slope) const {
        const Vector s = 1.0f / (1.0f + magnitude(z));
        value = z * s;
        slope = s * s;
    }
};
struct Sigmoid {
    void operator()(Vector z, Vector& value, Vector& slope) const {
        value = 1.0f / (1.0f + exponential(-z));
        slope = value * (1.0f - value);
    }
};

template <class Psi>
static void apply(Psi psi, long n, float* z, float* slopes) {
    for (long i = 0; i < n; i += LANES) {
        Vector value, slope;
        psi(load(z + i), value, slope);
        store(z + i, value);
        store(slopes + i, slope);
    }
}

// The order of the names in helpers/kernel.py.
enum Activation { TANH, RELU, LEAKY_RELU, PRELU, ELU, GELU, SILU, SOFTSIGN, SIGMOID, ABS };
enum Loss { CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SQUARED_ERROR, MARGIN };
enum Optimiser { ADAM, SGD };
enum Output { LINEAR, ACTIVATED, NEGATED };  // the logits are z, psi(z) or -psi(z)

static void activate(int name, float learned, long n, float* z, float* slopes) {
    switch (name) {
        case TANH: return apply(Tanh{}, n, z, slopes);
        case RELU: return apply(Rectifier{all(0.0f)}, n, z, slopes);
        case LEAKY_RELU: return apply(Rectifier{all(0.01f)}, n, z, slopes);
        case PRELU: return apply(Rectifier{all(learned)}, n, z, slopes);
        case ABS: return apply(Abs{}, n, z, slopes);
        case ELU: return apply(Elu{}, n, z, slopes);
        case GELU: return apply(Gelu{}, n, z, slopes);
        case SILU: return apply(Silu{}, n, z, slopes);
        case SOFTSIGN: return apply(Softsign{}, n, z, slopes);
        case SIGMOID: return apply(Sigmoid{}, n, z, slopes);
    }
}

// ---- Losses: the sum over the points of a batch; each turns logits into the gradient of the mean --------------------

static double cross_entropy(long points, long n_out, long width, const float* target, float* logits) {
    double total = 0;
    for (long b = 0; b < points; b++, logits += width) {
        const long label = static_cast<long>(target[b]);
        const float largest = *std::max_element(logits, logits + n_out), own = logits[label];
        float sum = 0;
        for (long k = 0; k < n_out; k++) sum += logits[k] = std::exp(logits[k] - largest);
        total += std::log(sum) + largest - own;
        for (long k = 0; k < n_out; k++) logits[k] = (logits[k] / sum - (k == label)) / points;
    }
    return total;
}

static double binary_cross_entropy(long points, long n_out, long width, const float* target, float* logits) {
    double total = 0;
    for (long b = 0; b < points; b++, logits += width, target += n_out)
        for (long k = 0; k < n_out; k++) {
            const float z = logits[k], small = std::exp(-std::fabs(z));  // stays finite for any z
            total += (std::max(z, 0.0f) - z * target[k] + std::log1p(small)) / n_out;
            logits[k] = ((z > 0 ? 1 : small) / (1 + small) - target[k]) / (points * n_out);
        }
    return total;
}

static double squared_error(long points, long n_out, long width, const float* target, float* logits) {
    double total = 0;
    for (long b = 0; b < points; b++, logits += width, target += n_out)
        for (long k = 0; k < n_out; k++) {
            const float error = logits[k] - target[k];
            total += error * error / n_out;
            logits[k] = 2 * error / (points * n_out);
        }
    return total;
}

// The largest logit of another class, with its number; minus infinity where there is no other.
static float rival(long n_out, const float* logits, long label, long& number) {
    number = label || n_out == 1 ? 0 : 1;
    if (n_out == 1) return -INFINITY;
    for (long k = 0; k < n_out; k++)
        if (k != label && logits[k] > logits[number]) number = k;
    return logits[number];
}

static double margin(long points, long n_out, long width, const float* target, float* logits) {
    double total = 0;
    for (long b = 0; b < points; b++, logits += width) {
        const long label = static_cast<long>(target[b]);
        long other;
        total += rival(n_out, logits, label, other) - logits[label];
        std::fill_n(logits, n_out, 0.0f);
        logits[other] = 1.0f / points;
        logits[label] = -1.0f / points;
    }
    return total;
}

static double loss_of(int name, long points, long n_out, long width, const float* target, float* logits) {
    switch (name) {
        case CROSS_ENTROPY: return cross_entropy(points, n_out, width, target, logits);
        case BINARY_CROSS_ENTROPY: return binary_cross_entropy(points, n_out, width, target, logits);
        case SQUARED_ERROR: return squared_error(points, n_out, width, target, logits);
        default: return margin(points, n_out, width, target, logits);
    }
}

// ---- The network ---------------------------------------------------------------------------------------------------

struct Layer {
    long n_in, n_out, width;        // width: n_out, padded
    long weight, bias;              // where they begin among the parameters
    Array output, slope, gradient;  // of a batch: psi(z), psi'(z), and the loss's derivative by z
    Array below;                    // min(z, 0), which only PReLU needs
};

struct Protocol {
    int32_t activation, loss, optimiser, output, output_bias;
    float learning_rate, momentum, second_momentum, epsilon, weight_decay;
};

class Network {
    std::vector<Layer> layers;
    Protocol protocol;
    long n_parameters = 0, slopes = 0;
    Array input, transposed;
    Array parameters, gradient, first, second;

    static long largest(long n_layers, const int64_t* sizes) {
        long most = 0;
        for (long l = 0; l < n_layers; l++) most = std::max(most, static_cast<long>(sizes[l + 1] * padded(sizes[l])));
        return most;
    }
    static long count(long n_layers, const int64_t* sizes) {
        long n = 0;
        for (long l = 0; l < n_layers; l++) n += (sizes[l] + 1) * padded(sizes[l + 1]);
        return n + padded(n_layers);  // at most one learned slope for each layer
    }

    // Calls visit(ours, theirs) for every parameter, in PyTorch's order: W [n_out, n_in] and b of each layer, then slopes.
    template <class Visit>
    void each_parameter(Visit visit) const {
        long theirs = 0;
        for (const Layer& layer : layers) {
            for (long o = 0; o < layer.n_out; o++)
                for (long i = 0; i < layer.n_in; i++) visit(layer.weight + i * layer.width + o, theirs++);
            for (long o = 0; o < layer.n_out; o++) visit(layer.bias + o, theirs++);
        }
        for (size_t l = 0; l < layers.size() - (protocol.output == LINEAR); l++) visit(slopes + l, theirs++);
    }

   public:
    Network(Protocol protocol, long n_layers, const int64_t* sizes, long batch)
        : protocol(protocol),
          input(batch * sizes[0]),
          transposed(largest(n_layers, sizes)),
          parameters(count(n_layers, sizes)),
          gradient(count(n_layers, sizes)),
          first(count(n_layers, sizes)),
          second(count(n_layers, sizes)) {
        for (long l = 0; l < n_layers; l++) {
            const long n_in = sizes[l], n_out = sizes[l + 1], width = padded(n_out);
            const long weight = n_parameters, bias = weight + n_in * width;
            const long area = batch * width;
            layers.push_back(Layer{n_in, n_out, width, weight, bias, Array(area), Array(area), Array(area),
                                   Array(protocol.activation == PRELU ? area : 0)});
            n_parameters = bias + width;
        }
        slopes = n_parameters;
        n_parameters += padded(n_layers);
    }

    void read(const float* weights, const float* m, const float* v) {
        each_parameter([&](long ours, long theirs) {
            parameters[ours] = weights[theirs], first[ours] = m[theirs], second[ours] = v[theirs];
        });
    }
    void write(float* weights, float* m, float* v) const {
        each_parameter([&](long ours, long theirs) {
            weights[theirs] = parameters[ours], m[theirs] = first[ours], v[theirs] = second[ours];
        });
    }

    float* point(long b) { return input + b * layers[0].n_in; }

    long n_in() const { return layers[0].n_in; }
    long n_out() const { return layers.back().n_out; }
    long width() const { return layers.back().width; }

    // Takes another network of the same shape.
    void become(int32_t activation, const float* weights) {
        protocol.activation = activation;
        each_parameter([&](long ours, long theirs) { parameters[ours] = weights[theirs]; });
    }

    // Layer l's input, point by point, or transposed.
    Left input_of(size_t l, bool across) const {
        const float* data = l ? layers[l - 1].output : input;
        const long stride = l ? layers[l - 1].width : layers[0].n_in;
        return across ? Left{data, 1, stride} : Left{data, stride, 1};
    }

    // Returns the logits of the batch's points, where the gradient by them is to be left.
    float* forward(long points) {
        const size_t last = layers.size() - 1;
        for (size_t l = 0;; l++) {
            Layer& layer = layers[l];
            float* out = l < last ? layer.output : layer.gradient;
            multiply(input_of(l, false), points, parameters + layer.weight, layer.width, layer.n_in,
                     parameters + layer.bias, out);
            if (l == last && protocol.output == LINEAR) return out;
            const long area = points * layer.width;
            if (protocol.activation == PRELU)
                for (long i = 0; i < area; i += LANES) store(layer.below + i, at_most(load(out + i), 0.0f));
            activate(protocol.activation, parameters[slopes + l], area, out, layer.slope);
            if (l < last) continue;
            if (protocol.output == NEGATED) negate(out, area);
            return out;
        }
    }

    // From the gradient by the logits to that by the last layer's z.
    void through_output(long points) {
        if (protocol.output == LINEAR) return;
        Layer& top = layers.back();
        for (long b = 0; b < points; b++)  // the loss does not look at the padding, where psi may be other than 0
            std::fill(top.gradient + b * top.width + top.n_out, top.gradient + (b + 1) * top.width, 0.0f);
        if (protocol.output == NEGATED) negate(top.gradient, points * top.width);
        through_activation(layers.size() - 1, points);
    }

    // From the gradient by layer l's z to that by its input, rows of padded(n_in).
    void back(size_t l, long points, float* out) {
        const Layer& layer = layers[l];
        const long width = padded(layer.n_in);
        for (long o = 0; o < layer.n_out; o++) {
            float* row = transposed + o * width;
            for (long i = 0; i < layer.n_in; i++) row[i] = parameters[layer.weight + i * layer.width + o];
            std::fill(row + layer.n_in, row + width, 0.0f);
        }
        multiply({layer.gradient, layer.width, 1}, points, transposed, width, layer.n_out, nullptr, out);
    }

    // The loss, summed over the batch's points; leaves the gradient of its mean.
    double differentiate(long points, const float* target) {
        float* logits = forward(points);
        const double total = loss_of(protocol.loss, points, n_out(), width(), target, logits);
        through_output(points);
        const size_t last = layers.size() - 1;
        for (size_t l = last;; l--) {
            Layer& layer = layers[l];
            multiply(input_of(l, true), layer.n_in, layer.gradient, layer.width, points, nullptr,
                     gradient + layer.weight);
            const bool has_bias = l < last || protocol.output_bias;  // without one its gradient is never written: 0
            for (long c = 0; has_bias && c < layer.width; c += LANES) {
                Vector sum{};
                for (long b = 0; b < points; b++) sum += load(layer.gradient + b * layer.width + c);
                store(gradient + layer.bias + c, sum);
            }
            if (!l) return total;
            back(l, points, layers[l - 1].gradient);
            through_activation(l - 1, points);
        }
    }

    // The gradient of each point's own loss by that point, rows of padded(n_in); after `forward`.
    void differentiate_input(long points, const float* target, float* out) {
        Layer& top = layers.back();
        for (long b = 0; b < points; b++)
            loss_of(protocol.loss, 1, top.n_out, top.width, target + b, top.gradient + b * top.width);
        through_output(points);
        for (size_t l = layers.size() - 1; l; l--) {
            back(l, points, layers[l - 1].gradient);
            through_activation(l - 1, points);
        }
        back(0, points, out);
    }

    static void negate(float* values, long n) {
        for (long i = 0; i < n; i += LANES) store(values + i, -load(values + i));
    }

    // Turns a layer's derivative by psi(z) into the one by z.
    void through_activation(size_t l, long points) {
        Layer& layer = layers[l];
        if (protocol.activation == PRELU) gradient[slopes + l] = slope_gradient(layer, points);
        for (long i = 0; i < points * layer.width; i += LANES)
            store(layer.gradient + i, load(layer.gradient + i) * load(layer.slope + i));
    }

    // The derivative by PReLU's slope, given that by psi(z).
    static float slope_gradient(const Layer& layer, long points) {
        Vector sum{};
        for (long i = 0; i < points * layer.width; i += LANES)
            sum += load(layer.gradient + i) * load(layer.below + i);
        float total = 0;
        for (int lane = 0; lane < LANES; lane++) total += sum[lane];
        return total;
    }

    void update(int64_t step) {
        const float rate = protocol.learning_rate, beta = protocol.momentum, gamma = protocol.second_momentum;
        const float decay = protocol.weight_decay, epsilon = protocol.epsilon;
        float *w = parameters, *g = gradient, *m = first, *v = second;
        if (protocol.optimiser == SGD) {
            for (long i = 0; i < n_parameters; i++) {
                m[i] = beta * m[i] + g[i] + decay * w[i];
                w[i] -= rate * m[i];
            }
            return;
        }
        const float pace = rate / (1 - std::pow(static_cast<double>(beta), step));
        const float root = 1 / std::sqrt(1 - std::pow(static_cast<double>(gamma), step));
        for (long i = 0; i < n_parameters; i++) {
            const float d = g[i] + decay * w[i];
            m[i] += (1 - beta) * (d - m[i]);
            v[i] = gamma * v[i] + (1 - gamma) * d * d;
            w[i] -= pace * m[i] / (std::sqrt(v[i]) * root + epsilon);
        }
    }
};

// Trains for n_epochs and returns how many ended with finite losses; at a batch whose loss is not finite it stops before
// the step. `order` holds the order of the points for each epoch; parameters and moments are changed in place.
extern "C" int64_t train_network(const Protocol* protocol, int64_t n_layers, const int64_t* sizes, int64_t n_points,
                                 int64_t n_targets, const float* x, const float* y, int64_t n_epochs,
                                 const int64_t* order, int64_t batch_size, int64_t step, float* weights, float* first,
                                 float* second, float* losses) {
    const long n_in = sizes[0], batch = std::min(batch_size, n_points);
    Network network(*protocol, n_layers, sizes, batch);
    Array target(batch * n_targets);
    network.read(weights, first, second);
    int64_t epoch = 0;
    for (; epoch < n_epochs; epoch++, order += n_points) {
        double total = 0;
        for (int64_t start = 0; start < n_points; start += batch) {
            const long points = std::min<int64_t>(batch, n_points - start);
            for (long b = 0; b < points; b++) {
                const int64_t chosen = order[start + b];
                std::copy_n(x + chosen * n_in, n_in, network.point(b));
                std::copy_n(y + chosen * n_targets, n_targets, target + b * n_targets);
            }
            total += network.differentiate(points, target);
            if (!std::isfinite(total)) goto stop;
            network.update(++step);
        }
        losses[epoch] = total / n_points;
    }
stop:
    network.write(weights, first, second);
    return epoch;
}

// For points of several networks of one shape: the margin of each, its own class's logit less the largest other, and,
// unless `gradients` is null, the gradient of its loss by the point. Network k has the points starts[k] ... starts[k + 1].
extern "C" void differentiate_inputs(int32_t loss, int32_t output, int64_t n_networks, const int32_t* activations, int64_t n_layers,
                                     const int64_t* sizes, int64_t n_parameters, const float* weights,
                                     const int64_t* starts, const float* x, const float* y, float* margins,
                                     float* gradients) {
    constexpr long BATCH = 96;  // a whole number of tiles, and the activations of a batch stay in the cache
    Protocol protocol{PRELU, loss, SGD, output, 1, 0, 0, 0, 0, 0};  // PReLU's network has room for every activation
    Network network(protocol, n_layers, sizes, BATCH);
    const long n_in = network.n_in(), row = padded(n_in);
    Array slab(BATCH * row);
    for (int64_t k = 0; k < n_networks; k++) {
        if (starts[k] == starts[k + 1]) continue;
        network.become(activations[k], weights + k * n_parameters);
        for (int64_t start = starts[k]; start < starts[k + 1]; start += BATCH) {
            const long points = std::min<int64_t>(BATCH, starts[k + 1] - start);
            std::copy_n(x + start * n_in, points * n_in, network.point(0));
            const float* logits = network.forward(points);
            for (long b = 0; b < points; b++, logits += network.width()) {
                const long label = static_cast<long>(y[start + b]);
                long other;
                margins[start + b] = logits[label] - rival(network.n_out(), logits, label, other);
            }
            if (!gradients) continue;
            network.differentiate_input(points, y + start, slab);
            for (long b = 0; b < points; b++) std::copy_n(slab + b * row, n_in, gradients + (start + b) * n_in);
        }
    }
}
