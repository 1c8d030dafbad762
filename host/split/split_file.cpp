// SPDX-License-Identifier: Apache-2.0
// Split files: canonical JSON, and tables for and from other programs. share/doc/splits.md describes both.

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <stdexcept>
#include <unordered_map>

#include "base/csv_field.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "import/csv.hpp"
#include "split/groups.hpp"
#include "split/parts.hpp"
#include "split/split.hpp"

namespace cdrzoo {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kFormat = "cdrzoo-split";
constexpr int kVersion = 1;
constexpr int kMaxDepth = 8;  ///< of the JSON; the functions that walk it are recursive

// --- writing
// ----------------------------------------------------------------------------------------------------------

/// Members of perturbations are there only for perturbations: other splits keep their bytes, and so their hashes.
json to_json(const SplitSpec& spec, bool of_perturbations) {
  json object = {{"kind", spec.kind},
                 {"folds", spec.folds},
                 {"repeats", spec.repeats},
                 {"seed", spec.seed},
                 {"source", spec.source},
                 {"target", spec.target},
                 {"inner_group", spec.inner_group},
                 {"transductive", spec.transductive}};
  if (of_perturbations) {
    object["singles_seen"] = spec.singles_seen;
    object["contexts"] = spec.contexts;
    object["references"] = spec.references;
  }
  return object;
}

json to_json(const Fold& fold, bool of_perturbations) {
  json object = {{"repeat", fold.repeat},
                 {"fold", fold.fold},
                 {"train", fold.train},
                 {"early_stop", fold.early_stop},
                 {"validation", fold.validation},
                 {"test", fold.test},
                 {"unlabelled_samples", fold.unlabelled_samples},
                 {"n_discarded", fold.n_discarded},
                 {"n_discarded_inner", fold.n_discarded_inner},
                 {"n_train_groups", fold.n_train_groups},
                 {"n_test_groups", fold.n_test_groups},
                 {"transductive", fold.transductive},
                 {"early_stop_is_validation", fold.early_stop_is_validation}};
  if (of_perturbations) object["references"] = fold.references;
  return object;
}

json content(const Split& split) {
  json folds = json::array();
  for (const auto& fold : split.folds) folds.push_back(to_json(fold, split.of_perturbations));
  json object = {{"format", kFormat},
                 {"version", kVersion},
                 {"spec", to_json(split.spec, split.of_perturbations)},
                 {"data_hash", split.data_hash},
                 {"group_type", split.group_type},
                 {"folds", std::move(folds)}};
  if (split.of_perturbations) object["of_perturbations"] = true;
  return object;
}

std::string canonical(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

// --- reading JSON
// -----------------------------------------------------------------------------------------------------

/// Errors of one file, one sentence each.
class Source {
 public:
  explicit Source(fs::path path) : path_(std::move(path)) {}
  [[noreturn]] void fail(const std::string& what) const { throw DataError(path_.string() + ": " + what); }
  [[noreturn]] void fail(std::size_t line, const std::string& what) const {
    throw DataError(path_.string() + " line " + std::to_string(line) + ": " + what);
  }
  [[nodiscard]] std::string text() const {
    std::error_code failed;
    if (fs::is_directory(path_, failed)) throw IoError("cannot read " + path_.string() + ": it is a folder");
    errno = 0;
    std::ifstream in(path_, std::ios::binary);
    std::ostringstream out;
    if (in) out << in.rdbuf();
    if (!in) throw IoError("cannot read " + path_.string() + ": " + std::strerror(errno != 0 ? errno : EIO));
    return out.str();
  }

 private:
  fs::path path_;
};

/// One JSON object with known members only.
class Object {
 public:
  Object(const Source& source, const json& value, std::string where)
      : source_(source), value_(value), where_(std::move(where)) {
    if (!value_.is_object()) source_.fail(where_ + " is no JSON object");
  }
  void only(std::vector<const char*> known, const std::vector<const char*>& also = {}) const {
    known.insert(known.end(), also.begin(), also.end());
    for (const auto& [key, unused] : value_.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        source_.fail("unknown member '" + key + "' in " + where_);
      }
    }
  }
  [[nodiscard]] const json& get(const char* key) const {
    const auto found = value_.find(key);
    if (found == value_.end()) source_.fail("member '" + std::string(key) + "' is missing in " + where_);
    return *found;
  }
  [[nodiscard]] std::string text(const char* key) const {
    const auto& value = get(key);
    if (!value.is_string()) wrong(key, "a string");
    return value.get<std::string>();
  }
  [[nodiscard]] bool flag(const char* key) const {
    const auto& value = get(key);
    if (!value.is_boolean()) wrong(key, "true or false");
    return value.get<bool>();
  }
  [[nodiscard]] std::uint64_t natural(const char* key, std::uint64_t max) const {
    const auto& value = get(key);
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > max) {
      wrong(key, "a whole number from 0 to " + std::to_string(max));
    }
    return value.get<std::uint64_t>();
  }
  [[nodiscard]] std::int64_t integer(const char* key, std::int64_t min, std::int64_t max) const {
    const auto& value = get(key);
    if (!value.is_number_integer() || value.get<std::int64_t>() < min || value.get<std::int64_t>() > max) {
      wrong(key, "a whole number from " + std::to_string(min) + " to " + std::to_string(max));
    }
    return value.get<std::int64_t>();
  }
  [[nodiscard]] std::vector<std::string> texts(const char* key) const {
    const auto& value = get(key);
    if (!value.is_array()) wrong(key, "a list");
    std::vector<std::string> list;
    for (const auto& item : value) {
      if (!item.is_string()) wrong(key, "a list of strings");
      list.push_back(item.get<std::string>());
    }
    return list;
  }
  /// Indices below \p n, ascending, without repetition.
  [[nodiscard]] std::vector<std::int32_t> indices(const char* key, std::int64_t n) const {
    const auto& value = get(key);
    if (!value.is_array()) wrong(key, "a list");
    std::vector<std::int32_t> list;
    list.reserve(value.size());
    for (const auto& item : value) {
      if (!item.is_number_unsigned() || item.get<std::uint64_t>() >= static_cast<std::uint64_t>(n)) {
        wrong(key, "a list of indices below " + std::to_string(n));
      }
      const auto index = item.get<std::int32_t>();
      if (!list.empty() && index <= list.back()) wrong(key, "in ascending order without repetition");
      list.push_back(index);
    }
    return list;
  }

 private:
  [[noreturn]] void wrong(const char* key, const std::string& expected) const {
    source_.fail("member '" + std::string(key) + "' of " + where_ + " is not " + expected);
  }
  const Source& source_;
  const json& value_;
  std::string where_;
};

constexpr std::uint64_t kMaxCount = 1000000000;

/// Rows that a split can index.
std::int64_t row_count(const Dataset& dataset, bool of_perturbations) {
  return of_perturbations ? dataset.perturbations->size() : dataset.responses.size();
}

SplitSpec read_spec(const Object& object, bool of_perturbations) {
  object.only({"kind", "folds", "repeats", "seed", "source", "target", "inner_group", "transductive"},
              of_perturbations ? std::vector<const char*>{"singles_seen", "contexts", "references"}
                               : std::vector<const char*>{});
  SplitSpec spec;
  spec.kind = object.text("kind");
  spec.folds = static_cast<int>(object.natural("folds", 1000000));
  spec.repeats = static_cast<int>(object.natural("repeats", 1000000));
  spec.seed = object.natural("seed", UINT64_MAX);
  spec.source = object.text("source");
  spec.target = object.text("target");
  spec.inner_group = object.text("inner_group");
  spec.transductive = object.flag("transductive");
  if (of_perturbations) {
    spec.singles_seen = static_cast<int>(object.integer("singles_seen", -1, 2));
    spec.contexts = object.texts("contexts");
    spec.references = static_cast<int>(object.integer("references", 0, kMaxReferences));
  }
  return spec;
}

Fold read_fold(const Object& object, std::int64_t n_records, std::int64_t n_samples, bool of_perturbations) {
  object.only({"repeat", "fold", "train", "early_stop", "validation", "test", "unlabelled_samples", "n_discarded",
               "n_discarded_inner", "n_train_groups", "n_test_groups", "transductive", "early_stop_is_validation"},
              of_perturbations ? std::vector<const char*>{"references"} : std::vector<const char*>{});
  Fold fold;
  fold.repeat = static_cast<int>(object.natural("repeat", 1000000));
  fold.fold = static_cast<int>(object.natural("fold", 1000000));
  fold.train = object.indices("train", n_records);
  fold.early_stop = object.indices("early_stop", n_records);
  fold.validation = object.indices("validation", n_records);
  fold.test = object.indices("test", n_records);
  if (of_perturbations) fold.references = object.indices("references", n_records);
  fold.unlabelled_samples = object.indices("unlabelled_samples", n_samples);
  fold.n_discarded = static_cast<std::int64_t>(object.natural("n_discarded", kMaxCount));
  fold.n_discarded_inner = static_cast<std::int64_t>(object.natural("n_discarded_inner", kMaxCount));
  fold.n_train_groups = static_cast<std::int64_t>(object.natural("n_train_groups", kMaxCount));
  fold.n_test_groups = static_cast<std::int64_t>(object.natural("n_test_groups", kMaxCount));
  fold.transductive = object.flag("transductive");
  fold.early_stop_is_validation = object.flag("early_stop_is_validation");
  return fold;
}

/// Marks the rows that take part.
std::vector<char> usable_rows_of(const Source& source, const std::vector<std::int32_t>& rows, std::int64_t n) {
  std::vector<char> usable(static_cast<std::size_t>(n), 0);
  for (const auto row : rows) {
    if (row >= n) source.fail("it divides other rows than those of this task");
    usable[static_cast<std::size_t>(row)] = 1;
  }
  return usable;
}

void check_numbering(const Source& source, const Split& split) {
  const auto per_repeat =
      static_cast<std::size_t>(split.spec.kind == "lcdo" ? split.spec.folds * split.spec.folds : split.spec.folds);
  const auto expected = per_repeat * static_cast<std::size_t>(split.spec.repeats);
  if (split.folds.size() != expected || expected == 0) {
    source.fail("it holds " + std::to_string(split.folds.size()) + " folds, and its spec asks for " +
                std::to_string(expected));
  }
  for (std::size_t i = 0; i < expected; ++i) {
    const auto& fold = split.folds[i];
    if (fold.repeat != static_cast<int>(i / per_repeat) || fold.fold != static_cast<int>(i % per_repeat)) {
      source.fail("its folds are not numbered by repeat and fold");
    }
    const bool needs_validation = !split.of_perturbations;  // five patients cannot spare some
    if (fold.train.empty() || fold.test.empty() || (needs_validation && fold.validation.empty())) {
      source.fail("fold " + std::to_string(fold.fold) + " has an empty part");
    }
  }
}

void check_disjoint(const Source& source, const Dataset& dataset, const Split& split) {
  try {
    assert_disjoint(dataset, split);
  } catch (const std::logic_error& e) {
    source.fail(e.what());
  }
}

// --- tables
// -----------------------------------------------------------------------------------------------------------

/// The table of a user's split: known columns only, fields by name.
class PartTable {
 public:
  explicit PartTable(const fs::path& path) : reader_(path) {
    static const std::vector<std::string> kKnown = {
        "record", "domain",  "sample",  "drug",   "replicate",        "repeat", "fold",
        "part",   "profile", "context", "drug_b", "dose_log10_molar", "time_h"};
    const auto& header = reader_.header();
    for (std::size_t c = 0; c < header.size(); ++c) {
      if (std::find(kKnown.begin(), kKnown.end(), header[c]) == kKnown.end()) {
        std::string what = path.string() + " line 1: unknown column '" + header[c] + "'; known:";
        for (const auto& word : kKnown) what.append(what.back() == ':' ? " " : ", ").append(word);
        throw DataError(what);
      }
      column_.emplace(header[c], c);
    }
  }
  [[nodiscard]] bool has(const std::string& name) const { return column_.count(name) != 0; }
  bool next() { return reader_.next(); }
  [[nodiscard]] const std::string& text(const std::string& name) const { return reader_.field(column_.at(name)); }
  [[nodiscard]] std::int64_t number(const std::string& name, std::int64_t below) const {
    const auto& field = text(name);
    const bool digits = !field.empty() && field.size() <= 10 &&
                        std::all_of(field.begin(), field.end(), [](char c) { return c >= '0' && c <= '9'; });
    const std::int64_t value = digits ? std::stoll(field) : -1;
    if (value < 0 || value >= below) {
      reader_.wrong(column_.at(name), "'" + field + "' is not a whole number below " + std::to_string(below));
    }
    return value;
  }
  /// Throws if the table has the column and its number is not \p wanted; empty stands for NaN.
  void require_number(const std::string& name, float wanted, const std::string& of) const {
    if (!has(name)) return;
    const auto& field = text(name);
    float value = std::nanf("");
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    const bool number = error == std::errc() && end == field.data() + field.size();
    if (field.empty() ? std::isnan(wanted) : number && value == wanted) return;
    reader_.wrong(column_.at(name), of + " has " + (std::isnan(wanted) ? "none" : profile_number(wanted)) +
                                        " there, and the table says '" + field + "'");
  }
  /// The same for a text.
  void require_text(const std::string& name, const std::string& wanted, const std::string& of) const {
    if (!has(name) || text(name) == wanted) return;
    reader_.wrong(column_.at(name), of + " has '" + wanted + "' there, and the table says '" + text(name) + "'");
  }
  [[nodiscard]] std::size_t line() const { return static_cast<std::size_t>(reader_.line()); }

 private:
  CsvReader reader_;
  std::map<std::string, std::size_t> column_;
};

/// Finds records by (sample id, drug id, replicate).
class RecordIndex {
 public:
  explicit RecordIndex(const Dataset& dataset) : dataset_(dataset) {
    const auto& responses = dataset.responses;
    for (std::int32_t row = 0; row < responses.size(); ++row) {
      row_of_[key(name(dataset.samples.id, responses.sample, row), name(dataset.drugs.id, responses.drug, row),
                  replicate(row))]
          .push_back(row);
    }
  }
  [[nodiscard]] std::int32_t replicate(std::int32_t row) const {
    const auto& column = dataset_.responses.replicate;
    return column.empty() ? 0 : column[static_cast<std::size_t>(row)];
  }
  /// Rows with these names; empty if there are none.
  [[nodiscard]] std::vector<std::int32_t> find(const std::string& sample, const std::string& drug,
                                               std::int64_t replicate) const {
    const auto found = row_of_.find(key(sample, drug, replicate));
    return found == row_of_.end() ? std::vector<std::int32_t>{} : found->second;
  }
  static const std::string& name(const std::vector<std::string>& ids, const ArrayView<std::int32_t>& column,
                                 std::int32_t row) {
    return ids[static_cast<std::size_t>(column[static_cast<std::size_t>(row)])];
  }

 private:
  static std::string key(const std::string& sample, const std::string& drug, std::int64_t replicate) {
    return sample + '\x1f' + drug + '\x1f' + std::to_string(replicate);
  }
  const Dataset& dataset_;
  std::unordered_map<std::string, std::vector<std::int32_t>> row_of_;
};

/// Numbers of rows are easily of another file: what else the table says of a profile must be true of the row.
void check_profile_row(const PartTable& table, const Dataset& dataset, std::int32_t profile) {
  const auto& profiles = *dataset.perturbations;
  const auto row = static_cast<std::size_t>(profile);
  const auto of = "profile " + std::to_string(profile);
  const auto drug = [&](std::int32_t index) {
    return index < 0 ? std::string() : dataset.drugs.id[static_cast<std::size_t>(index)];
  };
  const auto control = static_cast<std::size_t>(profiles.control[row]);
  table.require_text("domain", dataset.domains.name[static_cast<std::size_t>(dataset.samples.domain[control])], of);
  table.require_text("context", profiles.contexts[static_cast<std::size_t>(profiles.context[row])], of);
  table.require_text("drug", drug(profiles.drug[row]), of);
  table.require_text("drug_b", drug(profiles.drug_b[row]), of);
  table.require_number("dose_log10_molar", profiles.dose_log10_molar[row], of);
  table.require_number("time_h", profiles.time_h[row], of);
}

Part part_from(const Source& source, std::size_t line, const std::string& word, bool of_perturbations) {
  if (word == "train") return Part::train;
  if (word == "early_stop") return Part::early_stop;
  if (word == "validation") return Part::validation;
  if (word == "test") return Part::test;
  if (word == "reference" && of_perturbations) return Part::reference;
  source.fail(line, "part is '" + word + "', not train, early_stop, validation" +
                        (of_perturbations ? ", test or reference" : " or test"));
}

/// The coarsest unit in which train, validation and test share nothing: what the table leaves out.
std::string coarsest_type_of(const Dataset& dataset, const std::vector<Fold>& folds, bool of_perturbations) {
  const auto holds = [&](const std::string& type) {
    Split candidate;
    candidate.spec.kind = "file";
    candidate.of_perturbations = of_perturbations;
    candidate.group_type = type;
    candidate.folds = folds;
    for (auto& fold : candidate.folds) fold.early_stop.clear();
    try {
      assert_disjoint(dataset, candidate);
    } catch (const std::logic_error&) {
      return false;
    }
    return true;
  };
  if (of_perturbations) {
    for (const char* type : {"context", "perturbation", "combination", "context x perturbation"}) {
      if (holds(type)) return type;
    }
    return "condition";
  }
  for (const char* type : {"sample x drug", "sample", "drug"}) {
    if (holds(type)) return type;
  }
  return "pair";
}

Split read_table(const fs::path& path, const Dataset& dataset, const std::vector<std::int32_t>& labelled) {
  const Source source(path);
  PartTable table(path);
  const bool of_perturbations = table.has("profile");
  const bool by_record = table.has("record") || of_perturbations;
  const bool by_name = !of_perturbations && table.has("sample") && table.has("drug");
  if (!by_record && !by_name) {
    source.fail(1, "the table needs the column record, or the columns sample and drug, or, of perturbations, profile");
  }
  if (of_perturbations && table.has("record"))
    source.fail(1, "the table has the columns record and profile: it divides records or perturbation profiles");
  if (!table.has("fold") || !table.has("part")) source.fail(1, "the table needs the columns fold and part");
  if (of_perturbations && !dataset.perturbations) {
    source.fail(1, "it divides perturbation profiles, and " + dataset.path.string() + " has none");
  }

  const auto n_records = row_count(dataset, of_perturbations);
  const std::string word = of_perturbations ? "profile" : "record";
  const auto usable = usable_rows_of(source, labelled, n_records);
  const RecordIndex index(dataset);
  std::map<std::pair<int, int>, std::vector<std::pair<Part, std::size_t>>>
      parts;  // (repeat, fold) -> row -> part, line

  while (table.next()) {
    const auto repeat = table.has("repeat") ? static_cast<int>(table.number("repeat", 1000000)) : 0;
    const auto fold = static_cast<int>(table.number("fold", 1000000));
    std::vector<std::int32_t> rows;
    if (by_name) {
      const auto replicate = table.has("replicate") ? table.number("replicate", INT32_MAX) : 0;
      rows = index.find(table.text("sample"), table.text("drug"), replicate);
      if (rows.empty()) {
        source.fail(table.line(), "the data set has no record of sample '" + table.text("sample") + "' and drug '" +
                                      table.text("drug") + "'");
      }
    }
    if (by_record) {
      const auto row = static_cast<std::int32_t>(table.number(word, n_records));
      if (by_name && std::find(rows.begin(), rows.end(), row) == rows.end()) {
        source.fail(table.line(), "record " + std::to_string(row) + " is not of sample '" + table.text("sample") +
                                      "' and drug '" + table.text("drug") + "'");
      }
      rows = {row};
      if (of_perturbations) check_profile_row(table, dataset, row);
    }
    const auto part = part_from(source, table.line(), table.text("part"), of_perturbations);
    auto& part_of = parts[{repeat, fold}];
    part_of.resize(static_cast<std::size_t>(n_records), {Part::none, 0});
    for (const auto row : rows) {
      if (usable[static_cast<std::size_t>(row)] == 0) {
        source.fail(table.line(), word + " " + std::to_string(row) + " has no usable value for this task");
      }
      auto& entry = part_of[static_cast<std::size_t>(row)];
      if (entry.second != 0) {
        source.fail(table.line(), word + " " + std::to_string(row) + " is in this fold already, at line " +
                                      std::to_string(entry.second));
      }
      entry = {part, table.line()};
    }
  }
  if (parts.empty()) source.fail("the table has no rows");

  Split split;
  split.spec.kind = "file";
  split.of_perturbations = of_perturbations;
  split.spec.repeats = 1 + parts.rbegin()->first.first;
  split.spec.folds = 0;
  for (const auto& entry : parts) split.spec.folds = std::max(split.spec.folds, 1 + entry.first.second);
  split.data_hash = of_perturbations ? profiles_hash(dataset) : dataset.data_hash();
  for (const auto& [number, part_of] : parts) {
    Fold fold;
    fold.repeat = number.first;
    fold.fold = number.second;
    for (std::int32_t row = 0; row < n_records; ++row) {
      if (usable[static_cast<std::size_t>(row)] != 0) add_row(fold, row, part_of[static_cast<std::size_t>(row)].first);
    }
    split.folds.push_back(std::move(fold));
  }
  check_numbering(source, split);
  split.group_type = coarsest_type_of(dataset, split.folds, of_perturbations);
  for (auto& fold : split.folds) {
    if (of_perturbations) {
      finish_user_profiles_fold(dataset, fold, split.group_type);
      continue;
    }
    try {
      finish_user_fold(dataset, fold, split.group_type, split.spec.seed);
    } catch (const DataError& e) {
      source.fail(e.what());
    }
  }
  check_disjoint(source, dataset, split);
  split.hash = split_hash(split);
  return split;
}

}  // namespace

std::string split_hash(const Split& split) { return sha256_hex(canonical(content(split))); }

void write_split(const Split& split, const fs::path& path) {
  auto value = content(split);
  value["hash"] = sha256_hex(canonical(value));
  write_file_atomically(path, canonical(value) + "\n");
}

Split read_split(const fs::path& path, const Dataset& dataset) {
  const Source source(path);
  json value;
  try {
    value = json::parse(source.text(), [&](int depth, json::parse_event_t, json&) {
      if (depth > kMaxDepth) source.fail("this is no split file: it is nested too deeply");
      return true;
    });
  } catch (const json::exception&) {
    if (path.extension() == ".csv") {
      source.fail("this is a table of parts, not a split file; cdrzoo split make --kind file --file " + path.string() +
                  " -o FILE.json makes one of it");
    }
    source.fail("this is no split file: the JSON is damaged or cut off");
  }
  const Object file(source, value, "the split file");
  if (!value.contains("format") || value["format"] != kFormat) source.fail("this is no split file of cdrzoo");
  if (value.value("version", json()) != kVersion) {
    source.fail("split files of version " + canonical(value.value("version", json())) +
                " cannot be read; known: " + std::to_string(kVersion));
  }
  file.only({"format", "version", "spec", "data_hash", "group_type", "folds", "hash", "of_perturbations"});

  Split split;
  split.of_perturbations = value.contains("of_perturbations") && file.flag("of_perturbations");
  if (split.of_perturbations && !dataset.perturbations) {
    source.fail("it divides perturbation profiles, and " + dataset.path.string() + " has none");
  }
  split.hash = file.text("hash");
  auto hashed = value;
  hashed.erase("hash");
  const auto found = sha256_hex(canonical(hashed));
  if (found != split.hash) {
    source.fail("the content was changed: it says hash " + split.hash + ", and its content has " + found);
  }
  split.data_hash = file.text("data_hash");
  const auto data_hash = split.of_perturbations ? profiles_hash(dataset) : dataset.data_hash();
  if (split.data_hash != data_hash) {
    source.fail("it was made for a data set with data hash " + split.data_hash + ", and this one (" +
                dataset.path.string() + ") has " + data_hash);
  }
  split.spec = read_spec(Object(source, file.get("spec"), "spec"), split.of_perturbations);
  if (split.spec.kind != "file") {
    try {
      check_spec(split.spec);
    } catch (const UsageError& e) {
      source.fail(e.what());
    }
    if (is_perturbation_kind(split.spec.kind) != split.of_perturbations) {
      source.fail("its kind '" + split.spec.kind + "' is no kind of " +
                  (split.of_perturbations ? "perturbation profiles" : "records"));
    }
  }
  split.group_type = file.text("group_type");
  static const std::set<std::string> kTypes = {"pair", "sample", "drug", "tissue", "scaffold", "sample x drug"};
  static const std::set<std::string> kProfileTypes = {"context", "perturbation", "context x perturbation",
                                                      "combination", "condition"};
  const auto& types = split.of_perturbations ? kProfileTypes : kTypes;
  if (types.count(split.group_type) == 0) source.fail("unknown group type '" + split.group_type + "'");
  if (const auto type = group_type_of(split.spec); !type.empty() && type != split.group_type) {
    source.fail("its groups are of the type '" + split.group_type + "', and those of its kind '" + split.spec.kind +
                "' are of the type '" + type + "'");
  }
  const auto& folds = file.get("folds");
  if (!folds.is_array()) source.fail("member 'folds' is not a list");
  for (const auto& fold : folds) {
    split.folds.push_back(read_fold(Object(source, fold, "fold " + std::to_string(split.folds.size())),
                                    row_count(dataset, split.of_perturbations),
                                    static_cast<std::int64_t>(dataset.samples.id.size()), split.of_perturbations));
  }
  check_numbering(source, split);
  check_disjoint(source, dataset, split);
  return split;
}

Split load_split(const fs::path& path, const Dataset& dataset, const std::vector<std::int32_t>& labelled) {
  if (path.extension() == ".csv") return read_table(path, dataset, labelled);
  auto split = read_split(path, dataset);
  const auto n_rows = row_count(dataset, split.of_perturbations);
  const auto usable = usable_rows_of(Source(path), labelled, n_rows);
  for (const auto& fold : split.folds) {
    for (const auto* part : {&fold.train, &fold.validation, &fold.test, &fold.references}) {
      for (const auto row : *part) {
        if (usable[static_cast<std::size_t>(row)] == 0) {
          Source(path).fail((split.of_perturbations ? "profile " : "record ") + std::to_string(row) + " of fold " +
                            std::to_string(fold.fold) + " has no usable value for this task");
        }
      }
    }
  }
  return split;
}

namespace {

/// domain, context, perturbations, dose and time of a profile, each after a comma.
std::string profile_fields(const Dataset& dataset, std::size_t row, const std::vector<std::string>& drugs) {
  const auto& profiles = *dataset.perturbations;
  const auto control = static_cast<std::size_t>(profiles.control[row]);
  const auto context = static_cast<std::size_t>(profiles.context[row]);
  const auto second = profiles.drug_b[row];
  return ',' + csv_field(dataset.domains.name[static_cast<std::size_t>(dataset.samples.domain[control])]) + ',' +
         csv_field(profiles.contexts[context]) + ',' + csv_field(drugs[static_cast<std::size_t>(profiles.drug[row])]) +
         ',' + (second < 0 ? "" : csv_field(drugs[static_cast<std::size_t>(second)])) + ',' +
         profile_number(profiles.dose_log10_molar[row]) + ',' + profile_number(profiles.time_h[row]);
}

template <typename Add>
void each_part(const Split& split, Add&& add) {
  for (const auto& fold : split.folds) {
    for (const auto row : fold.train) {
      const bool stops =
          !fold.early_stop_is_validation && std::binary_search(fold.early_stop.begin(), fold.early_stop.end(), row);
      add(fold, row, stops ? "early_stop" : "train");
    }
    for (const auto row : fold.validation) add(fold, row, "validation");
    for (const auto row : fold.test) add(fold, row, "test");
    for (const auto row : fold.references) add(fold, row, "reference");
  }
}

void write_profiles_csv(const Dataset& dataset, const Split& split, const fs::path& path) {
  std::string text = "profile,domain,context,drug,drug_b,dose_log10_molar,time_h,repeat,fold,part\n";
  each_part(split, [&](const Fold& fold, std::int32_t row, const char* part) {
    text += std::to_string(row) + profile_fields(dataset, static_cast<std::size_t>(row), dataset.drugs.id) + ',' +
            std::to_string(fold.repeat) + ',' + std::to_string(fold.fold) + ',' + part + '\n';
  });
  write_file_atomically(path, text);
}

}  // namespace

void write_split_csv(const Dataset& dataset, const Split& split, const fs::path& path) {
  if (split.of_perturbations) {
    write_profiles_csv(dataset, split, path);
    return;
  }
  const auto& responses = dataset.responses;
  const RecordIndex index(dataset);
  std::string text = "record,domain,sample,drug,replicate,repeat,fold,part\n";
  const auto add = [&](const Fold& fold, std::int32_t row, const char* part) {
    const auto sample = static_cast<std::size_t>(responses.sample[static_cast<std::size_t>(row)]);
    const auto domain = static_cast<std::size_t>(dataset.samples.domain[sample]);
    text += std::to_string(row) + ',' + csv_field(dataset.domains.name[domain]) + ',' +
            csv_field(dataset.samples.id[sample]) + ',' +
            csv_field(RecordIndex::name(dataset.drugs.id, responses.drug, row)) + ',' +
            std::to_string(index.replicate(row)) + ',' + std::to_string(fold.repeat) + ',' + std::to_string(fold.fold) +
            ',' + part + '\n';
  };
  each_part(split, add);
  write_file_atomically(path, text);
}

void write_groups_csv(const Dataset& dataset, const std::vector<std::int32_t>& rows, const fs::path& path) {
  const auto& responses = dataset.responses;
  const auto tissues = [&] {
    try {
      return group_records(dataset, "tissue");
    } catch (const DataError&) {  // no leave-tissue-out here, and no column for it
      return Grouping{};
    }
  }();
  const bool structures = std::any_of(dataset.drugs.scaffold.begin(), dataset.drugs.scaffold.end(),
                                      [](const std::string& scaffold) { return !scaffold.empty(); });
  const auto scaffolds = structures ? group_records(dataset, "scaffold") : Grouping{};
  std::string text = "record,domain,sample_group,drug_group,tissue,scaffold\n";
  for (const auto row : rows) {
    const auto r = static_cast<std::size_t>(row);
    const auto sample = static_cast<std::size_t>(responses.sample[r]);
    const auto drug = static_cast<std::size_t>(responses.drug[r]);
    text += std::to_string(row) + ',' +
            csv_field(dataset.domains.name[static_cast<std::size_t>(dataset.samples.domain[sample])]) + ',' +
            csv_field(dataset.samples.group[sample]) + ',' + csv_field(dataset.drugs.group[drug]) + ',' +
            (tissues.name.empty() ? "" : csv_field(tissues.name[static_cast<std::size_t>(tissues.of_row[r])])) + ',';
    if (structures) text += csv_field(scaffolds.name[static_cast<std::size_t>(scaffolds.of_row[r])]);
    text += '\n';
  }
  write_file_atomically(path, text);
}

void write_profile_groups_csv(const Dataset& dataset, const std::vector<std::int32_t>& rows, const fs::path& path) {
  const auto& profiles = *dataset.perturbations;
  std::string text = "profile,domain,context,group,group_b,dose_log10_molar,time_h,context_group\n";
  for (const auto row : rows) {
    const auto r = static_cast<std::size_t>(row);
    text += std::to_string(row) + profile_fields(dataset, r, dataset.drugs.group) + ',' +
            csv_field(profiles.context_group[static_cast<std::size_t>(profiles.context[r])]) + '\n';
  }
  write_file_atomically(path, text);
}

}  // namespace cdrzoo
