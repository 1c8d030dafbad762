// SPDX-License-Identifier: Apache-2.0
// The six baselines of perturbation profiles. What they share: training is read once, row by row, and only means of
// conditions stay; a prediction is the control of the row plus a change. README.md has the equations.
#include <cdrzoo/plugin.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cards.h"
#include "latent_math.hpp"
#include "perturbation_math.hpp"

namespace {

using namespace cdrzoo;
using namespace cdrzoo::perturbation;

constexpr const char* kExpression = "expression";
constexpr std::int64_t kRowsBetweenChecks = 256;  // of the host's wish to stop

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// The perturbations of training, numbered, by their keys.
class Vocabulary {
 public:
  Vocabulary() = default;
  explicit Vocabulary(std::vector<std::int64_t> keys) : keys_(std::move(keys)) {
    for (std::size_t i = 0; i < keys_.size(); ++i) number_.emplace(keys_[i], static_cast<int>(i));
  }
  [[nodiscard]] const std::vector<std::int64_t>& keys() const { return keys_; }
  /// The number of each drug of a view; kUnseen for a drug that training did not hold.
  [[nodiscard]] std::vector<int> numbers(const sdk::Entities& drugs) const {
    std::vector<int> out;
    for (const std::int64_t key : drugs.keys()) {
      const auto known = number_.find(key);
      out.push_back(known == number_.end() ? kUnseen : known->second);
    }
    return out;
  }

 private:
  std::vector<std::int64_t> keys_;
  std::unordered_map<std::int64_t, int> number_;
};

/// The expression of a view's samples, where it lies.
sdk::Matrix<const float> expression_of(const sdk::View& view, std::int64_t n_genes) {
  const auto values = view.samples().dense(kExpression).f32();
  if (values.cols() != n_genes) {
    throw sdk::Error(CDRZOO_E_ARGUMENT, "the expression block has " + std::to_string(values.cols()) +
                                            " genes, but the model was made for " + std::to_string(n_genes));
  }
  return values;
}

/// What was done in each row of a view.
class Rows {
 public:
  Rows(const sdk::View& view, std::vector<int> number)
      : number_(std::move(number)),
        drug_(view.drug()),
        drug_b_(view.drug_b()),
        dose_(view.dose()),
        time_(view.time()),
        context_(view.context()) {}

  [[nodiscard]] Condition condition(std::int64_t i) const { return {combine(first(i), second(i)), place(i)}; }
  [[nodiscard]] Place place(std::int64_t i) const { return {context_[i], dose_[i], time_[i]}; }
  [[nodiscard]] int first(std::int64_t i) const { return number_[at(drug_[i])]; }
  [[nodiscard]] int second(std::int64_t i) const { return drug_b_[i] < 0 ? kNone : number_[at(drug_b_[i])]; }

 private:
  std::vector<int> number_;
  sdk::Span<const std::int32_t> drug_, drug_b_;
  sdk::Span<const float> dose_, time_;
  sdk::Span<const std::int32_t> context_;
};

/// Training, told by condition.
struct Training {
  Vocabulary vocabulary;
  std::vector<Condition> conditions;
  std::vector<int> condition;  ///< of each row
};

Training index_training(const sdk::View& train) {
  if (train.n_obs() == 0) throw sdk::Error(CDRZOO_E_DATA, "there are no training rows");
  Training out;
  const auto keys = train.drugs().keys();
  out.vocabulary = Vocabulary({keys.begin(), keys.end()});
  const Rows rows(train, out.vocabulary.numbers(train.drugs()));
  ConditionIndex index;
  out.condition.reserve(at(train.n_obs()));
  for (std::int64_t i = 0; i < train.n_obs(); ++i) out.condition.push_back(index.find_or_add(rows.condition(i)));
  out.conditions = index.conditions();
  return out;
}

/// Obeys the host's wish to stop, now and then.
void check_row(const sdk::Context& context, std::int64_t row) {
  if (row % kRowsBetweenChecks == 0) context.check_cancelled();
}

void require_finite(const float* x, std::int64_t n, const std::uint8_t* observed, const char* what, std::int64_t row) {
  for (std::int64_t j = 0; j < n; ++j) {
    if (!std::isfinite(x[j]) && (observed == nullptr || observed[j] != 0)) {
      throw sdk::Error(CDRZOO_E_DATA, std::string("the ") + what + " of row " + std::to_string(row) + ", gene " +
                                          std::to_string(j) + " is not finite");
    }
  }
}

void require_control(std::int32_t control, std::int64_t row) {
  if (control < 0) throw sdk::Error(CDRZOO_E_DATA, "training row " + std::to_string(row) + " has no control");
}

/// Means over the rows of each condition, of the profiles or of their changes against \p controls. Reads the target
/// once, in its order, and keeps one sum per condition: training may be larger than memory. A gene without a value in a
/// condition has change 0, and no profile there (NaN).
Matrix condition_means(sdk::Context& context, const sdk::View& train, const Training& training, std::int64_t n_genes,
                       const sdk::Matrix<const float>* controls) {
  const auto target = train.target_rows();
  if (target.cols() != n_genes) {
    throw sdk::Error(CDRZOO_E_ARGUMENT, "the target has " + std::to_string(target.cols()) +
                                            " genes, but the model was made for " + std::to_string(n_genes));
  }
  const auto mask = train.has_target_mask() ? train.target_mask() : sdk::Matrix<const std::uint8_t>();
  const auto control = controls == nullptr ? sdk::Span<const std::int32_t>() : train.control();
  GroupMeans means(static_cast<int>(training.conditions.size()), static_cast<int>(n_genes));
  std::vector<float> row(at(n_genes));
  for (std::int64_t i = 0; i < train.n_obs(); ++i) {
    if (i % kRowsBetweenChecks == 0) {
      context.check_cancelled();
      context.progress("profiles", static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(train.n_obs()));
    }
    target.copy_row(i, row.data());
    const float* x = row.data();
    const std::uint8_t* observed = mask.empty() ? nullptr : mask.row(i).data();
    require_finite(x, n_genes, observed, "target", i);
    if (controls != nullptr) require_control(control[i], i);
    const float* minus = controls == nullptr ? nullptr : controls->row(control[i]).data();
    if (minus != nullptr) require_finite(minus, n_genes, nullptr, "control", i);
    means.add(training.condition[at(i)], x, minus, observed);
  }
  return means.take(controls == nullptr ? std::numeric_limits<double>::quiet_NaN() : 0.0);
}

/// The mean control of each training context, every control once.
Controls context_controls(const sdk::Context& call, const sdk::View& train,
                          const sdk::Matrix<const float>& expression) {
  const auto control = train.control();
  const auto context = train.context();
  Controls out;
  std::unordered_map<std::int32_t, int> number;
  std::set<std::pair<std::int32_t, std::int32_t>> met;
  std::vector<std::pair<int, std::int32_t>> rows;  // context, control: in the order of the rows
  for (std::int64_t i = 0; i < train.n_obs(); ++i) {
    require_control(control[i], i);
    if (!met.emplace(context[i], control[i]).second) continue;
    const auto [found, is_new] = number.emplace(context[i], static_cast<int>(out.context.size()));
    if (is_new) out.context.push_back(context[i]);
    rows.emplace_back(found->second, control[i]);
  }
  GroupMeans means(static_cast<int>(out.context.size()), static_cast<int>(expression.cols()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    check_row(call, static_cast<std::int64_t>(i));
    means.add(rows[i].first, expression.row(rows[i].second).data());
  }
  out.mean = means.take();
  return out;
}

/// A model whose predictions have as many genes as its targets.
class Baseline : public sdk::Model {
 public:
  explicit Baseline(const sdk::Problem& problem) : n_genes_(problem.n_targets) {
    if (problem.task != sdk::Task::expression) {
      throw sdk::Error(CDRZOO_E_UNSUPPORTED, "the perturbation baselines know the task expression only");
    }
  }

 protected:
  static void require_expression(const sdk::Problem& problem) {
    const std::int64_t width = problem.block(sdk::Axis::sample, kExpression).width;
    if (width != problem.n_targets) {
      throw sdk::Error(CDRZOO_E_UNSUPPORTED, "the controls have " + std::to_string(width) + " genes, the targets " +
                                                 std::to_string(problem.n_targets));
    }
  }

  /// control + change, or the control where \p change is null. A row that does not come out as numbers says so.
  void put(const sdk::Predictions& out, std::int64_t row, const float* control, const double* change) const {
    const auto mean = out.mean().row(row);
    bool finite = true;
    for (std::int64_t j = 0; j < n_genes_; ++j) {
      const double x =
          (control == nullptr ? 0.0 : static_cast<double>(control[j])) + (change == nullptr ? 0.0 : change[j]);
      mean[j] = static_cast<float>(x);
      finite = finite && std::isfinite(mean[j]);
    }
    if (!finite) out.numeric(row);
  }

  std::int64_t n_genes_;
};

class ControlMean final : public Baseline {
 public:
  explicit ControlMean(const sdk::Problem& problem, const sdk::Params&) : Baseline(problem) {
    require_expression(problem);
  }
  void fit(sdk::Context&, const sdk::FitData&) override {}
  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    if (query.n_obs() == 0) return;
    const auto expression = expression_of(query, n_genes_);
    const auto control = query.control();
    for (std::int64_t i = 0; i < query.n_obs(); ++i) {
      check_row(context, i);
      if (control[i] < 0) {
        out.unsupported(i);
      } else {
        put(out, i, expression.row(control[i]).data(), nullptr);
      }
    }
  }
  void save(sdk::Context&, sdk::StateWriter& state) const override { state.scalar("genes", n_genes_); }
  void load(sdk::Context&, sdk::StateReader& state) override {
    if (state.scalar<std::int64_t>("genes") != n_genes_) {
      throw sdk::Error(CDRZOO_E_CORRUPT, "the state is of " + std::to_string(state.scalar<std::int64_t>("genes")) +
                                             " genes, the problem has " + std::to_string(n_genes_));
    }
  }
  [[nodiscard]] sdk::ModelInfo info() const override { return {}; }
};

class TrainMean final : public Baseline {
 public:
  explicit TrainMean(const sdk::Problem& problem, const sdk::Params&) : Baseline(problem) {}

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const Training training = index_training(data.train);
    const Matrix profiles = condition_means(context, data.train, training, n_genes_, nullptr);
    std::vector<std::vector<int>> members;
    std::vector<int> all;
    for (int i = 0; i < profiles.rows; ++i) {
      const std::int32_t code = training.conditions[at(i)].at.context;
      const auto [found, is_new] = index_.emplace(code, static_cast<int>(context_.size()));
      if (is_new) {
        context_.push_back(code);
        members.emplace_back();
      }
      members[at(found->second)].push_back(i);
      all.push_back(i);
    }
    of_context_ = Matrix(static_cast<int>(context_.size()), static_cast<int>(n_genes_));
    for (int c = 0; c < of_context_.rows; ++c) {
      const auto mean = mean_of(profiles, members[at(c)]);
      std::copy(mean.begin(), mean.end(), of_context_.row(c));
    }
    of_all_ = mean_of(profiles, all);
  }

  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    if (query.n_obs() == 0) return;
    const auto code = query.context();
    for (std::int64_t i = 0; i < query.n_obs(); ++i) {
      check_row(context, i);
      const auto known = index_.find(code[i]);
      put(out, i, nullptr, known == index_.end() ? of_all_.data() : of_context_.row(known->second));
    }
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override {
    state.tensor("context", context_);
    state.tensor("mean.context", of_context_.v, {of_context_.rows, n_genes_});
    state.tensor("mean", of_all_);
  }
  void load(sdk::Context&, sdk::StateReader& state) override {
    context_ = state.vector<std::int32_t>("context");
    for (std::size_t c = 0; c < context_.size(); ++c) index_.emplace(context_[c], static_cast<int>(c));
    of_context_ = Matrix(static_cast<int>(context_.size()), static_cast<int>(n_genes_));
    of_context_.v = state.vector<double>("mean.context", {of_context_.rows, n_genes_});
    of_all_ = state.vector<double>("mean", {n_genes_});
  }
  [[nodiscard]] sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    info.n_parameters = static_cast<std::int64_t>(of_context_.v.size() + of_all_.size());
    info.bytes = sizeof(double) * (of_context_.v.size() + of_all_.size());
    return info;
  }

 private:
  std::vector<std::int32_t> context_;
  std::unordered_map<std::int32_t, int> index_;
  Matrix of_context_;  // [contexts, genes]
  std::vector<double> of_all_;
};

void save_effects(sdk::StateWriter& state, const Vocabulary& vocabulary, const Effects& effects) {
  std::vector<std::int32_t> what;
  std::vector<std::int32_t> context;
  std::vector<float> treatment;
  for (const Condition& c : effects.conditions()) {
    what.insert(what.end(), {c.what[0], c.what[1]});
    context.push_back(c.at.context);
    treatment.insert(treatment.end(), {c.at.dose, c.at.time});
  }
  const auto n = static_cast<std::int64_t>(context.size());
  state.tensor("drug.key", vocabulary.keys());
  state.tensor("condition.drugs", what, {n, 2});
  state.tensor("condition.context", context);
  state.tensor("condition.dose_time", treatment, {n, 2});
  state.tensor("condition.change", effects.change().v, {n, effects.width()});
}

/// \param width columns of the changes
Effects load_effects(sdk::StateReader& state, Vocabulary& vocabulary, std::int64_t width) {
  vocabulary = Vocabulary(state.vector<std::int64_t>("drug.key"));
  const auto context = state.vector<std::int32_t>("condition.context");
  const auto n = static_cast<std::int64_t>(context.size());
  if (n == 0) throw sdk::Error(CDRZOO_E_CORRUPT, "the state has no training condition");
  const auto what = state.vector<std::int32_t>("condition.drugs", {n, 2});
  const auto treatment = state.vector<float>("condition.dose_time", {n, 2});
  const auto limit = static_cast<std::int32_t>(vocabulary.keys().size());
  std::vector<Condition> conditions;
  for (std::size_t i = 0; i < context.size(); ++i) {
    const std::int32_t a = what[2 * i];
    const std::int32_t b = what[2 * i + 1];
    if (a < 0 || a >= limit || (b != kNone && (b < a || b >= limit))) {
      throw sdk::Error(CDRZOO_E_CORRUPT, "the state's condition " + std::to_string(i) + " is of drugs " +
                                             std::to_string(a) + " and " + std::to_string(b) + ", of " +
                                             std::to_string(limit) + " in ascending order");
    }
    conditions.push_back({{a, b}, {context[i], treatment[2 * i], treatment[2 * i + 1]}});
  }
  Matrix change(static_cast<int>(n), static_cast<int>(width));
  change.v = state.vector<double>("condition.change", {n, width});
  return {std::move(conditions), std::move(change)};
}

/// The rows of a query: conditions, and where their references lie.
class QueryRows {
 public:
  QueryRows(const sdk::View& view, const Vocabulary& vocabulary)
      : rows_(view, vocabulary.numbers(view.drugs())),
        control_(view.control()),
        reference_{view.reference(), view.reference_b()},
        reference_control_{view.reference_control(), view.reference_b_control()} {}

  struct Pair {
    std::int32_t treated = -1, control = -1;
    [[nodiscard]] bool measured() const { return treated >= 0 && control >= 0; }
    [[nodiscard]] bool operator==(const Pair& other) const {
      return treated == other.treated && control == other.control;
    }
  };
  [[nodiscard]] std::int32_t control(std::int64_t i) const { return control_[i]; }
  /// Of the first (0) or second (1) perturbation.
  [[nodiscard]] Pair reference(std::int64_t i, std::size_t member) const {
    return {reference_.at(member)[i], reference_control_.at(member)[i]};
  }
  /// Without what was measured.
  [[nodiscard]] Query query(std::int64_t i) const {
    return {{rows_.first(i), nullptr}, {rows_.second(i), nullptr}, rows_.place(i)};
  }
  /// Whether two rows ask for the same change, whatever their controls are.
  [[nodiscard]] bool same_change(std::int64_t i, std::int64_t j) const {
    const Place p = rows_.place(i);
    const Place q = rows_.place(j);
    return rows_.first(i) == rows_.first(j) && rows_.second(i) == rows_.second(j) && p.context == q.context &&
           same_treatment(p, q) && reference(i, 0) == reference(j, 0) && reference(i, 1) == reference(j, 1);
  }

 private:
  Rows rows_;
  sdk::Span<const std::int32_t> control_;
  std::array<sdk::Span<const std::int32_t>, 2> reference_, reference_control_;
};

/// Control plus a change of the expression that a query determines.
class Shift : public Baseline {
 public:
  explicit Shift(const sdk::Problem& problem) : Baseline(problem) { require_expression(problem); }

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    Training training = index_training(data.train);
    const auto expression = expression_of(data.train, n_genes_);
    Matrix change = condition_means(context, data.train, training, n_genes_, &expression);
    effects_ = Effects(std::move(training.conditions), std::move(change));
    vocabulary_ = std::move(training.vocabulary);
    learn_controls(context, data.train, expression);
  }

  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    if (query.n_obs() == 0) return;
    const auto expression = expression_of(query, n_genes_);
    const QueryRows rows(query, vocabulary_);
    std::array<std::vector<double>, 2> measured;
    std::vector<double> change;
    std::int64_t last = -1;  // the row that `change` is of
    for (std::int64_t i = 0; i < query.n_obs(); ++i) {
      check_row(context, i);
      if (rows.control(i) < 0) {
        out.unsupported(i);
        continue;
      }
      const float* control = expression.row(rows.control(i)).data();
      if (last < 0 || !rows.same_change(i, last) || (follows_control() && rows.control(i) != rows.control(last))) {
        Query asked = rows.query(i);
        for (const std::size_t member : {std::size_t{0}, std::size_t{1}}) {
          const auto reference = rows.reference(i, member);
          if (!reference.measured()) continue;
          measured.at(member).resize(at(n_genes_));
          const auto treated = expression.row(reference.treated);
          const auto untreated = expression.row(reference.control);
          for (std::int64_t j = 0; j < n_genes_; ++j) {
            measured.at(member)[at(j)] = static_cast<double>(treated[j]) - static_cast<double>(untreated[j]);
          }
          (member == 0 ? asked.a : asked.b).measured = measured.at(member).data();
        }
        change = shift(asked, control);
        last = i;
      }
      put(out, i, control, change.data());
    }
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override { save_effects(state, vocabulary_, effects_); }
  void load(sdk::Context&, sdk::StateReader& state) override { effects_ = load_effects(state, vocabulary_, n_genes_); }
  [[nodiscard]] sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    info.n_parameters = static_cast<std::int64_t>(effects_.change().v.size());
    info.bytes = sizeof(double) * effects_.change().v.size();
    return info;
  }

 protected:
  [[nodiscard]] virtual std::vector<double> shift(const Query& query, const float* control) const = 0;
  /// Whether shift() depends on the control.
  [[nodiscard]] virtual bool follows_control() const { return false; }
  virtual void learn_controls(const sdk::Context& call, const sdk::View& train,
                              const sdk::Matrix<const float>& expression) {
    (void)call, (void)train, (void)expression;
  }

  Vocabulary vocabulary_;
  Effects effects_;  // [conditions, genes]
};

class MeanShift final : public Shift {
 public:
  explicit MeanShift(const sdk::Problem& problem, const sdk::Params&) : Shift(problem) {}

 private:
  [[nodiscard]] std::vector<double> shift(const Query& query, const float*) const override {
    return mean_shift(effects_, query);
  }
};

class Additive final : public Shift {
 public:
  explicit Additive(const sdk::Problem& problem, const sdk::Params&) : Shift(problem) {}

 private:
  [[nodiscard]] std::vector<double> shift(const Query& query, const float*) const override {
    return additive_shift(effects_, query);
  }
};

class NearestContext final : public Shift {
 public:
  explicit NearestContext(const sdk::Problem& problem, const sdk::Params&) : Shift(problem) {}

  void save(sdk::Context& context, sdk::StateWriter& state) const override {
    Shift::save(context, state);
    state.tensor("context", controls_.context);
    state.tensor("context.control", controls_.mean.v, {controls_.mean.rows, n_genes_});
  }
  void load(sdk::Context& context, sdk::StateReader& state) override {
    Shift::load(context, state);
    controls_.context = state.vector<std::int32_t>("context");
    const auto n = static_cast<std::int64_t>(controls_.context.size());
    controls_.mean = Matrix(static_cast<int>(n), static_cast<int>(n_genes_));
    controls_.mean.v = state.vector<double>("context.control", {n, n_genes_});
    const std::set<std::int32_t> known(controls_.context.begin(), controls_.context.end());
    for (const Condition& condition : effects_.conditions()) {
      if (known.count(condition.at.context) == 0) {
        throw sdk::Error(CDRZOO_E_CORRUPT,
                         "the state has no control of context " + std::to_string(condition.at.context));
      }
    }
  }

 private:
  [[nodiscard]] std::vector<double> shift(const Query& query, const float* control) const override {
    return nearest_shift(effects_, controls_, query, control);
  }
  [[nodiscard]] bool follows_control() const override { return true; }
  void learn_controls(const sdk::Context& call, const sdk::View& train,
                      const sdk::Matrix<const float>& expression) override {
    controls_ = context_controls(call, train, expression);
  }

  Controls controls_;
};

class PcaRidge final : public Baseline {
 public:
  PcaRidge(const sdk::Problem& problem, const sdk::Params& params)
      : Baseline(problem),
        components_(static_cast<int>(params.integer("components"))),
        penalty_(params.real("penalty")) {
    require_expression(problem);
  }

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const ridge::BlasThreads threads(context.threads());
    Training training = index_training(data.train);
    const auto expression = expression_of(data.train, n_genes_);
    const Matrix change = condition_means(context, data.train, training, n_genes_, &expression);
    const Matrix control = condition_controls(context, data.train, training, expression);
    const Controls contexts = context_controls(context, data.train, expression);
    Matrix profiles(change.rows + contexts.mean.rows, change.cols);
    for (std::size_t i = 0; i < change.v.size(); ++i) profiles.v[i] = control.v[i] + change.v[i];
    std::copy(contexts.mean.v.begin(), contexts.mean.v.end(), profiles.row(change.rows));
    pca_ = fit_pca(std::move(profiles), components_, [&] { context.check_cancelled(); });
    latent_ = Effects(std::move(training.conditions), pca_.project_change(change));
    vocabulary_ = std::move(training.vocabulary);
    ridge_ = LatentRidge::fit(latent_, pca_.project(control), penalty_);
  }

  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    if (query.n_obs() == 0) return;
    const ridge::BlasThreads threads(context.threads());
    const auto expression = expression_of(query, n_genes_);
    const QueryRows rows(query, vocabulary_);
    const Matrix z = latents(context, expression);
    const int k = latent_.width();
    std::array<std::vector<double>, 2> measured;
    for (std::int64_t begin = 0; begin < query.n_obs(); begin += kRowsBetweenChecks) {
      context.check_cancelled();
      const auto n = static_cast<int>(std::min(kRowsBetweenChecks, query.n_obs() - begin));
      Matrix u(n, k);
      for (int r = 0; r < n; ++r) {
        const std::int64_t i = begin + r;
        if (rows.control(i) < 0) continue;
        Query asked = rows.query(i);
        for (const std::size_t member : {std::size_t{0}, std::size_t{1}}) {
          const auto reference = rows.reference(i, member);
          if (!reference.measured()) continue;
          measured.at(member).resize(at(k));
          for (int j = 0; j < k; ++j) {
            measured.at(member)[at(j)] = z.at(reference.treated, j) - z.at(reference.control, j);
          }
          (member == 0 ? asked.a : asked.b).measured = measured.at(member).data();
        }
        const auto change = ridge_.predict(latent_, asked, z.row(rows.control(i)));
        std::copy(change.begin(), change.end(), u.row(r));
      }
      const Matrix change = multiply(u, ridge::Op::kPlain, pca_.components, ridge::Op::kTransposed);
      for (int r = 0; r < n; ++r) {
        const std::int64_t i = begin + r;
        if (rows.control(i) < 0) {
          out.unsupported(i);
        } else {
          put(out, i, expression.row(rows.control(i)).data(), change.row(r));
        }
      }
    }
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override {
    const std::int64_t k = latent_.width();
    save_effects(state, vocabulary_, latent_);
    state.tensor("pca.mean", pca_.mean);
    state.tensor("pca.components", pca_.components.v, {n_genes_, k});
    state.tensor("pca.variance", pca_.variance);
    for (const bool combinations : {false, true}) {
      const LatentRidge::Map& map = ridge_.maps().at(combinations ? 1 : 0);
      state.tensor(name_of_map(combinations) + ".weight", map.weight.v, {2 * k, k});
      state.tensor(name_of_map(combinations) + ".intercept", map.intercept);
    }
  }

  void load(sdk::Context&, sdk::StateReader& state) override {
    pca_.mean = state.vector<double>("pca.mean", {n_genes_});
    pca_.variance = state.vector<double>("pca.variance");
    const auto k = static_cast<std::int64_t>(pca_.variance.size());
    pca_.components = Matrix(static_cast<int>(n_genes_), static_cast<int>(k));
    pca_.components.v = state.vector<double>("pca.components", {n_genes_, k});
    latent_ = load_effects(state, vocabulary_, k);
    std::array<LatentRidge::Map, 2> maps;
    for (const bool combinations : {false, true}) {
      LatentRidge::Map& map = maps.at(combinations ? 1 : 0);
      map.weight = Matrix(static_cast<int>(2 * k), static_cast<int>(k));
      map.weight.v = state.vector<double>(name_of_map(combinations) + ".weight", {2 * k, k});
      map.intercept = state.vector<double>(name_of_map(combinations) + ".intercept", {k});
    }
    ridge_ = LatentRidge(std::move(maps));
  }

  [[nodiscard]] sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    const std::size_t values = pca_.components.v.size() + pca_.mean.size() + latent_.change().v.size() +
                               2 * (ridge_.maps()[0].weight.v.size() + ridge_.maps()[0].intercept.size());
    info.n_parameters = static_cast<std::int64_t>(values);
    info.bytes = sizeof(double) * values;
    return info;
  }

 private:
  static std::string name_of_map(bool combinations) { return combinations ? "ridge.combination" : "ridge.single"; }

  /// The mean control of each condition's rows.
  [[nodiscard]] Matrix condition_controls(const sdk::Context& call, const sdk::View& train, const Training& training,
                                          const sdk::Matrix<const float>& expression) const {
    const auto control = train.control();
    GroupMeans means(static_cast<int>(training.conditions.size()), static_cast<int>(n_genes_));
    for (std::int64_t i = 0; i < train.n_obs(); ++i) {
      check_row(call, i);
      means.add(training.condition[at(i)], expression.row(control[i]).data());
    }
    return means.take();
  }

  /// z of all samples of a query: encoded once, however many rows refer to one.
  [[nodiscard]] Matrix latents(sdk::Context& context, const sdk::Matrix<const float>& expression) const {
    Matrix z(static_cast<int>(expression.rows()), latent_.width());
    for (std::int64_t begin = 0; begin < expression.rows(); begin += kRowsBetweenChecks) {
      context.check_cancelled();
      const auto n = static_cast<int>(std::min(kRowsBetweenChecks, expression.rows() - begin));
      Matrix x(n, static_cast<int>(n_genes_));
      for (int r = 0; r < n; ++r) {
        const auto row = expression.row(begin + r);
        std::copy(row.begin(), row.end(), x.row(r));
      }
      const Matrix part = pca_.project(std::move(x));
      std::copy(part.v.begin(), part.v.end(), z.row(static_cast<int>(begin)));
    }
    return z;
  }

  int components_;
  double penalty_;
  Vocabulary vocabulary_;
  Pca pca_;
  Effects latent_;  // [conditions, components]
  LatentRidge ridge_;
};

}  // namespace

CDRZOO_EXPORT_PLUGIN_NEEDS(1, sdk::model<ControlMean>(kControlMeanCard), sdk::model<TrainMean>(kTrainMeanCard),
                           sdk::model<MeanShift>(kMeanShiftCard), sdk::model<Additive>(kAdditiveCard),
                           sdk::model<NearestContext>(kNearestContextCard), sdk::model<PcaRidge>(kPcaRidgeCard))
