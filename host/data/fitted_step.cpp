// SPDX-License-Identifier: Apache-2.0
#include "data/fitted_step.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "base/error.hpp"

namespace cdrzoo {
namespace {

using Kind = FittedStep::Kind;
using From = FittedStep::From;

/// By position in Kind, which is the order in which steps may stand.
constexpr std::array<const char*, 3> kKinds = {"fill_minimum", "variable_genes", "zscore"};
constexpr std::array<const char*, 2> kFrom = {"own_domain", "source"};

template <std::size_t N>
std::size_t position(const std::array<const char*, N>& names, const std::string& name, const std::string& what) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  std::string known;
  for (const char* one : names) known += (known.empty() ? "" : ", ") + std::string(one);
  throw DataError(what + " '" + name + "' of a fitted step is not known to this program; known: " + known);
}

}  // namespace

const char* fitted_kind_name(Kind kind) { return kKinds.at(static_cast<std::size_t>(kind)); }

void check_fitted_steps(const std::vector<FittedStep>& steps, const std::vector<std::string>& domains,
                        std::int64_t genes) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto& step = steps[i];
    const auto name = "fitted step " + std::to_string(i + 1) + " (" + fitted_kind_name(step.kind) + ")";
    if (!step.domain.empty() && std::find(domains.begin(), domains.end(), step.domain) == domains.end())
      throw DataError(name + " is for the domain '" + step.domain + "', which the data set does not have");
    if (step.kind == Kind::variable_genes && (step.genes < 1 || step.genes > genes)) {
      throw DataError(name + " keeps " + std::to_string(step.genes) + " genes; expected 1 to " + std::to_string(genes));
    }
    if (step.from == From::source && step.kind != Kind::zscore)
      throw DataError(name + " takes statistics from the source; only zscore can");
    if (i > 0 && step.kind < steps[i - 1].kind) {
      throw DataError(name + " stands after " + fitted_kind_name(steps[i - 1].kind) +
                      "; the order is fill_minimum, variable_genes, zscore");
    }
    const auto clash = std::find_if(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(i), [&](const auto& s) {
      return s.kind == step.kind &&
             (s.kind == Kind::variable_genes || s.domain.empty() || step.domain.empty() || s.domain == step.domain);
    });
    if (clash != steps.begin() + static_cast<std::ptrdiff_t>(i))
      throw DataError(name + " repeats fitted step " + std::to_string(clash - steps.begin() + 1));
  }
}

nlohmann::json to_json(const std::vector<FittedStep>& steps) {
  auto list = nlohmann::json::array();
  for (const auto& step : steps) {
    nlohmann::json one = {{"step", fitted_kind_name(step.kind)}, {"domain", step.domain}};
    if (step.kind == Kind::zscore) one["from"] = kFrom.at(static_cast<std::size_t>(step.from));
    if (step.kind == Kind::variable_genes) one["genes"] = step.genes;
    list.push_back(std::move(one));
  }
  return list;
}

std::vector<FittedStep> fitted_steps_from_json(const nlohmann::json& json) {
  std::vector<FittedStep> steps;
  try {
    if (!json.is_array()) throw DataError("the fitted steps are not a list");
    for (const auto& one : json) {
      FittedStep step;
      step.kind = static_cast<Kind>(position(kKinds, one.at("step").get<std::string>(), "the kind"));
      for (const auto& [key, value] : one.items()) {
        if (key == "step") continue;
        if (key == "domain") {
          value.get_to(step.domain);
        } else if (key == "from" && step.kind == Kind::zscore) {
          step.from = static_cast<From>(position(kFrom, value.get<std::string>(), "the origin"));
        } else if (key == "genes" && step.kind == Kind::variable_genes) {
          if (!value.is_number_integer()) throw DataError("the member 'genes' of a fitted step is not a whole number");
          value.get_to(step.genes);
        } else {
          throw DataError("the member '" + key + "' of a fitted step is not known to this program");
        }
      }
      steps.push_back(std::move(step));
    }
  } catch (const nlohmann::json::exception& e) {
    throw DataError(std::string("a fitted step cannot be read: ") + words_of(e));
  }
  return steps;
}

std::string sentence_of(const FittedStep& step) {
  const auto of = step.domain.empty() ? std::string() : " of domain " + step.domain;
  switch (step.kind) {
    case Kind::fill_minimum:
      return "Missing expression" + of +
             " was filled with the minimum of the gene over the training samples of its domain in each fold.";
    case Kind::variable_genes:
      return (step.genes == 1 ? "The gene" : "The " + std::to_string(step.genes) + " genes") +
             " of largest variance over the training samples" + of + (step.genes == 1 ? " was" : " were") +
             " kept in each fold.";
    case Kind::zscore:
      if (step.from == FittedStep::From::source)
        return "Expression" + of + " was z-scored by the training samples of the source domain of each fold.";
      return "Expression" + of + " was z-scored " +
             (step.domain.empty() ? "per domain on the training samples of each fold."
                                  : "on the training samples of the domain in each fold.");
  }
  return {};
}

}  // namespace cdrzoo
