// SPDX-License-Identifier: Apache-2.0
#include "run/profiles.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <set>

#include "base/error.hpp"
#include "data/feature_block.hpp"
#include "data/hdf5_file.hpp"
#include "run/bundle.hpp"
#include "run/bundle_format.hpp"

namespace cdrzoo {
namespace {

using Rows = std::vector<std::int32_t>;

void append(Rows& to, const Rows& from) { to.insert(to.end(), from.begin(), from.end()); }

/// For every row of \p rows (any order) the references that \p references has for the sorted rows \p of.
ProfileQuery make_query(const Rows& rows, const Rows& of, const std::vector<RowReferences>& references) {
  ProfileQuery query;
  for (const auto row : rows) {
    const auto place = static_cast<std::size_t>(std::lower_bound(of.begin(), of.end(), row) - of.begin());
    for (const auto& reference : references.at(place)) {
      query.row.push_back(row);
      query.reference.push_back(reference);
    }
  }
  return query;
}

}  // namespace

FoldProfiles make_fold_profiles(const Plan& plan, const Fold& fold) {
  const auto& dataset = *plan.dataset;
  FoldProfiles out;
  const bool referring =
      std::any_of(plan.cells.begin(), plan.cells.end(), [](const auto& c) { return asks_references(c.model->card); });
  if (referring) {
    out.validation = choose_references(dataset, plan.split->spec, fold, fold.validation);
    out.test = choose_references(dataset, plan.split->spec, fold, fold.test);
    std::set<std::int32_t> used;
    for (const auto* part : {&out.validation, &out.test})
      for (const auto& row : *part)
        for (const auto& reference : row) used.insert({reference.row_a, reference.row_b});
    used.erase(-1);
    out.entities.assign(used.begin(), used.end());
  }
  if (!std::includes(fold.train.begin(), fold.train.end(), fold.early_stop.begin(), fold.early_stop.end())) {
    throw DataError("fold " + std::to_string(fold.fold) +
                    " of the split stops on rows that it does not train on, which task expression cannot do");
  }
  append(out.targets, fold.early_stop);
  std::set_difference(fold.train.begin(), fold.train.end(), fold.early_stop.begin(), fold.early_stop.end(),
                      std::back_inserter(out.targets));
  out.n_early_stop = static_cast<std::int64_t>(fold.early_stop.size());
  out.n_train = static_cast<std::int64_t>(out.targets.size());
  if (plan.experiment->refit == "train+val") append(out.targets, fold.validation);

  // What is permuted is whose profile a row shows.
  Targets own;
  own.y.resize(static_cast<std::size_t>(dataset.perturbations->size()));
  std::iota(own.y.begin(), own.y.end(), 0.0);
  const auto shown = shown_targets(*plan.experiment, *plan.split, fold, own);
  out.shown.reserve(out.targets.size());
  for (const auto row : out.targets)
    out.shown.push_back(static_cast<std::int32_t>(shown[static_cast<std::size_t>(row)]));
  return out;
}

bool gets_sparse_targets(const Card& card, const Dataset& dataset) {
  return card.accepts_sparse_targets && dataset.perturbations->profile.is_sparse();
}

void write_targets(const std::filesystem::path& path, const Dataset& dataset, const FoldProfiles& fold,
                   const std::string& hash, bool sparse) {
  const auto& profile = dataset.perturbations->profile;
  const auto genes = static_cast<std::size_t>(profile.cols);
  Hdf5Writer file(path);
  file.attribute("/", "format", bundle::kTargetsFormat);
  file.attribute("/", "version", sparse ? bundle::kSparseTargetsVersion : bundle::kVersion);
  file.attribute("/", "hash", hash);
  if (sparse) {
    write_sparse_rows(file, "/target", profile, fold.shown, "");
    file.commit(false);
    return;
  }
  const bool missing =
      std::any_of(fold.shown.begin(), fold.shown.end(), [&](auto row) { return any_nan(profile, row); });
  const std::vector<std::int64_t> shape = {static_cast<std::int64_t>(fold.shown.size()), profile.cols};
  auto target = file.create("/target", Hdf5Type::f32, shape);
  if (!missing) {
    append_rows(target, profile, fold.shown);
  } else {
    auto mask = file.create("/target_mask", Hdf5Type::u8, shape);
    std::vector<float> values(genes);
    std::vector<std::uint8_t> observed(genes);
    std::vector<float> scratch;
    for (const auto row : fold.shown) {
      const float* stored = profile.row(row, scratch);
      for (std::size_t g = 0; g < genes; ++g) {
        const float value = stored[g];
        observed[g] = std::isnan(value) ? 0 : 1;
        values[g] = std::isnan(value) ? 0.0F : value;
      }
      target.append(values.data(), genes * sizeof(float));
      mask.append(observed.data(), genes);
    }
  }
  file.commit(false);
}

bool is_block_of_profiles(const FeatureBlock& block) {
  return block.name == "expression" || block.kind == CDRZOO_BLOCK_CODES;
}

bool asks_references(const Card& card) {
  return std::find(card.columns.begin(), card.columns.end(), "reference") != card.columns.end();
}

ProfileQueries profile_queries(const CellPlan& cell, const Fold& fold, const FoldProfiles& profiles) {
  auto rows = query_rows(cell, fold);
  if (!asks_references(cell.model->card)) return {{std::move(rows.validation), {}}, {std::move(rows.test), {}}};
  return {make_query(rows.validation, fold.validation, profiles.validation),
          make_query(rows.test, fold.test, profiles.test)};
}

AveragedProfiles average_references(const ProfileQuery& query, const RawProfilePart& answers) {
  const auto genes = static_cast<std::size_t>(answers.mean.cols);
  std::vector<std::size_t> first;  // observation with which each row begins
  for (std::size_t i = 0; i < query.row.size(); ++i)
    if (i == 0 || query.row[i] != query.row[i - 1]) first.push_back(i);
  std::sort(first.begin(), first.end(), [&](auto a, auto b) { return query.row[a] < query.row[b]; });

  AveragedProfiles out;
  out.prediction.assign(first.size() * genes, std::numeric_limits<float>::quiet_NaN());
  std::vector<double> sum(genes);
  for (std::size_t r = 0; r < first.size(); ++r) {
    const auto row = query.row[first[r]];
    std::fill(sum.begin(), sum.end(), 0.0);
    std::int32_t answered = 0, measured = 0, in_context = 0;
    for (std::size_t i = first[r]; i < query.row.size() && query.row[i] == row; ++i) {
      if (!query.reference.empty()) {
        const auto& reference = query.reference[i];
        measured += reference.row_a >= 0 || reference.row_b >= 0 ? 1 : 0;
        in_context = reference.in_context ? 1 : in_context;
      }
      if (answers.row_status[i] != 0) continue;
      ++answered;
      const float* mean = answers.mean.row(static_cast<std::int64_t>(i));
      for (std::size_t g = 0; g < genes; ++g) sum[g] += static_cast<double>(mean[g]);
    }
    out.row.push_back(row);
    out.status.push_back(answered > 0 ? 0 : answers.row_status[first[r]]);
    if (!query.reference.empty()) {
      out.n_references.push_back(measured);
      out.in_context.push_back(in_context);
    }
    if (answered == 0) continue;
    float* to = out.prediction.data() + r * genes;
    for (std::size_t g = 0; g < genes; ++g) to[g] = static_cast<float>(sum[g] / answered);
  }
  return out;
}

void check_profiles(const Experiment& experiment, const Dataset& dataset, const Split& split) {
  const bool expression = experiment.task == "expression";
  if (split.of_perturbations != expression) {
    throw UsageError("the split is of " +
                     std::string(split.of_perturbations ? "perturbation profiles" : "response records") +
                     ", and task \"" + experiment.task + "\" needs one of " +
                     (expression ? "perturbation profiles" : "response records"));
  }
  if (!expression) return;
  if (!dataset.perturbations || dataset.perturbations->size() == 0) {
    throw UsageError("task \"expression\" needs perturbation profiles, and data set " + dataset.name + " has none");
  }
  if (!dataset.fitted_steps.empty()) {
    throw UsageError("data set " + dataset.name +
                     " has fitted steps, which would scale the controls and not the treated profiles; build it "
                     "without them for task \"expression\"");
  }
}

ProfileDemands profile_demands(const Dataset& dataset, const Split& split) {
  const auto& p = *dataset.perturbations;
  std::vector<bool> used(static_cast<std::size_t>(p.size()), false);
  for (const auto& fold : split.folds)
    for (const auto* part : {&fold.train, &fold.validation, &fold.test, &fold.references})
      for (const auto row : *part) used[static_cast<std::size_t>(row)] = true;
  const auto genes = static_cast<std::uint64_t>(p.profile.cols);
  const auto expression = dataset.expression();
  std::vector<int> control(dataset.samples.id.size(), -1);  // 1 = has missing values
  ProfileDemands demands;
  for (std::size_t r = 0; r < used.size(); ++r) {
    if (!used[r]) continue;
    demands.doubles += p.drug_b[r] >= 0 ? 1 : 0;
    auto& known = control[static_cast<std::size_t>(p.control[r])];
    if (known < 0) known = any_nan(expression.row(p.control[r]), genes) ? 1 : 0;
    demands.missing += known == 1 || any_nan(p.profile, static_cast<std::int64_t>(r)) ? 1 : 0;
  }
  return demands;
}

void check_profile_card(const Card& card, const Dataset& dataset, const ProfileDemands& demands) {
  if (demands.doubles > 0 && std::find(card.columns.begin(), card.columns.end(), "drug_b") == card.columns.end()) {
    throw UsageError("model " + card.id +
                     " cannot see a second perturbation (its card lacks the column \"drug_b\"), and " +
                     std::to_string(demands.doubles) + " of the profiles of data set " + dataset.name +
                     " that the split uses have two");
  }
  if (demands.missing > 0 && !card.accepts_missing) {
    throw UsageError("model " + card.id + " does not accept missing values, and " + std::to_string(demands.missing) +
                     " of the profiles of data set " + dataset.name +
                     " that the split uses, or their controls, have some");
  }
}

}  // namespace cdrzoo
