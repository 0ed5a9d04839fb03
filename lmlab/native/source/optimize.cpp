// The update of a training step: the global gradient norm; then clipping, Adam and Muon in one call.
#include <algorithm>
#include <cmath>
#include <vector>

#include "adamw.h"
#include "engine.h"
#include "muon.h"
#include "weights.h"

namespace {

constexpr int64_t PIECE = 16384;  // maximum numbers of a unit of work
constexpr double ADAM_COST = 40;  // of updating a number, in multiplications and additions of a matrix product in the same time

// A range of numbers, or of a table the whole rows listed in `rows`.
struct Piece {
    int entry;  // index of Adam's entry
    const float* gradient;
    int64_t first, count;
    const int32_t* rows;  // null: numbers from `first` on
};

// The outputs of one of the engine's matrices that lie in a range of numbers; without a matrix if the range is in none.
struct Outputs {
    Matrix* matrix = nullptr;
    int first = 0, last = 0;
};

class Update {
public:
    Update(Engine* engine, const AdamEntry* adam, int adams, const MuonEntry* muon, int muons)
        : engine_(engine), adam_(adam, adam + adams), muon_(muon, muon + muons) {
        if (!engine->weights) engine->weights = std::make_shared<Weights>(*engine);
        matrices_of_engine_ = engine->weights->matrices();
        for (int entry = 0; entry < adams; entry++) {
            if (adam_[entry].table_width) continue;
            // Matrices are divided at panel boundaries, so that each piece is packed as soon as it is updated.
            const Outputs outputs = outputs_in(adam_[entry].numbers, adam_[entry].count);
            const int64_t panel = outputs.matrix ? int64_t(outputs.matrix->inputs) * TILE_COLUMNS : 1;
            cut(entry, adam_[entry].gradient, adam_[entry].count, std::max<int64_t>(1, PIECE / panel) * panel);
        }
        plain_ = pieces_.size();
        for (const MuonEntry& entry : muon_) cut(-1, entry.gradient, int64_t(entry.rows) * entry.columns, PIECE);
        fixed_ = pieces_.size();
        share_out();
    }

    // Returns the current gradient norm.
    double measure() {
        find_rows();
        return norm_ = std::sqrt(all_squares());
    }

    // Updates with the gradient of the last measurement.
    void take(double limit, double share) {
        float clip = limit > 0 ? float(std::min(1.0, limit / (norm_ + 1e-6))) : 1.0f;
        factors_.clear();
        for (const AdamEntry& entry : adam_) {
            *entry.step += 1;
            factors_.emplace_back(entry, entry.lr * share, *entry.step);
        }
        // Matrices that aren't packed below are packed by the next pass.
        for (const AdamEntry& entry : adam_) stale(outputs_in(entry.numbers, entry.count));
        for (const MuonEntry& entry : muon_) stale(outputs_in(entry.numbers, int64_t(entry.rows) * entry.columns));
        engine_->pool.run([&](int thread) {
            const WithoutSubnormals none;
            for (int matrix : matrices_[thread]) {
                const MuonEntry& entry = muon_[matrix];
                workspaces_[thread].update(entry, entry.lr * share, clip);
                pack(outputs_in(entry.numbers, int64_t(entry.rows) * entry.columns));
            }
            for (int index : stretches_[thread]) {
                const Piece& piece = pieces_[index];
                update(piece, clip);
                pack(outputs_in(adam_[piece.entry].numbers + piece.first, piece.count));
            }
            size_t tables = pieces_.size() - fixed_, threads = engine_->pool.threads();
            for (size_t piece = tables * thread / threads; piece < tables * (thread + 1) / threads; piece++)
                update(pieces_[fixed_ + piece], clip);
        });
    }

private:
    void cut(int entry, const float* gradient, int64_t count, int64_t piece) {
        for (int64_t first = 0; first < count; first += piece)
            pieces_.push_back({entry, gradient, first, std::min(piece, count - first), nullptr});
    }

    Outputs outputs_in(const float* numbers, int64_t count) const {
        for (Matrix* matrix : matrices_of_engine_) {
            const int64_t first = numbers - matrix->weight;
            if (numbers >= matrix->weight && first < int64_t(matrix->outputs) * matrix->inputs)
                return {matrix, int(first / matrix->inputs), int((first + count) / matrix->inputs)};
        }
        return {};
    }
    // Whether a matrix is packed part by part as it is updated: only if each part consists of whole panels.
    bool in_panels(const Matrix* matrix) const {
        const auto fits = [&](const float* numbers, int64_t count) {
            const Outputs outputs = outputs_in(numbers, count);
            return outputs.matrix != matrix || matrix->whole_panels(outputs.first, outputs.last);
        };
        return std::all_of(muon_.begin(), muon_.end(),
            [&](const MuonEntry& entry) { return fits(entry.numbers, int64_t(entry.rows) * entry.columns); });
    }
    void stale(const Outputs& outputs) const {
        if (!outputs.matrix) return;
        outputs.matrix->forward_packed = outputs.matrix->backward_packed = in_panels(outputs.matrix);
    }
    void pack(const Outputs& outputs) const {
        if (outputs.matrix && outputs.matrix->forward_packed) outputs.matrix->pack_part(outputs.first, outputs.last);
    }

    // Assigns the work in descending order of cost, each to the thread with the least so far: the same for every step.
    void share_out() {
        struct Work {
            double cost;
            int matrix, piece;
        };
        std::vector<Work> works;
        for (int matrix = 0; matrix < int(muon_.size()); matrix++) works.push_back({muon_[matrix].cost(), matrix, -1});
        for (int piece = 0; piece < int(plain_); piece++) works.push_back({ADAM_COST * pieces_[piece].count, -1, piece});
        std::stable_sort(works.begin(), works.end(), [](const Work& one, const Work& other) { return one.cost > other.cost; });
        int threads = engine_->pool.threads();
        std::vector<double> loads(threads);
        matrices_.resize(threads);
        stretches_.resize(threads);
        workspaces_.resize(threads);
        for (const Work& work : works) {
            int thread = int(std::min_element(loads.begin(), loads.end()) - loads.begin());
            loads[thread] += work.cost;
            if (work.matrix < 0) {
                stretches_[thread].push_back(work.piece);
            } else {
                matrices_[thread].push_back(work.matrix);
                workspaces_[thread].reserve(muon_[work.matrix]);
            }
        }
    }

    // Collects the pieces of the tables' rows that have a gradient in this step.
    void find_rows() {
        pieces_.resize(fixed_);
        for (int entry = 0; entry < int(adam_.size()); entry++) {
            if (!adam_[entry].table_width) continue;
            const std::vector<int32_t>& rows = touched(adam_[entry]);
            int64_t most = std::max<int64_t>(1, PIECE / adam_[entry].table_width);
            for (int64_t first = 0; first < int64_t(rows.size()); first += most)
                pieces_.push_back(
                    {entry, adam_[entry].gradient, 0, std::min(most, int64_t(rows.size()) - first), rows.data() + first});
        }
    }

    const std::vector<int32_t>& touched(const AdamEntry& table) const {
        int index = 0;
        while (engine_->parameters.ngrams[index] != table.numbers) index++;
        return engine_->touched[index];
    }

    // Pieces don't depend on the number of threads, and their sums are added in order, so neither does the result.
    double all_squares() {
        sums_.resize(pieces_.size());
        engine_->pool.run([&](int thread) {
            size_t count = pieces_.size(), threads = engine_->pool.threads();
            for (size_t index = count * thread / threads; index < count * (thread + 1) / threads; index++) {
                const Piece& piece = pieces_[index];
                sums_[index] = 0;
                if (!piece.rows) sums_[index] = squares(piece.gradient + piece.first, piece.count);
                for (int64_t row = 0; piece.rows && row < piece.count; row++) {
                    int64_t width = adam_[piece.entry].table_width;
                    sums_[index] += squares(piece.gradient + piece.rows[row] * width, width);
                }
            }
        });
        double total = 0;
        for (double sum : sums_) total += sum;
        return total;
    }

    void update(const Piece& piece, float clip) {
        const AdamEntry& entry = adam_[piece.entry];
        const AdamFactors& factors = factors_[piece.entry];
        if (!piece.rows) return adam(entry, factors, clip, piece.first, piece.count);
        for (int64_t row = 0; row < piece.count; row++) {
            int64_t first = int64_t(piece.rows[row]) * entry.table_width;
            const float* gradient = entry.gradient + first;
            // A row that was looked up may still have a zero gradient.
            if (std::any_of(gradient, gradient + entry.table_width, [](float number) { return number != 0; }))
                adam(entry, factors, clip, first, entry.table_width);
        }
    }

    Engine* engine_;
    std::vector<Matrix*> matrices_of_engine_;
    std::vector<AdamEntry> adam_;
    std::vector<MuonEntry> muon_;
    std::vector<Piece> pieces_;  // Adam's, then Muon's (for the norm only), then this step's rows of the tables
    size_t plain_, fixed_;       // where the first two end
    std::vector<double> sums_;
    std::vector<AdamFactors> factors_;
    // By thread.
    std::vector<std::vector<int>> matrices_, stretches_;
    std::vector<MuonWorkspace> workspaces_;
    double norm_ = 0;
};

}  // namespace

// REFUSED where a table isn't one of the engine's model.
EXPORT int lmlab_open_update(
    Engine* engine, const AdamEntry* adam, int32_t adams, const MuonEntry* muon, int32_t muons, Update** opened) {
    return guarded([&] {
        const auto& tables = engine->parameters.ngrams;
        for (int entry = 0; entry < adams; entry++)
            if (adam[entry].table_width && std::find(tables, tables + MOST_NGRAMS, adam[entry].numbers) == tables + MOST_NGRAMS)
                throw Refused("a table that is updated row by row is none of the engine's n-gram tables");
        *opened = new Update(engine, adam, adams, muon, muons);
    });
}

EXPORT int lmlab_gradient_norm(Update* update, double* norm) {
    return guarded([&] { *norm = update->measure(); });
}

EXPORT int lmlab_take_update(Update* update, double limit, double share) {
    return guarded([&] { update->take(limit, share); });
}

EXPORT int lmlab_close_update(Update* update) {
    return guarded([&] { delete update; });
}
