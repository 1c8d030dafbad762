// SPDX-License-Identifier: Apache-2.0
#include "import/response_reader.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <unordered_map>

#include "base/error.hpp"
#include "import/harmonise.hpp"

namespace cdrzoo {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
using Outcome = NameMatcher::Outcome;
using Matches = std::unordered_map<std::string, NameMatcher::Match>;

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

/// One pass over a table of responses.
class Reader {
 public:
  Reader(const Recipe::Response& rule, const DomainRows& domain, DrugTable& drugs, SourceFiles& files,
         BuildReport& report, DatasetContent& out)
      : rule_(rule), domain_(domain), drugs_(drugs), files_(files), report_(report), out_(out) {}

  void read() {
    match_names();
    FilteredTable source = files_.open(rule_);
    open_columns(source);
    const std::size_t first = out_.responses.size();
    while (source.next()) {
      ++rows_;
      const std::int32_t sample = sample_of(source);
      if (sample < 0) continue;
      if (rule_.wide) {
        for (std::size_t c = 0; c < source.table().header().size(); ++c) {
          if (c != sample_column_) read_record(source, sample, c, source.table().header()[c]);
        }
      } else {
        const bool constant = !rule_.drug_is.empty();
        read_record(source, sample, constant ? sample_column_ : drug_column_,
                    constant ? rule_.drug_is : source.clean(drug_column_));
      }
    }
    collapse(first);
    derive_labels(first);
    say(source, out_.responses.size() - first);
    if (out_.responses.size() == first) {
      throw DataError(source.table().path().string() + ": no row of it is a record of the domain " + name());
    }
  }

 private:
  [[nodiscard]] const std::string& name() const { return domain_.recipe().name; }

  [[nodiscard]] bool has_drug_column() const { return !rule_.wide && rule_.drug_is.empty(); }
  /// Position of the column that names the sample; the first one of a wide table if the recipe does not say.
  [[nodiscard]] std::size_t sample_column(Table& table) const {
    return rule_.sample.empty() ? 0 : table.column(rule_.sample);
  }

  /// What every name in the file means. A pass of its own, because a name may be ambiguous beside another one.
  void match_names() {
    FilteredTable source = files_.open(rule_);
    Table& table = source.table();
    const std::size_t sample = sample_column(table);
    const std::size_t drug = has_drug_column() ? table.column(rule_.drug) : FilteredTable::kNone;
    std::set<std::string> samples;
    std::vector<std::string> drugs;
    std::set<std::string> seen;
    while (source.next()) {
      if (const auto& text = source.clean(sample); !text.empty()) samples.insert(key(text));
      if (drug == FilteredTable::kNone) continue;
      if (const auto& text = source.clean(drug); !text.empty() && seen.insert(text).second) drugs.push_back(text);
    }
    if (!rule_.drug_is.empty()) drugs.push_back(rule_.drug_is);
    if (rule_.wide) {
      for (std::size_t c = 0; c < table.header().size(); ++c) {
        if (c != sample) drugs.push_back(table.header()[c]);
      }
    }
    // Names and the samples that bear them: a patient may have several.
    NameMatcher matcher(rule_.match_rule == NameRule::name ? NameRule::name : NameRule::exact);
    std::unordered_map<std::string, std::int32_t> index;
    for (const auto& [known, sample_number] : domain_.names(rule_.match, out_)) {
      const std::string own = key(known);
      if (own.empty()) continue;
      const auto at = index.emplace(own, static_cast<std::int32_t>(bearers_.size())).first;
      if (at->second == static_cast<std::int32_t>(bearers_.size())) bearers_.emplace_back();
      bearers_[static_cast<std::size_t>(at->second)].push_back(sample_number);
      matcher.know(own, at->second);
    }
    samples_ = matcher.match({samples.begin(), samples.end()});
    drug_matches_ = drugs_.match(rule_.drug_match, drugs);
    for (const auto& [text, match] : samples_) similar_samples_ += match.outcome == Outcome::similar ? 1 : 0;
    for (const auto& [text, match] : drug_matches_) similar_drugs_ += match.outcome == Outcome::similar ? 1 : 0;
  }
  /// A name as it is compared; under NameRule::name the matcher itself compares.
  [[nodiscard]] std::string key(const std::string& text) const {
    return rule_.match_rule == NameRule::name ? text : name_key(rule_.match_rule, text);
  }

  void open_columns(FilteredTable& source) {
    sample_column_ = sample_column(source.table());
    if (has_drug_column()) drug_column_ = source.table().column(rule_.drug);
    value_column_ = source.optional_column(rule_.value);
    label_column_ = source.optional_column(rule_.label);
    replicate_column_ = source.optional_column(rule_.replicate);
  }

  /// The sample that the row is about; -1 = the row is left out.
  std::int32_t sample_of(FilteredTable& source) {
    const std::string& text = source.id(sample_column_);
    const std::string own = key(text);
    const auto match = own.empty() ? NameMatcher::Match{} : samples_.at(own);
    if (match.outcome == Outcome::ambiguous) {
      if (!rule_.drop_ambiguous) {
        source.table().wrong(sample_column_, "'" + text + "' may mean several samples of the domain " + name() +
                                                 ", or another name in this file the same one (ambiguous = \"drop\" "
                                                 "would leave such rows out)");
      }
      ++ambiguous_;
      report_.lose(rule_.file, "sample", text, "the name is ambiguous");
      return -1;
    }
    if (match.index < 0) {
      if (!rule_.drop_unknown_samples) {
        source.table().wrong(sample_column_, "'" + text + "' is no " + rule_.match + " of the domain " + name() +
                                                 " (unknown_samples = \"drop\" would leave such rows out)");
      }
      ++of_unknown_sample_;
      report_.lose(rule_.file, "sample", text, "no expression in the domain " + name());
      return -1;
    }
    const auto& bearers = bearers_[static_cast<std::size_t>(match.index)];
    if (bearers.size() > 1 && !rule_.first_of_several) {
      source.table().wrong(sample_column_, "'" + text + "' has " + std::to_string(bearers.size()) +
                                               " samples in the domain " + name() +
                                               "; which one is meant cannot be known (several = \"first\" would take "
                                               "the first)");
    }
    if (bearers.size() > 1) of_several_.insert(text);
    return bearers.front();
  }

  std::int32_t drug_of(FilteredTable& source, std::size_t column, const std::string& text) {
    if (text.empty() && !rule_.drop_unknown_drugs) source.table().wrong(column, "is empty; expected a drug");
    const auto match = text.empty() ? NameMatcher::Match{} : drug_matches_.at(text);
    if (match.index >= 0) return match.index;
    const bool ambiguous = match.outcome == Outcome::ambiguous;
    if (ambiguous ? !rule_.drop_ambiguous : !rule_.drop_unknown_drugs) {
      source.table().wrong(
          column,
          ambiguous
              ? "'" + text + "' may mean several drugs (ambiguous = \"drop\" would leave such rows out)"
              : "'" + text + "' is not in the table of drugs (unknown_drugs = \"drop\" would leave such rows out)");
    }
    ++(ambiguous ? ambiguous_ : of_unknown_drug_);
    if (!text.empty()) unknown_drugs_.insert(text);
    report_.lose(rule_.file, "drug", text, ambiguous ? "the name is ambiguous" : "not in the table of drugs");
    return -1;
  }

  [[nodiscard]] double value_of(FilteredTable& source, std::size_t column) const {
    double value = 0.0;
    if (column == FilteredTable::kNone || !source.table().number(column, &value)) return kNone;
    value *= rule_.scale;
    if (!rule_.transform) return value;
    bool ok = true;
    const double result = transformed(*rule_.transform, value, &ok);
    if (!ok) source.table().wrong(column, number_text(value) + " has no logarithm, or its power is no number");
    return result;
  }

  [[nodiscard]] std::int8_t label_of(FilteredTable& source, std::size_t column) const {
    if (column == FilteredTable::kNone) return -1;
    const std::string& text = source.table().field(column);
    if (const auto word = rule_.label_words.find(text); word != rule_.label_words.end())
      return static_cast<std::int8_t>(word->second);
    double number = 0.0;
    if (!rule_.label_words.empty()) {
      const auto& missing = rule_.dialect.missing;
      if (std::find(missing.begin(), missing.end(), text) != missing.end()) return -1;
      source.table().wrong(column, excerpt(text) + " is no word for a label that the recipe explains");
    }
    if (!source.table().number(column, &number)) return -1;
    if (number != 0.0 && number != 1.0) source.table().wrong(column, excerpt(text) + " is no label; expected 0 or 1");
    return number == 1.0 ? 1 : 0;
  }

  void read_record(FilteredTable& source, std::int32_t sample, std::size_t column, const std::string& drug_text) {
    DatasetContent::Response record;
    record.sample = sample;
    record.value = value_of(source, rule_.wide ? (rule_.wide_labels ? FilteredTable::kNone : column) : value_column_);
    record.label = label_of(source, rule_.wide ? (rule_.wide_labels ? column : FilteredTable::kNone) : label_column_);
    const bool empty = std::isnan(record.value) && record.label < 0;
    if (rule_.wide && empty) {  // most cells of a wide table: not worth a word each
      ++empty_;
      return;
    }
    record.drug = drug_of(source, column, drug_text);
    if (record.drug < 0) return;
    if (empty) {
      ++empty_;
      report_.lose(rule_.file, "response", source.table().field(sample_column_) + " x " + drug_text,
                   "neither value nor label");
      return;
    }
    add(source, column, drug_text, record);
  }

  void add(FilteredTable& source, std::size_t column, const std::string& drug_text, DatasetContent::Response record) {
    using Replicates = Recipe::Response::Replicates;
    if (replicate_column_ != FilteredTable::kNone) {
      double number = 0.0;
      if (!source.table().number(replicate_column_, &number) || number < 0.0 || number != std::floor(number) ||
          number > 1e9) {
        source.table().wrong(replicate_column_, excerpt(source.table().field(replicate_column_)) +
                                                    " is no number of a replicate; expected 0, 1, 2, ...");
      }
      record.replicate = static_cast<std::int32_t>(number);
      out_.responses.push_back(record);  // twice the same number: the writer refuses that
      return;
    }
    const std::uint64_t key =
        static_cast<std::uint64_t>(record.sample) << 32U | static_cast<std::uint64_t>(record.drug);
    const auto [pair, fresh] = known_.emplace(key, Known{out_.responses.size(), source.table().line(), 1});
    if (fresh) {
      out_.responses.push_back(record);
      return;
    }
    ++repeated_;
    const DatasetContent::Response& earlier = out_.responses[pair->second.row];
    const std::string what = "the pair of '" + source.table().field(sample_column_) + "' and '" + drug_text +
                             "' is there twice, first on line " + std::to_string(pair->second.line);
    if (rule_.replicates == Replicates::error)
      source.table().wrong(column, what + " (replicates = \"mean\", \"median\" or \"keep\" would accept that)");
    if (rule_.replicates == Replicates::keep) {
      record.replicate = pair->second.count++;
      out_.responses.push_back(record);
      return;
    }
    if (earlier.label != record.label || std::isnan(earlier.value) != std::isnan(record.value))
      source.table().wrong(column, what + ", with another label; labels have no mean");
    auto& values = replicates_[pair->second.row];
    if (values.empty()) values.push_back(earlier.value);
    values.push_back(record.value);
  }

  /// Replicates become their mean or median.
  void collapse(std::size_t first) {
    for (const auto& [row, values] : replicates_) {
      double result = 0.0;
      if (rule_.replicates == Recipe::Response::Replicates::median) {
        result = median_of(values);
      } else {
        // Running mean: exact for equal replicates.
        double count = 0.0;
        for (const double value : values) result += (value - result) / ++count;
      }
      out_.responses[std::max(row, first)].value = result;
    }
  }

  /// Labels from values; strictly below the threshold is 1 (therapi.md 6.1).
  void derive_labels(std::size_t first) {
    if (rule_.label_rule == Recipe::LabelRule::column) return;
    std::map<std::int32_t, std::vector<double>> values;
    for (std::size_t i = first; i < out_.responses.size(); ++i) {
      if (!std::isnan(out_.responses[i].value)) values[out_.responses[i].drug].push_back(out_.responses[i].value);
    }
    std::map<std::int32_t, double> threshold;
    if (rule_.label_rule == Recipe::LabelRule::per_drug_table) threshold = read_thresholds();
    std::size_t without = 0;
    for (const auto& [drug, list] : values) {
      if (rule_.label_rule == Recipe::LabelRule::fixed) {
        threshold[drug] = rule_.label_threshold;
      } else if (rule_.label_rule == Recipe::LabelRule::per_drug_median) {
        threshold[drug] = median_of(list);
      } else if (rule_.label_rule == Recipe::LabelRule::per_drug_mean) {
        double mean = 0.0;
        for (const double value : list) mean += value / static_cast<double>(list.size());
        threshold[drug] = mean;
      } else if (threshold.count(drug) == 0) {
        ++without;
        report_.lose(rule_.file, "drug", out_.drug_id[static_cast<std::size_t>(drug)], "no threshold, so no labels");
      }
    }
    std::size_t positive = 0;
    std::size_t labelled = 0;
    for (std::size_t i = first; i < out_.responses.size(); ++i) {
      auto& record = out_.responses[i];
      const auto found = threshold.find(record.drug);
      if (std::isnan(record.value) || found == threshold.end()) continue;
      record.label = record.value < found->second ? 1 : 0;
      ++labelled;
      if (record.label == 1) ++positive;
    }
    static constexpr const char* kWords[] = {"",
                                             "",
                                             "the median of each drug over all records",
                                             "the mean of each drug over all records",
                                             "the fixed threshold",
                                             "a table of thresholds"};
    const std::string words = kWords[static_cast<std::size_t>(rule_.label_rule)];
    report_.say(name() + ": " + count_of(labelled, "label", "labels") + " from values below " + words + ", " +
                std::to_string(positive) + " positive" +
                (without > 0 ? "; " + count_of(without, "drug has", "drugs have") + " no threshold" : ""));
    if (!rule_.label_because.empty()) {
      out_.caveats.push_back("Labels of " + name() + " were made with " + words +
                             ", test records included: " + rule_.label_because);
    }
  }

  std::map<std::int32_t, double> read_thresholds() {
    FilteredTable source = files_.open(*rule_.label_table);
    Table& table = source.table();
    const std::size_t drug = table.column(rule_.label_table_drug);
    const std::size_t column = table.column(rule_.label_table_threshold);
    std::vector<std::pair<std::string, double>> rows;
    while (source.next()) {
      double value = 0.0;
      if (table.number(column, &value)) rows.emplace_back(source.id(drug), value);
    }
    std::vector<std::string> asked;
    for (const auto& [text, value] : rows) asked.push_back(text);
    const auto matches = drugs_.match(rule_.drug_match, asked);
    std::map<std::int32_t, double> threshold;
    for (const auto& [text, value] : rows) {
      const std::int32_t index = matches.at(text).index;
      if (index < 0) continue;
      if (!threshold.emplace(index, value).second)
        throw DataError(table.path().string() + " has two thresholds for the drug '" + text + "'");
    }
    return threshold;
  }

  void say(FilteredTable& source, std::size_t kept) {
    const auto tell = [&](std::size_t count, const std::string& sentence) {
      if (count > 0) report_.say(name() + ": " + sentence);
    };
    report_.say(name() + ": " + count_of(kept, "record", "records") + " from " + count_of(rows_, "row", "rows") +
                " of " + rule_.file +
                (source.filtered() > 0 ? ", the recipe's filter left out " + std::to_string(source.filtered()) : ""));
    const char* cell = rule_.wide ? "cell" : "row";
    const char* cells = rule_.wide ? "cells" : "rows";
    tell(similar_samples_, count_of(similar_samples_, "name", "names") + " of samples matched by a similar one");
    tell(similar_drugs_, count_of(similar_drugs_, "name", "names") + " of drugs matched by a similar one");
    tell(of_several_.size(), count_of(of_several_.size(), "name has", "names have") +
                                 " several samples, the first counts (" + some_of(of_several_) + ")");
    tell(of_unknown_sample_,
         "dropped " + count_of(of_unknown_sample_, "row", "rows") + " whose " + rule_.match + " has no expression");
    tell(of_unknown_drug_, "dropped " + count_of(of_unknown_drug_, cell, cells) +
                               " whose drug is not in the table of drugs" +
                               (unknown_drugs_.empty() ? "" : " (" + some_of(unknown_drugs_) + ")"));
    tell(ambiguous_, "dropped " + count_of(ambiguous_, "row", "rows") + " with an ambiguous name");
    tell(rule_.wide ? 0 : empty_, "dropped " + count_of(empty_, "row", "rows") + " with neither value nor label");
    tell(rule_.wide ? empty_ : 0, count_of(empty_, "cell is", "cells are") + " empty");
    static constexpr const char* kWords[] = {"", " averaged with the first", " merged into their median",
                                             " kept as replicates"};
    tell(repeated_,
         count_of(repeated_, "repeated row", "repeated rows") + kWords[static_cast<std::size_t>(rule_.replicates)]);
  }

  struct Known {
    std::size_t row;
    std::int64_t line;
    std::int32_t count;
  };

  const Recipe::Response& rule_;
  const DomainRows& domain_;
  DrugTable& drugs_;
  SourceFiles& files_;
  BuildReport& report_;
  DatasetContent& out_;
  std::vector<std::vector<std::int32_t>> bearers_;  // of each known name
  Matches samples_;
  Matches drug_matches_;
  std::size_t sample_column_ = 0;
  std::size_t drug_column_ = FilteredTable::kNone;
  std::size_t value_column_ = FilteredTable::kNone;
  std::size_t label_column_ = FilteredTable::kNone;
  std::size_t replicate_column_ = FilteredTable::kNone;
  std::unordered_map<std::uint64_t, Known> known_;
  std::map<std::size_t, std::vector<double>> replicates_;  // record, all its values
  std::size_t rows_ = 0;
  std::size_t empty_ = 0;
  std::size_t of_unknown_sample_ = 0;
  std::size_t of_unknown_drug_ = 0;
  std::size_t ambiguous_ = 0;
  std::size_t repeated_ = 0;
  std::size_t similar_samples_ = 0;
  std::size_t similar_drugs_ = 0;
  std::set<std::string> unknown_drugs_;
  std::set<std::string> of_several_;
};

}  // namespace

void read_responses(const Recipe::Response& rule, const DomainRows& domain, DrugTable& drugs, SourceFiles& files,
                    BuildReport& report, DatasetContent& out) {
  Reader(rule, domain, drugs, files, report, out).read();
}

}  // namespace cdrzoo
