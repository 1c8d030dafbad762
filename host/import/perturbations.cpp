// SPDX-License-Identifier: Apache-2.0
#include "import/perturbations.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <set>
#include <stdexcept>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/random.hpp"
#include "import/build_report.hpp"

namespace cdrzoo {
namespace {

constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// "3 cells of A, 2 of B and 7 more": the largest first.
std::string listed(const std::map<std::string, std::int64_t>& counts) {
  std::vector<std::pair<std::int64_t, std::string>> order;
  for (const auto& [name, count] : counts) order.emplace_back(-count, name);
  std::sort(order.begin(), order.end());
  constexpr std::size_t kShown = 5;
  std::string out;
  for (std::size_t i = 0; i < order.size() && i < kShown; ++i) {
    out += (i == 0 ? "" : ", ") + order[i].second + " " + std::to_string(-order[i].first);
  }
  if (order.size() > kShown) out += ", and " + std::to_string(order.size() - kShown) + " more";
  return out;
}

/// Words of annotation files for "not known". L1000 files write -666.
bool is_unknown(const std::string& text) {
  for (const char* word : {"", "NA", "N/A", "NaN", "nan", "null", "None", "-666"}) {
    if (text == word) return true;
  }
  return false;
}

/// Powers of ten to molar, or factors to hours.
double dose_exponent(const std::string& unit) {
  if (unit == "nM") return -9.0;
  if (unit == "uM") return -6.0;
  if (unit == "mM") return -3.0;
  if (unit == "M") return 0.0;
  throw UsageError("unknown unit '" + unit + "' of doses; known: nM, uM, mM, M");
}
double hours(const std::string& unit) {
  if (unit == "h") return 1.0;
  if (unit == "min") return 1.0 / 60.0;
  if (unit == "d") return 24.0;
  throw UsageError("unknown unit '" + unit + "' of times; known: h, min, d");
}

/// What was done to one sample, in one context. Orders conditions by name, so that the order of the file does not
/// matter; unknown numbers come first.
struct Condition {
  std::string context;
  std::string drug;
  std::string drug_b;  ///< empty = single
  float dose_log10_molar = kUnknown;
  float time_h = kUnknown;
  bool operator<(const Condition& other) const {
    const auto number = [](float x) { return std::isnan(x) ? -std::numeric_limits<float>::infinity() : x; };
    return std::make_tuple(std::cref(context), std::cref(drug), std::cref(drug_b), number(dose_log10_molar),
                           number(time_h)) < std::make_tuple(std::cref(other.context), std::cref(other.drug),
                                                             std::cref(other.drug_b), number(other.dose_log10_molar),
                                                             number(other.time_h));
  }
};

class Importer {
 public:
  Importer(MatrixSource& source, const TextColumns& annotations, const PerturbationRule& rule,
           const GeneSelection& genes, std::int32_t domain, DatasetContent& content, std::vector<std::string>& steps)
      : source_(source),
        annotations_(annotations),
        rule_(rule),
        genes_(genes),
        domain_(domain),
        out_(content),
        steps_(steps),
        width_(content.genes.size()) {}

  void run() {
    check();
    sort_samples();
    drop_conditions();
    lay_out();
    read();
    take_means();
    add_lists();
    tell();
  }

 private:
  /// Where a sample goes: kDropped, or a condition, or ~context for a control.
  static constexpr std::int64_t kDropped = std::numeric_limits<std::int64_t>::max();

  void say(const std::string& sentence) { steps_.push_back(name() + ": " + sentence); }
  [[nodiscard]] const std::string& name() const { return out_.domains.name.at(at(domain_)); }

  [[nodiscard]] const std::vector<std::string>& column(const std::string& word, const std::string& wanted) const {
    if (const auto* found = annotations_.find(wanted)) return *found;
    constexpr std::size_t kShown = 30;
    std::string known;
    for (std::size_t i = 0; i < annotations_.names.size() && i < kShown; ++i) {
      known += (i == 0 ? "" : ", ") + annotations_.names[i];
    }
    if (annotations_.names.size() > kShown) known += ", ...";
    throw UsageError("domain " + name() + ": the samples of " +
                     (rule_.annotations_file.empty() ? source_.path().string() : rule_.annotations_file) +
                     " have no column '" + wanted + "' (" + word + "); they have: " + known);
  }
  [[nodiscard]] const std::vector<std::string>* optional_column(const char* word, const std::string& wanted) const {
    return wanted.empty() ? nullptr : &column(word, wanted);
  }

  void check() const {
    const auto refuse = [this](const std::string& what) { throw UsageError("domain " + name() + ": " + what); };
    if (genes_.columns.size() != width_ || annotations_.rows() != static_cast<std::int64_t>(source_.samples().size())) {
      throw std::logic_error("add_perturbations: genes or annotations do not fit");
    }
    if (rule_.perturbation.empty()) refuse("which column says what was applied (perturbation) is not given");
    if (rule_.controls.empty()) refuse("which values mean untreated (controls) is not given");
    if (rule_.pairing == PerturbationRule::Control::random && rule_.level != PerturbationRule::Level::cell) {
      refuse("a random control per profile needs profiles of single cells (level = \"cell\")");
    }
    if (rule_.storage == ProfileStorage::sparse && rule_.level != PerturbationRule::Level::cell) {
      refuse("sparse profiles (storage = \"sparse\") need profiles of single cells (level = \"cell\")");
    }
    if (rule_.deg_genes < 0 || rule_.min_replicates < 1) {
      refuse("deg_genes must be 0 or more, min_replicates 1 or more");
    }
    if (!rule_.dose.empty() && rule_.constant_dose) refuse("a column and a constant are given as dose");
    if (!rule_.time.empty() && rule_.constant_time) refuse("a column and a constant are given as time");
    if (rule_.constant_dose.value_or(1.0) <= 0.0) refuse("the dose must be positive");
    if (rule_.constant_time.value_or(0.0) < 0.0) refuse("the time must not be negative");
  }

  [[noreturn]] void wrong(std::int64_t sample, const std::string& column, const std::string& what) const {
    throw DataError((rule_.annotations_file.empty()
                         ? source_.place_of_sample(sample)
                         : rule_.annotations_file + ", sample " + excerpt(source_.samples()[at(sample)])) +
                    ": column '" + column + "': " + what);
  }

  /// The number in a field; NaN where it is not known.
  [[nodiscard]] double number(std::int64_t sample, const std::string& column, const std::string& text) const {
    if (is_unknown(text)) return std::nan("");
    double value = 0.0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
      wrong(sample, column, "expected a number, found " + excerpt(text));
    }
    return value == -666.0 ? std::nan("") : value;  // -666.0 in files that write it as a number
  }

  /// Text of the columns that make a context, joined by "/"; empty if one of them is not known.
  [[nodiscard]] std::string context_of(const std::vector<const std::vector<std::string>*>& columns,
                                       std::int64_t sample) {
    if (columns.empty()) return name();
    std::string out;
    std::vector<std::string> parts;
    for (const auto* values : columns) {
      const std::string& text = (*values)[at(sample)];
      if (is_unknown(text)) return "";
      out += (out.empty() ? "" : "/") + text;
      parts.push_back(text);
    }
    const auto& known = parts_of_context_.emplace(out, parts).first->second;
    if (known != parts) {
      throw DataError("domain " + name() + ": two contexts have the name " + excerpt(out) +
                      ", because their columns hold a \"/\" in different places; use other columns or values");
    }
    return out;
  }

  /// Parts of a combination without those that are a control: "A+ctrl" is A.
  [[nodiscard]] std::vector<std::string> parts_of(const std::string& text,
                                                  const std::set<std::string>& controls) const {
    std::vector<std::string> parts;
    std::size_t begin = 0;
    for (;;) {
      const std::size_t end = rule_.combination.empty() ? std::string::npos : text.find(rule_.combination, begin);
      std::string part = text.substr(begin, end == std::string::npos ? end : end - begin);
      if (rule_.control_column.empty() && controls.count(part) != 0)
        part.clear();
      else if (part.empty())
        return {"", "", ""};  // "A++B" is nothing that is known
      if (!part.empty()) parts.push_back(part);
      if (end == std::string::npos) return parts;
      begin = end + rule_.combination.size();
    }
  }

  [[nodiscard]] std::string drug_id(const std::string& perturbation) {
    std::string id = rule_.drug_of ? rule_.drug_of(perturbation) : perturbation;
    const auto [known, fresh] = drug_name_.emplace(id, perturbation);
    if (!fresh) known->second = std::min(known->second, perturbation);
    return id;
  }

  /// Decides what every sample is, from the annotations alone.
  void sort_samples() {
    std::vector<const std::vector<std::string>*> context_columns;
    for (const auto& c : rule_.context) context_columns.push_back(&column("context", c));
    const auto& perturbation = column("perturbation", rule_.perturbation);
    const auto* control_column = optional_column("control_column", rule_.control_column);
    const auto* dose = optional_column("dose", rule_.dose);
    const auto* time = optional_column("time", rule_.time);
    const std::set<std::string> controls(rule_.controls.begin(), rule_.controls.end());
    const double dose_unit = dose != nullptr || rule_.constant_dose ? dose_exponent(rule_.dose_unit) : 0.0;
    const double time_unit = time != nullptr || rule_.constant_time ? hours(rule_.time_unit) : 0.0;

    std::map<std::string, std::int64_t> contexts;
    std::map<Condition, std::int64_t> conditions;
    const std::int64_t samples = annotations_.rows();
    std::vector<const std::string*> context_of_control(at(samples), nullptr);
    std::vector<const Condition*> condition_of(at(samples), nullptr);
    for (std::int64_t i = 0; i < samples; ++i) {
      if (!rule_.counts.empty() && !rule_.counts[at(i)]) continue;
      Condition c;
      c.context = context_of(context_columns, i);
      if (c.context.empty()) {
        ++without_context_;
        continue;
      }
      const std::string& text = perturbation[at(i)];
      const bool told = control_column != nullptr;
      bool untreated = controls.count(told ? (*control_column)[at(i)] : text) != 0;
      std::vector<std::string> parts;
      if (!untreated) {
        if (is_unknown(text)) {
          ++without_perturbation_;
          continue;
        }
        parts = parts_of(text, controls);
        untreated = parts.empty();  // "ctrl+ctrl"
      }
      if (untreated) {
        context_of_control[at(i)] = &contexts.emplace(c.context, 0).first->first;
        continue;
      }
      if (parts.size() > 2) {
        ++too_many_[text];
        continue;
      }
      c.drug = drug_id(parts[0]);
      if (parts.size() == 2) c.drug_b = drug_id(parts[1]);
      if (c.drug == c.drug_b) {
        ++repeated_[text];
        continue;
      }
      if (!c.drug_b.empty() && c.drug_b < c.drug) std::swap(c.drug, c.drug_b);
      double given_dose = rule_.constant_dose.value_or(std::nan(""));
      if (dose != nullptr) {
        given_dose = number(i, rule_.dose, (*dose)[at(i)]);
        if (given_dose <= 0.0)
          wrong(i, rule_.dose, "the dose of a treated sample is " + (*dose)[at(i)] + "; expected a positive number");
      }
      double given_time = rule_.constant_time.value_or(std::nan(""));
      if (time != nullptr) {
        given_time = number(i, rule_.time, (*time)[at(i)]);
        if (given_time < 0.0) wrong(i, rule_.time, "is " + (*time)[at(i)] + "; expected 0 or more");
      }
      c.dose_log10_molar = static_cast<float>(std::log10(given_dose) + dose_unit);
      c.time_h = static_cast<float>(given_time * time_unit);
      const auto entry = conditions.emplace(c, 0).first;
      ++entry->second;
      condition_of[at(i)] = &entry->first;
    }

    std::int64_t next = 0;
    for (auto& [context, index] : contexts) {
      index = next++;
      context_name_.push_back(context);
    }
    next = 0;
    for (auto& [condition, count] : conditions) {
      condition_.push_back(condition);
      count_.push_back(count);
      count = next++;  // from here on the position
    }
    context_count_.assign(context_name_.size(), 0);
    place_.assign(at(samples), kDropped);
    for (std::int64_t i = 0; i < samples; ++i) {
      if (condition_of[at(i)] != nullptr) place_[at(i)] = conditions.at(*condition_of[at(i)]);
      if (context_of_control[at(i)] == nullptr) continue;
      const std::int64_t context = contexts.at(*context_of_control[at(i)]);
      place_[at(i)] = ~context;
      ++context_count_[at(context)];
    }
    context_index_ = std::move(contexts);
  }

  /// Conditions without a control or with too few samples go, with their samples.
  void drop_conditions() {
    std::vector<std::int64_t> new_position(condition_.size(), kDropped);
    std::vector<Condition> kept;
    std::vector<std::int64_t> count;
    for (std::size_t c = 0; c < condition_.size(); ++c) {
      if (context_index_.count(condition_[c].context) == 0) {
        without_control_[condition_[c].context] += count_[c];
      } else if (count_[c] < rule_.min_replicates) {
        ++thin_conditions_;
        thin_samples_ += count_[c];
      } else {
        new_position[c] = static_cast<std::int64_t>(kept.size());
        kept.push_back(condition_[c]);
        count.push_back(count_[c]);
      }
    }
    condition_ = std::move(kept);
    count_ = std::move(count);
    for (auto& place : place_) {
      if (place != kDropped && place >= 0) place = new_position[at(place)];
    }
    if (condition_.empty()) {
      throw DataError(
          "domain " + name() + ": no sample of " + source_.path().string() +
          " is left that is treated and has a control" +
          (without_control_.empty() ? "" : " (contexts without a control: " + listed(without_control_) + ")") +
          (thin_conditions_ == 0
               ? ""
               : "; " + count_of(thin_conditions_, "condition has", "conditions have") +
                     " fewer than min_replicates = " + std::to_string(rule_.min_replicates) + " samples"));
    }
  }

  /// One value per context for a column that says something of contexts.
  [[nodiscard]] std::vector<std::string> per_context(const char* word, const std::string& wanted) const {
    std::vector<std::string> out(context_name_.size());
    if (wanted.empty()) return out;
    const auto& values = column(word, wanted);
    for (std::size_t i = 0; i < place_.size(); ++i) {
      if (place_[i] == kDropped) continue;
      const std::int64_t context = place_[i] < 0 ? ~place_[i] : context_index_.at(condition_[at(place_[i])].context);
      std::string& known = out[at(context)];
      if (is_unknown(values[i]) || known == values[i]) continue;
      if (!known.empty()) {
        wrong(static_cast<std::int64_t>(i), wanted,
              "context " + context_name_[at(context)] + " has " + excerpt(values[i]) + " here and " + excerpt(known) +
                  " before; a context needs one " + word);
      }
      known = values[i];
    }
    return out;
  }

  [[nodiscard]] std::int32_t tissue_index(const std::string& tissue) {
    if (tissue.empty()) return -1;
    const auto found = std::find(out_.tissues.begin(), out_.tissues.end(), tissue);
    const auto index = static_cast<std::int32_t>(found - out_.tissues.begin());
    if (found == out_.tissues.end()) out_.tissues.push_back(tissue);
    return index;
  }

  void add_sample(const std::string& id, std::int64_t context, const std::string& group, std::int32_t tissue) {
    out_.sample_id.push_back(id);
    out_.sample_group.push_back(group.empty() ? context_name_[at(context)] : group);
    out_.sample_domain.push_back(domain_);
    out_.sample_tissue.push_back(tissue);
  }

  /// Adds samples, drugs and rows without their values.
  void lay_out() {
    const std::vector<std::string> group = per_context("group", rule_.group);
    std::vector<std::int32_t> tissue;
    for (const auto& t : per_context("tissue", rule_.tissue)) tissue.push_back(tissue_index(t));
    first_sample_ = out_.sample_id.size();
    std::set<std::string> taken(out_.sample_id.begin(), out_.sample_id.end());
    std::vector<std::vector<std::int32_t>> controls(context_name_.size());  // sample indices
    sample_of_.assign(place_.size(), -1);
    if (rule_.pairing == PerturbationRule::Control::mean) {
      for (std::size_t k = 0; k < context_name_.size(); ++k) {
        std::string id = context_name_[k];
        if (!taken.insert(id).second) id += ":control";
        if (!taken.insert(id).second && id != context_name_[k]) {
          throw DataError("domain " + name() + ": the control of context " + context_name_[k] +
                          " has no free name, because other samples are named " + context_name_[k] + " and " + id);
        }
        controls[k] = {static_cast<std::int32_t>(out_.sample_id.size())};
        add_sample(id, static_cast<std::int64_t>(k), group[k], tissue[k]);
      }
    } else {
      // By name: the order of the file does not matter to what is drawn.
      for (const std::size_t i : by_name()) {
        if (place_[i] >= 0) continue;
        const std::int64_t context = ~place_[i];
        const std::string& id = source_.samples()[i];
        if (!taken.insert(id).second) {
          throw DataError(source_.place_of_sample(static_cast<std::int64_t>(i)) + ": the name " + excerpt(id) +
                          " is not unique; single cells as controls need unique names");
        }
        sample_of_[i] = static_cast<std::int64_t>(out_.sample_id.size());
        controls[at(context)].push_back(static_cast<std::int32_t>(out_.sample_id.size()));
        add_sample(id, context, group[at(context)], tissue[at(context)]);
      }
    }
    out_.expression.resize(out_.sample_id.size() * width_, genes_.absent);

    std::unordered_map<std::string, std::int32_t> drugs;
    for (std::size_t j = 0; j < out_.drug_id.size(); ++j) drugs.emplace(out_.drug_id[j], static_cast<std::int32_t>(j));
    std::set<std::string> used;
    for (const auto& c : condition_) {
      used.insert(c.drug);
      if (!c.drug_b.empty()) used.insert(c.drug_b);
    }
    for (const auto& id : used) {
      if (!drugs.emplace(id, static_cast<std::int32_t>(out_.drug_id.size())).second) continue;
      out_.drug_id.push_back(id);
      out_.drug_name.push_back(drug_name_.at(id));
      out_.drug_smiles.emplace_back();
      out_.drug_group.push_back("id:" + id);
      out_.drug_scaffold.emplace_back();
      ++new_drugs_;
    }

    // Two domains may have a context of the same name.
    const std::size_t first_context = out_.perturbation_contexts.size();
    const std::set<std::string> known(out_.perturbation_contexts.begin(), out_.perturbation_contexts.end());
    for (const auto& context : context_name_) {
      out_.perturbation_contexts.push_back(known.count(context) == 0 ? context : name() + ":" + context);
    }
    out_.control_context.resize(out_.sample_id.size(), -1);
    for (std::size_t k = 0; k < controls.size(); ++k) {
      for (const auto sample : controls[k])
        out_.control_context[at(sample)] = static_cast<std::int32_t>(first_context + k);
    }
    const auto row_of = [&](const Condition& c, std::int32_t control, std::int64_t replicates) {
      DatasetContent::Perturbation row;
      row.control = control;
      row.drug = drugs.at(c.drug);
      row.drug_b = c.drug_b.empty() ? -1 : drugs.at(c.drug_b);
      row.dose_log10_molar = c.dose_log10_molar;
      row.time_h = c.time_h;
      row.context = static_cast<std::int32_t>(first_context + at(context_index_.at(c.context)));
      row.replicates = static_cast<std::int32_t>(replicates);
      return row;
    };
    row_of_.assign(place_.size(), -1);
    first_row_ = out_.perturbations.size();
    if (rule_.level == PerturbationRule::Level::condition) {
      for (std::size_t c = 0; c < condition_.size(); ++c) {
        const auto context = at(context_index_.at(condition_[c].context));
        out_.perturbations.push_back(row_of(condition_[c], controls[context][0], count_[c]));
      }
    } else {
      // Condition by condition, so that conditions are met in the order of condition_. By name, so that the order of
      // the file does not matter to what is drawn, and without repetition: the mean of the drawn controls is then
      // nearer to that of all, which scores take the change against.
      std::vector<std::vector<std::size_t>> members(condition_.size());
      for (const std::size_t i : by_name()) {
        if (place_[i] != kDropped && place_[i] >= 0) members[at(place_[i])].push_back(i);
      }
      for (std::size_t c = 0; c < condition_.size(); ++c) {
        const auto& choice = controls[at(context_index_.at(condition_[c].context))];
        const auto order =
            random_permutation(choice.size(), derive_seed(rule_.seed, "control/" + key_of(condition_[c])));
        for (std::size_t k = 0; k < members[c].size(); ++k) {
          row_of_[members[c][k]] = static_cast<std::int64_t>(out_.perturbations.size());
          out_.perturbations.push_back(row_of(condition_[c], choice[at(order[k % order.size()])], 1));
        }
      }
    }
  }

  /// A condition as text, for a seed.
  static std::string key_of(const Condition& c) {
    const auto number = [](float x) {
      char text[32] = "";  // of an unknown one
      if (!std::isnan(x)) std::snprintf(text, sizeof text, "%.9g", static_cast<double>(x));
      return std::string(text);
    };
    return c.context + "/" + c.drug + "/" + c.drug_b + "/" + number(c.dose_log10_molar) + "/" + number(c.time_h);
  }

  /// Numbers of the samples in the order of their names.
  [[nodiscard]] std::vector<std::size_t> by_name() const {
    std::vector<std::size_t> order(place_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto& names = source_.samples();
    std::stable_sort(order.begin(), order.end(),
                     [&names](std::size_t a, std::size_t b) { return names[a] < names[b]; });
    return order;
  }

  /// Sums over conditions, then contexts' controls, are kept in slots.
  [[nodiscard]] std::size_t slots() const { return condition_.size() + context_name_.size(); }
  [[nodiscard]] std::int64_t slot_of(std::int64_t place) const {
    if (place == kDropped) return -1;
    return place < 0 ? static_cast<std::int64_t>(condition_.size()) + ~place : place;
  }
  [[nodiscard]] std::int64_t size_of(std::size_t slot) const {
    return slot < condition_.size() ? count_[slot] : context_count_[slot - condition_.size()];
  }

  void take(std::int64_t sample, std::size_t slot, std::size_t gene, float value) {
    if (!std::isfinite(value)) {
      if (std::isinf(value)) {
        throw DataError(source_.place_of_sample(sample) + ": gene " + out_.genes[gene] + " is infinite");
      }
      if (missing_.empty()) missing_.assign(slots() * width_, 0);
      ++missing_[slot * width_ + gene];
    } else {
      const auto x = static_cast<double>(value);
      sum_[slot * width_ + gene] += x;
      if (!squares_.empty()) squares_[slot * width_ + gene] += x * x;
    }
    if (row_of_[at(sample)] >= 0) {
      if (filler_) {
        filler_->count(at(row_of_[at(sample)]) - first_row_, value);
      } else {
        put_dense(sample, gene, value);
      }
    }
    if (sample_of_[at(sample)] >= 0) out_.expression[at(sample_of_[at(sample)]) * width_ + gene] = value;
  }

  void read() {
    sum_.assign(slots() * width_, 0.0);
    if (rule_.deg_rule == PerturbationRule::DegRule::welch_t && rule_.deg_genes > 0) {
      squares_.assign(slots() * width_, 0.0);
    }
    std::vector<std::int64_t> slot;
    for (const auto place : place_) slot.push_back(slot_of(place));
    const bool cells = rule_.level == PerturbationRule::Level::cell;
    const bool others_dense = first_row_ > 0 && !out_.sparse_profile;
    if (cells && rule_.storage != ProfileStorage::dense && !others_dense) {
      filler_.emplace(out_.perturbations.size() - first_row_, width_);
    } else {
      make_dense();
    }
    for_each_value(slot, [this](std::int64_t sample, std::size_t slot_of_it, std::size_t gene, float value) {
      take(sample, slot_of_it, gene, value);
    });
    if (filler_) fill(slot);
    if (cells && others_dense && rule_.storage != ProfileStorage::dense)
      say("profiles are stored dense, as those of another domain are");
  }

  /// Calls \p take(sample, slot, gene of the data set, value) for every value of a sample that counts, in the order of
  /// the file; genes ascend where it is stored by samples.
  template <typename Take>
  void for_each_value(const std::vector<std::int64_t>& slot, const Take& take) {
    if (source_.lines() == MatrixSource::Lines::samples) {
      source_.read([&](std::int64_t sample, const float* values) {
        if (slot[at(sample)] < 0) return;
        for (std::size_t g = 0; g < width_; ++g) {
          if (genes_.columns[g] >= 0) take(sample, at(slot[at(sample)]), g, values[genes_.columns[g]]);
        }
      });
      return;
    }
    std::vector<std::vector<std::size_t>> genes_of_column(source_.genes().size());
    for (std::size_t g = 0; g < width_; ++g) {
      if (genes_.columns[g] >= 0) genes_of_column.at(at(genes_.columns[g])).push_back(g);
    }
    source_.read([&](std::int64_t column, const float* values) {
      for (const std::size_t g : genes_of_column[at(column)]) {
        for (std::size_t i = 0; i < slot.size(); ++i) {
          if (slot[i] >= 0) take(static_cast<std::int64_t>(i), at(slot[i]), g, values[i]);
        }
      }
    });
  }

  void put_dense(std::int64_t sample, std::size_t gene, float value) {
    out_.perturbation_profile[at(row_of_[at(sample)]) * width_ + gene] = value;
  }

  /// Room for all rows, dense; those of earlier domains become so if they are not.
  void make_dense() {
    const RowMatrix before = out_.profiles();
    if (out_.sparse_profile) {
      say("profiles are stored dense, those of other domains too");
      std::vector<float> rows(first_row_ * width_);
      for (std::size_t i = 0; i < first_row_; ++i)
        before.copy_row(static_cast<std::int64_t>(i), rows.data() + i * width_);
      out_.perturbation_profile = std::move(rows);
      out_.sparse_profile.reset();
    }
    out_.perturbation_profile.resize(out_.perturbations.size() * width_, genes_.absent);
  }

  /// The second reading, now that it is known how the profiles are stored.
  void fill(const std::vector<std::int64_t>& slot) {
    const std::size_t rows = out_.perturbations.size() - first_row_;
    std::vector<std::size_t> absent;  // genes that the source lacks: the same in all rows
    for (std::size_t g = 0; g < width_; ++g) {
      if (genes_.columns[g] < 0) absent.push_back(g);
    }
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t k = 0; k < absent.size(); ++k) filler_->count(row, genes_.absent);
    }
    const bool demanded = rule_.storage == ProfileStorage::sparse;
    if (demanded && filler_->missing() > 0) {
      throw DataError("domain " + name() + ": storage = \"sparse\", but " +
                      count_of(filler_->missing(), "value", "values") + " of the profiles of " +
                      source_.path().string() + (filler_->missing() == 1 ? " is" : " are") +
                      " missing; such profiles are stored dense");
    }
    const bool sparse = demanded || filler_->is_sparse();
    char share[32];
    std::snprintf(share, sizeof share, "%.1f %%", 100.0 * filler_->share());
    say(std::string("profiles are stored ") + (sparse ? "sparse" : "dense") + ": " + share +
        " of their values are not 0" +
        (filler_->missing() > 0 ? ", " + std::to_string(filler_->missing()) + " of them missing" : ""));
    const auto second = [&](const auto& put) {
      for_each_value(slot, [&](std::int64_t sample, std::size_t, std::size_t gene, float value) {
        if (row_of_[at(sample)] >= 0) put(sample, gene, value);
      });
    };
    if (!sparse) {
      make_dense();
      second([this](std::int64_t sample, std::size_t gene, float value) { put_dense(sample, gene, value); });
      return;
    }
    if (!out_.sparse_profile) out_.sparse_profile.emplace();
    filler_->begin(*out_.sparse_profile);
    second([this](std::int64_t sample, std::size_t gene, float value) {
      filler_->put(at(row_of_[at(sample)]) - first_row_, gene, value);
    });
    for (std::size_t row = 0; row < rows; ++row) {
      for (const std::size_t g : absent) filler_->put(row, g, genes_.absent);
    }
    filler_->finish();
  }

  /// Number of values behind a sum.
  [[nodiscard]] std::int64_t present(std::size_t slot, std::size_t gene) const {
    return size_of(slot) - (missing_.empty() ? 0 : missing_[slot * width_ + gene]);
  }
  /// NaN if there is no value.
  [[nodiscard]] double mean(std::size_t slot, std::size_t gene) const {
    const std::int64_t n = present(slot, gene);
    return n == 0 ? std::nan("") : sum_[slot * width_ + gene] / static_cast<double>(n);
  }
  /// Unbiased; NaN for less than two values.
  [[nodiscard]] double variance(std::size_t slot, std::size_t gene) const {
    const auto n = static_cast<double>(present(slot, gene));
    if (n < 2.0) return std::nan("");
    const double square = squares_[slot * width_ + gene] / n;
    const double m = mean(slot, gene);
    const double spread = square - m * m;
    // What rounding leaves of equal values is no variance.
    constexpr double kNoise = 1e-12;
    return spread <= kNoise * square ? 0.0 : spread * n / (n - 1.0);
  }

  void take_means() {
    const bool pseudobulk = rule_.level == PerturbationRule::Level::condition;
    const bool one_control = rule_.pairing == PerturbationRule::Control::mean;
    for (std::size_t g = 0; g < width_; ++g) {
      if (genes_.columns[g] < 0) continue;
      for (std::size_t c = 0; pseudobulk && c < condition_.size(); ++c) {
        out_.perturbation_profile[(first_row_ + c) * width_ + g] = static_cast<float>(mean(c, g));
      }
      for (std::size_t k = 0; one_control && k < context_name_.size(); ++k) {
        out_.expression[(first_sample_ + k) * width_ + g] = static_cast<float>(mean(condition_.size() + k, g));
      }
    }
  }

  /// How different a gene is: first what the rule says, then the difference. Negative if it cannot be told.
  [[nodiscard]] std::pair<double, double> score(std::size_t condition, std::size_t control, std::size_t gene) const {
    const std::pair<double, double> nothing{-1.0, -1.0};
    if (genes_.columns[gene] < 0) return nothing;
    const double difference = std::abs(mean(condition, gene) - mean(control, gene));
    if (std::isnan(difference)) return nothing;
    if (squares_.empty()) return {difference, difference};
    const double error = variance(condition, gene) / static_cast<double>(present(condition, gene)) +
                         variance(control, gene) / static_cast<double>(present(control, gene));
    if (std::isnan(error)) return nothing;
    if (error == 0.0) return {difference == 0.0 ? 0.0 : std::numeric_limits<double>::infinity(), difference};
    return {difference / std::sqrt(error), difference};
  }

  void add_lists() {
    const std::int64_t length = std::min(rule_.deg_genes, static_cast<std::int64_t>(width_));
    const std::string words = rule_.deg_rule == PerturbationRule::DegRule::welch_t
                                  ? "largest |Welch t| between the treated and the control samples of the context"
                                  : "largest |mean of the treated - mean of the controls of the context|";
    const bool first = first_row_ == 0;
    if (!first && (length != out_.deg_genes || (length > 0 && words != out_.deg_rule))) {
      throw UsageError("domain " + name() +
                       ": its DEG lists (deg_genes, deg_rule) differ from those of another domain");
    }
    if (length == 0) return;
    out_.deg_genes = length;
    out_.deg_rule = words;
    std::vector<std::pair<double, double>> scores(width_);
    std::vector<std::int32_t> order;
    for (std::size_t c = 0; c < condition_.size(); ++c) {
      const std::size_t control = condition_.size() + at(context_index_.at(condition_[c].context));
      order.clear();
      for (std::size_t g = 0; g < width_; ++g) {
        scores[g] = score(c, control, g);
        if (scores[g].first >= 0.0) order.push_back(static_cast<std::int32_t>(g));
      }
      const auto end = order.begin() + std::min(length, static_cast<std::int64_t>(order.size()));
      std::partial_sort(order.begin(), end, order.end(), [&scores](std::int32_t a, std::int32_t b) {
        return scores[at(a)] != scores[at(b)] ? scores[at(a)] > scores[at(b)] : a < b;
      });
      if (order.empty()) ++without_list_;
      std::vector<std::int32_t> list(order.begin(), end);
      list.resize(at(length), -1);
      out_.deg.insert(out_.deg.end(), list.begin(), list.end());
    }
  }

  void tell() {
    const std::string file = source_.path().filename().string();
    if (without_context_ > 0) {
      say("dropped " + count_of(without_context_, "sample", "samples") + " whose context is not known");
    }
    if (without_perturbation_ > 0) {
      say("dropped " + count_of(without_perturbation_, "sample", "samples") + " without a perturbation");
    }
    const auto total = [](const std::map<std::string, std::int64_t>& counts) {
      std::int64_t sum = 0;
      for (const auto& entry : counts) sum += entry.second;
      return sum;
    };
    if (!too_many_.empty()) {
      say("dropped " + count_of(total(too_many_), "sample", "samples") +
          " whose perturbation is not one or two names: " + listed(too_many_));
    }
    if (!repeated_.empty()) {
      say("dropped " + count_of(total(repeated_), "sample", "samples") +
          " with the same perturbation twice: " + listed(repeated_));
    }
    if (!without_control_.empty()) {
      say("dropped " + count_of(total(without_control_), "sample", "samples") + " of " +
          count_of(without_control_.size(), "context", "contexts") + " without a control: " + listed(without_control_));
    }
    if (thin_conditions_ > 0) {
      say("dropped " + count_of(thin_conditions_, "condition", "conditions") + " (" +
          count_of(thin_samples_, "sample", "samples") + ") with fewer than " + std::to_string(rule_.min_replicates) +
          " replicates");
    }
    std::map<std::string, std::int64_t> controls;
    for (std::size_t k = 0; k < context_name_.size(); ++k) controls[context_name_[k]] = context_count_[k];
    const std::int64_t treated = std::accumulate(count_.begin(), count_.end(), std::int64_t{0});
    const auto doubles =
        std::count_if(condition_.begin(), condition_.end(), [](const Condition& c) { return !c.drug_b.empty(); });
    const auto conditions = static_cast<std::int64_t>(condition_.size());
    say(count_of(total(controls), "control", "controls") + " and " +
        count_of(treated, "treated sample", "treated samples") + " of " + file + ": " +
        count_of(conditions, "condition", "conditions") + " (" + std::to_string(conditions - doubles) + " single, " +
        std::to_string(doubles) + " double) in " + count_of(context_name_.size(), "context", "contexts"));
    say("controls per context: " + listed(controls));
    std::set<std::string> used;
    for (const auto& c : condition_) used.insert(c.context);
    if (used.size() < context_name_.size()) {
      say(count_of(context_name_.size() - used.size(), "context has", "contexts have") +
          " controls only; kept as samples");
    }
    if (rule_.level == PerturbationRule::Level::condition) {
      const auto [low, high] = std::minmax_element(count_.begin(), count_.end());
      say("profiles are means of the samples of a condition (" + std::to_string(*low) +
          (*low == *high ? " each" : " to " + std::to_string(*high)) + "), controls means of those of a context");
    } else if (rule_.pairing == PerturbationRule::Control::mean) {
      say("each treated sample is a profile; its control is the mean of the controls of its context");
    } else {
      say("each treated sample is a profile; its control is drawn from those of its context (seed " +
          std::to_string(rule_.seed) + "), and every control is a sample");
    }
    if (new_drugs_ > 0)
      say(count_of(new_drugs_, "perturbation", "perturbations") + " added as drugs without a structure");
    if (!missing_.empty()) {
      const auto missing = std::accumulate(missing_.begin(), missing_.end(), std::int64_t{0});
      say(count_of(missing, "missing value is", "missing values are") + " left out of the means");
    }
    if (out_.deg_genes > 0) {
      say("DEG lists of " + std::to_string(out_.deg_genes) + " genes: " + out_.deg_rule);
      if (without_list_ > 0) {
        say(count_of(without_list_, "condition has", "conditions have") +
            " no DEG list: too few replicates or no value");
      }
    }
  }

  MatrixSource& source_;
  const TextColumns& annotations_;
  const PerturbationRule& rule_;
  const GeneSelection& genes_;
  std::int32_t domain_;
  DatasetContent& out_;
  std::vector<std::string>& steps_;
  std::size_t width_;  ///< genes of the data set

  std::vector<std::int64_t> place_;        ///< per sample of the source
  std::vector<std::string> context_name_;  ///< contexts with a control, by name
  std::map<std::string, std::int64_t> context_index_;
  std::map<std::string, std::vector<std::string>> parts_of_context_;  ///< by name
  std::vector<std::int64_t> context_count_;                           ///< control samples
  std::vector<Condition> condition_;
  std::vector<std::int64_t> count_;               ///< treated samples per condition
  std::map<std::string, std::string> drug_name_;  ///< by id
  std::size_t first_sample_ = 0;
  std::size_t first_row_ = 0;
  std::vector<std::int64_t> sample_of_;  ///< per sample of the source the sample that it becomes, or -1
  std::vector<std::int64_t> row_of_;     ///< the same for profiles

  std::optional<SparseFiller> filler_;  ///< of this domain's profiles, where they may become sparse
  std::vector<double> sum_;             ///< [slots, genes]
  std::vector<double> squares_;         ///< the same, for Welch's t only
  std::vector<std::int32_t> missing_;   ///< the same, once a value is missing

  std::int64_t without_context_ = 0;
  std::int64_t without_perturbation_ = 0;
  std::map<std::string, std::int64_t> too_many_;
  std::map<std::string, std::int64_t> repeated_;
  std::map<std::string, std::int64_t> without_control_;
  std::int64_t thin_conditions_ = 0;
  std::int64_t thin_samples_ = 0;
  std::int64_t new_drugs_ = 0;
  std::int64_t without_list_ = 0;
};

}  // namespace

void add_perturbations(MatrixSource& source, const TextColumns& annotations, const PerturbationRule& rule,
                       const GeneSelection& genes, std::int32_t domain, DatasetContent& content,
                       std::vector<std::string>* steps) {
  Importer(source, annotations, rule, genes, domain, content, *steps).run();
}

}  // namespace cdrzoo
