// SPDX-License-Identifier: Apache-2.0
#include "run/profiles.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
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
  const auto shown_of = [&](const Rows& rows) {
    Rows of;
    of.reserve(rows.size());
    for (const auto row : rows) of.push_back(static_cast<std::int32_t>(shown[static_cast<std::size_t>(row)]));
    return of;
  };
  out.shown = shown_of(out.targets);
  out.entities_shown = shown_of(out.entities);
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

AveragedProfiles::AveragedProfiles(const ProfileQuery& query, const RawProfilePart& answers)
    : query_(query), answers_(answers) {
  for (std::size_t i = 0; i < query.row.size(); ++i)
    if (i == 0 || query.row[i] != query.row[i - 1]) first_.push_back(i);
  std::sort(first_.begin(), first_.end(), [&](auto a, auto b) { return query.row[a] < query.row[b]; });
  for (const auto begin : first_) {
    bool answered = false;
    std::int32_t measured = 0, inside = 0;
    for (std::size_t i = begin; i < query.row.size() && query.row[i] == query.row[begin]; ++i) {
      answered = answered || answers.row_status[i] == 0;
      if (query.reference.empty()) continue;
      const auto& reference = query.reference[i];
      measured += reference.row_a >= 0 || reference.row_b >= 0 ? 1 : 0;
      inside = reference.in_context ? 1 : inside;
    }
    row.push_back(query.row[begin]);
    status.push_back(answered ? 0 : answers.row_status[begin]);
    if (query.reference.empty()) continue;
    n_references.push_back(measured);
    in_context.push_back(inside);
  }
}

const float* AveragedProfiles::prediction(std::size_t i, std::vector<float>& scratch) const {
  const auto genes = static_cast<std::size_t>(answers_.mean.cols);
  std::vector<std::int64_t> answered;
  for (std::size_t k = first_[i]; k < query_.row.size() && query_.row[k] == row[i]; ++k)
    if (answers_.row_status[k] == 0) answered.push_back(static_cast<std::int64_t>(k));
  if (answered.size() == 1) return answers_.mean.row(answered.front());
  std::vector<double> sum(genes, 0.0);
  for (const auto k : answered) {
    const float* mean = answers_.mean.row(k);
    for (std::size_t g = 0; g < genes; ++g) sum[g] += static_cast<double>(mean[g]);
  }
  scratch.resize(genes);
  for (std::size_t g = 0; g < genes; ++g)
    scratch[g] = static_cast<float>(sum[g] / static_cast<double>(answered.size()));
  return scratch.data();
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
  (void)target_unit_of(dataset, split);
  if (!dataset.fitted_steps.empty()) {
    throw UsageError("data set " + dataset.name +
                     " has fitted steps, which would scale the controls and not the treated profiles; build it "
                     "without them for task \"expression\"");
  }
}

const std::string& target_unit_of(const Dataset& dataset, const Split& split) {
  const auto& p = *dataset.perturbations;
  std::set<std::int32_t> domains;
  for (const auto& fold : split.folds) {
    for (const auto* part : {&fold.train, &fold.validation, &fold.test, &fold.references}) {
      for (const auto row : *part) {
        const auto control = static_cast<std::size_t>(p.control[static_cast<std::size_t>(row)]);
        domains.insert(dataset.samples.domain[control]);
      }
    }
  }
  const auto& names = dataset.domains;
  const auto first = static_cast<std::size_t>(*domains.begin());
  for (const auto domain : domains) {
    const auto other = static_cast<std::size_t>(domain);
    if (names.expression_unit[other] == names.expression_unit[first]) continue;
    throw UsageError("the split has profiles of two units, \"" + names.expression_unit[first] + "\" of domain " +
                     names.name[first] + " and \"" + names.expression_unit[other] + "\" of domain " +
                     names.name[other] + "; name one domain as source in [split]");
  }
  return names.expression_unit[first];
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
