// SPDX-License-Identifier: Apache-2.0
#include "run/conditions.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>

#include <fmt/format.h>

#include "metrics/column_means.hpp"
#include "metrics/perturbation.hpp"
#include "split/groups.hpp"

namespace cdrzoo {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string name_of(const Dataset& dataset, std::int32_t drug) {
  const auto d = static_cast<std::size_t>(drug);
  return dataset.drugs.name[d].empty() ? dataset.drugs.id[d] : dataset.drugs.name[d];
}

/// "1 uM" for -6.
std::string dose_words(double log10_molar) {
  for (const auto& [unit, exponent] : {std::pair("M", 0), std::pair("mM", -3), std::pair("uM", -6)}) {
    if (log10_molar >= exponent - 1e-6) return fmt::format("{:.3g} {}", std::pow(10.0, log10_molar - exponent), unit);
  }
  return fmt::format("{:.3g} nM", std::pow(10.0, log10_molar + 9));
}

/// Rounded once: the file holds float32, and scores are computed from what it holds.
void append(std::vector<float>& to, const std::vector<double>& row) {
  for (const double v : row) to.push_back(static_cast<float>(v));
}

std::vector<double> doubles(const float* row, std::int64_t n) { return {row, row + n}; }

/// Fills the columns of a table that the data set and the fold alone decide.
class Truth {
 public:
  explicit Truth(const Dataset& dataset)
      : dataset_(dataset), p_(*dataset.perturbations), members_(group_members(dataset)) {
    table_.genes = p_.profile.cols;
    table_.deg_columns = p_.deg.cols > 0 ? p_.deg.cols : std::min<std::int64_t>(table_.genes, kDegSizes[2]);
  }

  void add(const ProfileRows& part) {
    train_on(part.trained);
    std::map<std::int32_t, std::vector<std::size_t>> members;  // condition -> positions in the part
    for (std::size_t i = 0; i < part.row.size(); ++i)
      members[p_.condition[static_cast<std::size_t>(part.row[i])]].push_back(i);
    for (auto& [condition, positions] : members) add_condition(part, condition, std::move(positions));
  }

  [[nodiscard]] ConditionTable take_table() {
    name_conditions();
    return std::move(table_);
  }
  [[nodiscard]] std::vector<ConditionRows> take_rows() { return std::move(rows_); }

 private:
  void add_condition(const ProfileRows& part, std::int32_t condition, std::vector<std::size_t> positions) {
    const auto first = static_cast<std::size_t>(part.row[positions.front()]);
    const std::int32_t context = p_.context[first];
    table_.part.push_back(part.part);
    table_.condition.push_back(condition);
    table_.context.push_back(p_.contexts[static_cast<std::size_t>(context)]);
    table_.perturbation.push_back(name_of(dataset_, p_.drug[first]));
    table_.second.push_back(p_.drug_b[first] < 0 ? "" : name_of(dataset_, p_.drug_b[first]));
    const auto control = static_cast<std::size_t>(p_.control[first]);
    table_.domain.push_back(dataset_.domains.name[static_cast<std::size_t>(dataset_.samples.domain[control])]);
    table_.dose_log10_molar.push_back(static_cast<double>(p_.dose_log10_molar[first]));
    table_.time_h.push_back(static_cast<double>(p_.time_h[first]));
    const auto [a, b] = members_.of_row[first];
    table_.singles_seen.push_back(b < 0 ? -1
                                        : static_cast<std::int32_t>(trained_alone_.count(a) + trained_alone_.count(b)));
    table_.control_row.push_back(control_row(context));
    table_.train_row.push_back(train_row(context));
    table_.n_rows.push_back(static_cast<std::int32_t>(positions.size()));

    std::vector<std::int32_t> rows;
    for (const std::size_t i : positions) rows.push_back(part.row[i]);
    append(table_.truth, mean_of_profiles(rows));
    add_deg(condition);
    ConditionRows own{std::move(positions), std::nullopt};
    if (part.part == "test" && rows.size() > 1) own.cells = scores_of_cells(std::move(rows));
    rows_.push_back(std::move(own));
  }

  [[nodiscard]] std::vector<double> mean_of_profiles(const std::vector<std::int32_t>& rows) const {
    ColumnMeans mean(table_.genes);
    std::vector<float> scratch;  // a profile of a sparse data set
    for (const std::int32_t row : rows) mean.add(p_.profile.row(row, scratch));
    return mean.take();
  }

  void add_deg(std::int32_t condition) {
    std::vector<std::int32_t> list;
    if (p_.deg.cols > 0) {
      list.assign(p_.deg.row(condition), p_.deg.row(condition) + p_.deg.cols);
    } else {
      const auto k = static_cast<std::int32_t>(table_.deg_columns);
      list = largest_differences(last(table_.truth), control_of_last(), k);
      list.resize(static_cast<std::size_t>(k), -1);
    }
    table_.deg.insert(table_.deg.end(), list.begin(), list.end());
  }

  /// Of the condition that was added last.
  [[nodiscard]] TruthScores scores_of_cells(std::vector<std::int32_t> rows) const {
    const std::vector<double> truth = last(table_.truth);
    const std::vector<double> control = control_of_last();
    std::vector<double> perturbed;
    std::vector<double> shifted;
    if (table_.train_row.back() >= 0) {
      perturbed = doubles(table_.train_perturbed.data() + table_.train_row.back() * table_.genes, table_.genes);
      shifted = doubles(table_.train_shifted.data() + table_.control_row.back() * table_.genes, table_.genes);
    }
    std::vector<std::int32_t> deg(table_.deg.end() - table_.deg_columns, table_.deg.end());
    deg.erase(std::find(deg.begin(), deg.end(), -1), deg.end());
    const ConditionMeans condition{truth, truth, control, perturbed, deg, shifted};
    return TruthScores({p_.profile, std::move(rows)}, &condition);
  }

  [[nodiscard]] std::vector<double> last(const std::vector<float>& matrix) const {
    return {matrix.end() - table_.genes, matrix.end()};
  }
  [[nodiscard]] std::vector<double> control_of_last() const {
    return doubles(table_.control.data() + table_.control_row.back() * table_.genes, table_.genes);
  }

  /// Mean of all controls that the data set has of a context: single cells point at a random one each.
  [[nodiscard]] std::vector<double> control_mean(std::int32_t context) const {
    ColumnMeans mean(table_.genes);
    for (const std::int32_t sample : p_.controls[static_cast<std::size_t>(context)])
      mean.add(dataset_.expression().row(sample));
    return mean.take();
  }

  /// Whatever depends on training is made anew: rows of the table that were there before stay as they are.
  void train_on(const std::vector<std::int32_t>& rows) {
    train_of_context_.clear();
    trained_alone_.clear();
    training_means_.clear();
    control_row_.clear();
    train_row_.clear();
    for (const std::int32_t row : rows) {
      const auto r = static_cast<std::size_t>(row);
      train_of_context_[p_.context[r]][p_.condition[r]].push_back(row);
      if (p_.drug_b[r] < 0) trained_alone_.insert(members_.of_row[r][0]);
    }
  }

  static constexpr std::int32_t kAllContexts = -1;
  /// The context itself where training has profiles of it, else all.
  [[nodiscard]] std::int32_t training_context(std::int32_t context) const {
    return train_of_context_.count(context) > 0 ? context : kAllContexts;
  }

  /// Means over the training conditions of a context or of all, each counting once.
  struct TrainingMeans {
    std::vector<double> perturbed;  ///< of their profiles
    std::vector<double> change;     ///< of the change of these against the control of their own context
  };
  /// All test contexts that training has not seen share one.
  const TrainingMeans& training_means(std::int32_t context) {
    const auto [it, fresh] = training_means_.try_emplace(context);
    if (!fresh) return it->second;
    ColumnMeans perturbed(table_.genes);
    ColumnMeans change(table_.genes);
    for (const auto& [trained, conditions] : train_of_context_) {
      if (context != kAllContexts && trained != context) continue;
      const std::vector<double> control = control_mean(trained);
      for (const auto& [condition, rows] : conditions) {
        std::vector<double> profile = mean_of_profiles(rows);
        perturbed.add(profile.data());
        for (std::size_t g = 0; g < profile.size(); ++g) profile[g] -= control[g];
        change.add(profile.data());
      }
    }
    it->second = {perturbed.take(), change.take()};
    return it->second;
  }

  std::int32_t control_row(std::int32_t context) {
    const auto n_rows = static_cast<std::int32_t>(static_cast<std::int64_t>(table_.control.size()) / table_.genes);
    const auto [it, fresh] = control_row_.try_emplace(context, n_rows);
    if (!fresh) return it->second;
    const std::vector<double> control = control_mean(context);
    append(table_.control, control);
    if (!train_of_context_.empty()) {
      std::vector<double> shifted = training_means(training_context(context)).change;
      for (std::size_t g = 0; g < shifted.size(); ++g) shifted[g] += control[g];
      append(table_.train_shifted, shifted);
    }
    return it->second;
  }

  std::int32_t train_row(std::int32_t context) {
    if (train_of_context_.empty()) return -1;
    const std::int32_t code = training_context(context);
    const auto n_rows =
        static_cast<std::int32_t>(static_cast<std::int64_t>(table_.train_perturbed.size()) / table_.genes);
    const auto [it, fresh] = train_row_.try_emplace(code, n_rows);
    if (fresh) append(table_.train_perturbed, training_means(code).perturbed);
    return it->second;
  }

  void name_conditions() {
    std::map<std::string, int> uses;
    for (std::size_t i = 0; i < table_.size(); ++i) {
      std::string name = table_.context[i] + ": " + table_.perturbation[i];
      if (!table_.second[i].empty()) name += " + " + table_.second[i];
      if (std::isfinite(table_.dose_log10_molar[i])) name += ", " + dose_words(table_.dose_log10_molar[i]);
      if (std::isfinite(table_.time_h[i])) name += fmt::format(", {:.4g} h", table_.time_h[i]);
      ++uses[table_.part[i] + name];
      table_.name.push_back(std::move(name));
    }
    // Two perturbations may have one name (a drug under two ids).
    for (std::size_t i = 0; i < table_.size(); ++i) {
      if (uses.at(table_.part[i] + table_.name[i]) > 1)
        table_.name[i] += fmt::format(" (condition {})", table_.condition[i]);
    }
  }

  const Dataset& dataset_;
  const Dataset::Perturbations& p_;
  Members members_;
  ConditionTable table_;
  std::vector<ConditionRows> rows_;
  std::map<std::int32_t, std::map<std::int32_t, std::vector<std::int32_t>>> train_of_context_;  // condition -> rows
  std::set<std::int32_t> trained_alone_;                                                        ///< drug groups
  std::map<std::int32_t, std::int32_t> control_row_, train_row_;
  std::map<std::int32_t, TrainingMeans> training_means_;
};

/// Adds what one model predicted.
class Collector {
 public:
  Collector(const ConditionTable& truth, const std::vector<ConditionRows>& rows) : table_(truth), rows_(rows) {}

  /// The next conditions, which are those of the part.
  void add(const PredictedProfiles& part) {
    const std::size_t n = part.row.size();
    if (part.status.size() != n || part.prediction.rows != static_cast<std::int64_t>(n) ||
        (n > 0 && part.prediction.cols != table_.genes) ||
        (!part.n_references.empty() && part.n_references.size() != n) ||
        (!part.in_context.empty() && part.in_context.size() != n)) {
      throw std::logic_error("the columns of predicted profiles differ in length");
    }
    for (; next_ < table_.size() && table_.part[next_] == part.part; ++next_) add_condition(part, rows_[next_]);
  }

  [[nodiscard]] ConditionTable finish() {
    // Columns of cells' scores that no condition has are no columns.
    table_.metrics.erase(std::remove_if(table_.metrics.begin(), table_.metrics.end(),
                                        [](const ConditionTable::Metric& m) {
                                          return std::none_of(m.value.begin(), m.value.end(),
                                                              [](double v) { return std::isfinite(v); });
                                        }),
                         table_.metrics.end());
    return std::move(table_);
  }

 private:
  void add_condition(const PredictedProfiles& part, const ConditionRows& condition) {
    ColumnMeans mean(table_.genes);
    std::vector<std::int32_t> predicted;            // positions in the part
    std::map<std::int32_t, std::int32_t> failures;  // status -> rows
    std::int32_t references = 0;
    std::int32_t in_context = 0;
    for (const std::size_t i : condition.position) {
      if (part.status[i] == 0) {
        mean.add(part.prediction.row(i, scratch_));
        predicted.push_back(static_cast<std::int32_t>(i));
      } else {
        ++failures[part.status[i]];
      }
      if (!part.n_references.empty()) references = std::max(references, part.n_references[i]);
      if (!part.in_context.empty()) in_context = std::max(in_context, part.in_context[i]);
    }
    append(table_.prediction, mean.take());
    table_.n_predicted.push_back(static_cast<std::int32_t>(predicted.size()));
    table_.n_references.push_back(references);
    table_.in_context.push_back(in_context);
    const auto worst = std::max_element(failures.begin(), failures.end(),
                                        [](const auto& a, const auto& b) { return a.second < b.second; });
    table_.status.push_back(worst == failures.end() ? 0 : worst->first);
    if (!condition.cells) return;
    // Only those that distances are computed of are held together.
    std::vector<float> cells;
    for (const auto i : sample_of_cells(predicted)) {
      const float* row = part.prediction.row(static_cast<std::size_t>(i), scratch_);
      cells.insert(cells.end(), row, row + table_.genes);
    }
    const auto n = static_cast<std::int64_t>(cells.size()) / std::max<std::int64_t>(table_.genes, 1);
    keep(cell_distances(*condition.cells, MatrixView<float>{cells.data(), n, table_.genes}));
    keep(condition.cells->ceiling());
  }

  /// Scores of the next condition.
  void keep(const std::vector<MetricValue>& scores) {
    for (const MetricValue& score : scores) {
      auto found = std::find_if(table_.metrics.begin(), table_.metrics.end(),
                                [&](const ConditionTable::Metric& m) { return m.name == score.name; });
      if (found == table_.metrics.end()) {
        table_.metrics.push_back({score.name, std::vector<double>(table_.size(), kNan), {}});
        found = table_.metrics.end() - 1;
        found->flag.resize(table_.size());
      }
      found->value[next_] = score.value;
      found->flag[next_] = score.flag;
    }
  }

  ConditionTable table_;
  const std::vector<ConditionRows>& rows_;
  std::size_t next_ = 0;
  std::vector<float> scratch_;
};

}  // namespace

FoldTruth::FoldTruth(const Dataset& dataset, std::vector<ProfileRows> parts) : parts_(std::move(parts)) {
  Truth truth(dataset);
  for (const ProfileRows& part : parts_) truth.add(part);
  table_ = truth.take_table();
  conditions_ = truth.take_rows();
}

ConditionTable FoldTruth::collect(const std::vector<PredictedProfiles>& parts) const {
  Collector collector(table_, conditions_);
  if (parts.size() != parts_.size()) throw std::logic_error("predicted profiles of other parts than the truth's");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].part != parts_[i].part || parts[i].row != parts_[i].row)
      throw std::logic_error("predicted profiles of other rows than the truth's");
    collector.add(parts[i]);
  }
  return collector.finish();
}

}  // namespace cdrzoo
