// SPDX-License-Identifier: Apache-2.0
#include "data/dataset.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <list>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <tuple>
#include <unordered_map>

#include "base/child_process.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/dataset_format.hpp"
#include "data/dataset_writer.hpp"
#include "data/feature_block.hpp"
#include "data/hdf5_file.hpp"

namespace cdrzoo {
namespace {

/// What a data set's views point into: the mapped file, and the blocks that are made from text columns.
struct Storage {
  std::shared_ptr<const void> file;
  std::list<std::unique_ptr<void, void (*)(void*)>> buffers;

  template <typename T>
  const T* keep(const std::vector<T>& values) {
    if (values.empty()) return nullptr;
    constexpr std::size_t kAlignment = 64;
    const std::size_t bytes = values.size() * sizeof(T);
    void* memory = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
    if (memory == nullptr) throw std::bad_alloc();
    buffers.emplace_back(memory, &std::free);
    std::memcpy(memory, values.data(), bytes);
    return static_cast<const T*>(memory);
  }
  template <typename T>
  void add(FeatureBlock& block, std::int32_t role, const std::vector<T>& values) {
    FeatureBlock::Part part;
    part.role = role;
    part.dtype = dtype_of<T>();
    part.shape = {static_cast<std::int64_t>(values.size())};
    part.data = keep(values);
    part.bytes = values.size() * sizeof(T);
    block.parts.push_back(std::move(part));
  }
  void add_texts(FeatureBlock& block, const std::vector<std::string>& texts) {
    std::vector<std::int64_t> offsets{0};
    std::vector<std::uint8_t> bytes;
    for (const auto& text : texts) {
      bytes.insert(bytes.end(), text.begin(), text.end());
      offsets.push_back(static_cast<std::int64_t>(bytes.size()));
    }
    add(block, CDRZOO_PART_OFFSETS, offsets);
    add(block, CDRZOO_PART_BYTES, bytes);
  }
};

FeatureBlock codes_block(Storage& storage, const std::string& name, const std::vector<std::int32_t>& codes,
                         const std::vector<std::string>& levels) {
  FeatureBlock block;
  block.name = name;
  block.kind = CDRZOO_BLOCK_CODES;
  block.rows = static_cast<std::int64_t>(codes.size());
  block.width = static_cast<std::int64_t>(levels.size());
  block.space = space_of(levels);
  block.feature_names = levels;
  storage.add(block, CDRZOO_PART_VALUES, codes);
  storage.add_texts(block, levels);
  return block;
}

FeatureBlock text_block(Storage& storage, const std::string& name, const std::vector<std::string>& texts) {
  FeatureBlock block;
  block.name = name;
  block.kind = CDRZOO_BLOCK_UTF8;
  block.rows = static_cast<std::int64_t>(texts.size());
  block.space = sha256_hex(name);
  storage.add_texts(block, texts);
  return block;
}

std::int64_t count(const std::vector<std::string>& values) { return static_cast<std::int64_t>(values.size()); }

/// Rank of each name in bytewise order.
std::vector<std::int32_t> ranks(const std::vector<std::string>& names) {
  std::vector<std::int32_t> order(names.size());
  std::iota(order.begin(), order.end(), 0);
  const auto at = [&names](std::int32_t i) -> const std::string& { return names[static_cast<std::size_t>(i)]; };
  std::sort(order.begin(), order.end(), [&at](std::int32_t a, std::int32_t b) { return at(a) < at(b); });
  std::vector<std::int32_t> rank(names.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    rank[static_cast<std::size_t>(order[i])] = static_cast<std::int32_t>(i);
  return rank;
}

const FeatureBlock* find_block(const std::vector<FeatureBlock>& blocks, const std::string& name) {
  for (const auto& block : blocks) {
    if (block.name == name) return &block;
  }
  return nullptr;
}

}  // namespace

std::vector<std::int32_t> canonical_sample_ranks(const Dataset& dataset) {
  // Ids are unique, so (domain name, id) is a total order; 0x01 sorts before every byte that an id can have.
  std::vector<std::string> keys;
  keys.reserve(dataset.samples.id.size());
  for (std::size_t i = 0; i < dataset.samples.id.size(); ++i) {
    keys.push_back(dataset.domains.name[static_cast<std::size_t>(dataset.samples.domain[i])] + '\x01' +
                   dataset.samples.id[i]);
  }
  return ranks(keys);
}

std::vector<std::int32_t> number_conditions(const ConditionColumns& c) {
  struct Key {
    std::int32_t context, drug, drug_b;
    float dose, time;
    // As tuples order numbers, with NaN first.
    bool operator<(const Key& other) const {
      const auto number = [](float x) { return std::isnan(x) ? -std::numeric_limits<float>::infinity() : x; };
      return std::make_tuple(context, drug, drug_b, number(dose), number(time)) <
             std::make_tuple(other.context, other.drug, other.drug_b, number(other.dose), number(other.time));
    }
  };
  std::map<Key, std::int32_t> known;
  std::vector<std::int32_t> condition(c.context.size());
  for (std::size_t i = 0; i < condition.size(); ++i) {
    const Key key{c.context[i], c.drug[i], c.drug_b[i], c.dose_log10_molar[i], c.time_h[i]};
    condition[i] = known.emplace(key, static_cast<std::int32_t>(known.size())).first->second;
  }
  return condition;
}

/// Reads and checks one file, in the order of share/doc/data_format.md.
class DatasetReader {
 public:
  DatasetReader(const std::filesystem::path& path, Hdf5Access access)
      : file_(path, access), of_others_(access == Hdf5Access::any), storage_(std::make_shared<Storage>()) {
    storage_->file = file_.storage();
    out_.path = path;
  }

  Dataset read() {
    read_header();
    read_names();
    read_fitted_steps();
    read_samples();
    read_drugs();
    read_responses();
    read_perturbations();
    out_.storage_ = storage_;
    return std::move(out_);
  }

 private:
  [[noreturn]] void wrong(const std::string& object, const std::string& what) const {
    throw DataError(file_.path().string() + ": " + object + " " + what);
  }

  void read_header() {
    if (!file_.has_attribute("/", "format")) {
      throw DataError(file_.path().string() +
                      " is an HDF5 file but not a cdrzoo data set (it lacks the attribute 'format')");
    }
    const std::string format = file_.text_attribute("/", "format");
    if (format != kDatasetFormat) {
      throw DataError(file_.path().string() + " is an HDF5 file of the format '" + format + "'; expected '" +
                      kDatasetFormat + "'");
    }
    const std::int64_t version = file_.int_attribute("/", "format_version");
    if (version < 1 || version > kDatasetFormatVersion) {
      throw DataError(file_.path().string() + " has format version " + std::to_string(version) +
                      "; this program reads versions 1 to " + std::to_string(kDatasetFormatVersion));
    }
    out_.name = file_.text_attribute("/", "name");
    out_.provenance_json = file_.text("/provenance");
    if (!nlohmann::json::accept(out_.provenance_json)) wrong("/provenance", "is not JSON");
    if (file_.has("/caveats")) out_.caveats = file_.strings("/caveats");
  }

  std::vector<std::string> names(const std::string& object, std::int64_t length = -1) const {
    std::vector<std::string> values = file_.strings(object, length);
    if (values.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max() - 1)) {
      wrong(object, "has more than 2^31 - 2 rows");
    }
    return values;
  }

  /// Names that identify something: none empty, none twice.
  std::vector<std::string> unique_names(const std::string& object) const {
    std::vector<std::string> values = names(object);
    std::unordered_map<std::string_view, std::size_t> first;
    first.reserve(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i].empty()) wrong(object, "row " + std::to_string(i) + " is empty");
      const auto [known, fresh] = first.emplace(values[i], i);
      if (!fresh) {
        wrong(object, "holds '" + values[i] + "' twice, in rows " + std::to_string(known->second) + " and " +
                          std::to_string(i));
      }
    }
    return values;
  }

  /// Index column with each element in [low, high).
  ArrayView<std::int32_t> indices(const std::string& object, std::int64_t length, std::int64_t low,
                                  std::size_t high) const {
    const auto values = file_.array<std::int32_t>(object, length);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i] < low || values[i] >= static_cast<std::int64_t>(high)) {
        wrong(object, "row " + std::to_string(i) + " is " + std::to_string(values[i]) + "; expected " +
                          std::to_string(low) + " to " + std::to_string(static_cast<std::int64_t>(high) - 1));
      }
    }
    return values;
  }

  void read_names() {
    out_.genes = unique_names("/genes/symbol");
    if (out_.genes.empty()) wrong("/genes/symbol", "is empty; a data set needs at least one gene");
    out_.tissues = file_.has("/tissues/name") ? unique_names("/tissues/name") : std::vector<std::string>{};
    out_.domains.name = unique_names("/domains/name");
    if (out_.domains.name.empty()) wrong("/domains/name", "is empty; a data set needs at least one domain");
    out_.domains.expression_unit = names("/domains/expression_unit", count(out_.domains.name));
    out_.domains.caveat = names("/domains/caveat", count(out_.domains.name));
  }

  void read_fitted_steps() {
    if (!file_.has("/fitted_steps")) return;
    try {
      out_.fitted_steps = fitted_steps_from_json(nlohmann::json::parse(file_.text("/fitted_steps")));
      check_fitted_steps(out_.fitted_steps, out_.domains.name, count(out_.genes));
    } catch (const nlohmann::json::parse_error&) {
      wrong("/fitted_steps", "is not JSON");
    } catch (const DataError& e) {
      wrong("/fitted_steps:", e.what());
    }
  }

  std::vector<FeatureBlock> read_blocks(const std::string& group, std::int64_t rows,
                                        std::initializer_list<const char*> reserved) const {
    std::vector<FeatureBlock> blocks;
    for (const auto& name : file_.children(group)) {
      std::string place = group;
      place.append("/").append(name);
      for (const char* word : reserved) {
        if (name == word) wrong(place, "has a name that is reserved for a block made from a column");
      }
      blocks.push_back(read_block(file_, place, name, rows));
    }
    return blocks;
  }

  void read_samples() {
    auto& samples = out_.samples;
    samples.id = unique_names("/samples/id");
    const std::int64_t n = count(samples.id);
    if (n == 0) wrong("/samples/id", "is empty; a data set needs at least one sample");
    samples.group = names("/samples/group", n);
    for (std::size_t i = 0; i < samples.group.size(); ++i) {
      if (samples.group[i].empty()) wrong("/samples/group", "row " + std::to_string(i) + " is empty");
    }
    const auto domain = indices("/samples/domain", n, 0, out_.domains.name.size());
    const auto tissue = indices("/samples/tissue", n, -1, out_.tissues.size());
    samples.domain.assign(domain.begin(), domain.end());
    samples.tissue.assign(tissue.begin(), tissue.end());

    samples.blocks = read_blocks("/samples/blocks", n, {"tissue", "domain"});
    const FeatureBlock* expression = find_block(samples.blocks, "expression");
    const std::string place = "/samples/blocks/expression";
    if (expression == nullptr) wrong(place, "is missing");
    if (expression->kind != CDRZOO_BLOCK_DENSE || expression->parts[0].dtype != CDRZOO_F32) {
      wrong(place, "is not a dense float32 block");
    }
    if (expression->width != count(out_.genes)) {
      wrong(place, "has " + std::to_string(expression->width) + " columns, but there are " +
                       std::to_string(out_.genes.size()) + " genes");
    }
    if (expression->space != space_of(out_.genes)) {
      wrong(place, "was written for other genes or another gene order (its space is not the hash of /genes/symbol)");
    }
    for (auto& block : samples.blocks) {
      if (block.name == "expression") block.feature_names = out_.genes;
    }
    samples.blocks.push_back(codes_block(*storage_, "tissue", samples.tissue, out_.tissues));
    samples.blocks.push_back(codes_block(*storage_, "domain", samples.domain, out_.domains.name));
  }

  void read_drugs() {
    auto& drugs = out_.drugs;
    if (!file_.has("/drugs")) return;
    drugs.id = unique_names("/drugs/id");
    const std::int64_t n = count(drugs.id);
    drugs.name = names("/drugs/name", n);
    drugs.smiles = names("/drugs/smiles", n);
    drugs.group = names("/drugs/group", n);
    drugs.scaffold = names("/drugs/scaffold", n);
    for (std::size_t i = 0; i < drugs.group.size(); ++i) {
      if (drugs.group[i].empty()) wrong("/drugs/group", "row " + std::to_string(i) + " is empty");
    }
    drugs.blocks = read_blocks("/drugs/blocks", n, {"smiles"});
    const bool any_structure =
        std::any_of(drugs.smiles.begin(), drugs.smiles.end(), [](const std::string& s) { return !s.empty(); });
    if (any_structure) drugs.blocks.push_back(text_block(*storage_, "smiles", drugs.smiles));
  }

  void read_responses() {
    if (!file_.has("/responses")) return;
    auto& r = out_.responses;
    r.value_unit = file_.text_attribute("/responses", "value_unit");
    r.sample = indices("/responses/sample", -1, 0, out_.samples.id.size());
    const auto n = static_cast<std::int64_t>(r.sample.size());
    if (n > std::numeric_limits<std::int32_t>::max()) wrong("/responses", "has more than 2^31 - 1 records");
    r.drug = indices("/responses/drug", n, 0, out_.drugs.id.size());
    r.value = file_.array<double>("/responses/value", n);
    r.label = file_.array<std::int8_t>("/responses/label", n);
    r.replicate = file_.array<std::int32_t>("/responses/replicate", n);

    const auto sample_rank = canonical_sample_ranks(out_);
    const auto drug_rank = ranks(out_.drugs.id);
    std::array<std::int32_t, 3> previous{-1, -1, -1};
    for (std::size_t i = 0; i < r.sample.size(); ++i) {
      const std::string row = "row " + std::to_string(i);
      if (r.label[i] < -1 || r.label[i] > 1)
        wrong("/responses/label", row + " is " + std::to_string(r.label[i]) + "; expected 1, 0 or -1");
      if (std::isinf(r.value[i])) wrong("/responses/value", row + " is infinite");
      if (std::isnan(r.value[i]) && r.label[i] < 0) wrong("/responses", row + " has neither a value nor a label");
      if (r.replicate[i] < 0)
        wrong("/responses/replicate", row + " is " + std::to_string(r.replicate[i]) + "; expected 0 or more");
      const std::array<std::int32_t, 3> key{sample_rank[static_cast<std::size_t>(r.sample[i])],
                                            drug_rank[static_cast<std::size_t>(r.drug[i])], r.replicate[i]};
      if (key == previous) {
        wrong("/responses", row + " repeats the record of sample '" +
                                out_.samples.id[static_cast<std::size_t>(r.sample[i])] + "' and drug '" +
                                out_.drugs.id[static_cast<std::size_t>(r.drug[i])] + "'");
      }
      if (key < previous)
        wrong("/responses", row + " breaks the canonical order (domain name, sample id, drug id, replicate)");
      previous = key;
    }
  }

  void read_perturbations() {
    if (!file_.has("/perturbations")) return;
    Dataset::Perturbations p;
    p.profile = read_profile();
    const std::int64_t n = p.profile.rows;
    if (n > std::numeric_limits<std::int32_t>::max()) wrong("/perturbations", "has more than 2^31 - 1 rows");
    const std::size_t samples = out_.samples.id.size();
    const std::size_t drugs = out_.drugs.id.size();
    p.control = indices("/perturbations/control", n, 0, samples);
    p.drug = indices("/perturbations/drug", n, 0, drugs);
    p.drug_b = indices("/perturbations/drug_b", n, -1, drugs);
    p.dose_log10_molar = file_.array<float>("/perturbations/dose_log10_molar", n);
    p.time_h = file_.array<float>("/perturbations/time_h", n);
    for (std::size_t i = 0; i < p.time_h.size(); ++i) {
      if (std::isinf(p.dose_log10_molar[i]))
        wrong("/perturbations/dose_log10_molar", "row " + std::to_string(i) + " is infinite");
      if (std::isinf(p.time_h[i]) || p.time_h[i] < 0) {
        wrong("/perturbations/time_h", "row " + std::to_string(i) + " is negative or infinite");
      }
      if (p.drug_b[i] == p.drug[i])
        wrong("/perturbations/drug_b", "row " + std::to_string(i) + " repeats the first drug");
    }
    read_conditions(p);
    if (file_.has("/perturbations/condition")) check_order(p);
    read_controls(p);
    read_deg(p);
    out_.perturbations = std::move(p);
  }

  /// [n, genes]: one data set, or a group of CSR parts.
  [[nodiscard]] RowMatrix read_profile() const {
    const char* const object = "/perturbations/profile";
    if (!file_.is_group(object)) return file_.matrix<float>(object, -1, count(out_.genes));
    const auto rows = static_cast<std::int64_t>(file_.array<std::int32_t>("/perturbations/control").size());
    RowMatrix profile = read_sparse_rows(file_, object, rows, count(out_.genes), space_of(out_.genes));
    const auto& values = profile.sparse().value;
    if (of_others_ && any_nan(values.begin(), values.size()))
      wrong(object, "has missing values; such profiles are stored dense");
    return profile;
  }

  /// Which rows are replicates of one condition; files from before that was written are taken as they are.
  void read_conditions(Dataset::Perturbations& p) {
    const std::int64_t n = p.size();
    const auto number = [&p] { return number_conditions({p.context, p.drug, p.drug_b, p.dose_log10_molar, p.time_h}); };
    const auto last = [](const std::vector<std::int32_t>& c) {
      return c.empty() ? 0 : *std::max_element(c.begin(), c.end()) + 1;
    };
    const auto keep = [this](const std::vector<std::int32_t>& values) {
      return ArrayView<std::int32_t>(storage_->keep(values), values.size());
    };
    if (!file_.has("/perturbations/condition")) {
      std::vector<std::int32_t> context(p.control.size());
      std::unordered_map<std::int32_t, std::int32_t> known;  // control to context
      for (std::size_t i = 0; i < context.size(); ++i) {
        const auto [entry, fresh] = known.emplace(p.control[i], static_cast<std::int32_t>(known.size()));
        if (fresh) p.contexts.push_back(out_.samples.id[static_cast<std::size_t>(p.control[i])]);
        context[i] = entry->second;
      }
      p.context = keep(context);
      const std::vector<std::int32_t> condition = number();
      p.condition = keep(condition);
      p.conditions = last(condition);
      p.replicates = keep(std::vector<std::int32_t>(p.control.size(), 1));
      return;
    }
    p.contexts = unique_names("/perturbations/context_name");
    p.context = indices("/perturbations/context", n, 0, p.contexts.size());
    p.condition = file_.array<std::int32_t>("/perturbations/condition", n);
    p.replicates = file_.array<std::int32_t>("/perturbations/replicates", n);
    const std::vector<std::int32_t> condition = number();
    for (std::size_t i = 0; i < condition.size(); ++i) {
      const std::string row = "row " + std::to_string(i);
      if (p.condition[i] != condition[i]) {
        wrong("/perturbations/condition", row + " is " + std::to_string(p.condition[i]) +
                                              "; its context, drugs, dose and time make it " +
                                              std::to_string(condition[i]));
      }
      if (p.replicates[i] < 1) {
        wrong("/perturbations/replicates", row + " is " + std::to_string(p.replicates[i]) + "; expected 1 or more");
      }
    }
    p.conditions = last(condition);
  }

  /// Rows are numbered by their place, so that it must not depend on who wrote the file.
  void check_order(const Dataset::Perturbations& p) const {
    const auto domain_rank = ranks(out_.domains.name);
    const auto context_rank = ranks(p.contexts);
    const auto drug_rank = ranks(out_.drugs.id);
    const auto sample_rank = ranks(out_.samples.id);
    const auto at = [](const std::vector<std::int32_t>& rank, std::int32_t i) {
      return i < 0 ? -1 : rank[static_cast<std::size_t>(i)];
    };
    const auto number = [](float x) { return std::isnan(x) ? -std::numeric_limits<float>::infinity() : x; };
    const auto key = [&](std::size_t i) {
      const auto control = static_cast<std::size_t>(p.control[i]);
      return std::make_tuple(at(domain_rank, out_.samples.domain[control]), at(context_rank, p.context[i]),
                             at(drug_rank, p.drug[i]), at(drug_rank, p.drug_b[i]), number(p.dose_log10_molar[i]),
                             number(p.time_h[i]), sample_rank[control]);
    };
    for (std::size_t i = 0; i < p.control.size(); ++i) {
      if (p.drug_b[i] >= 0 && at(drug_rank, p.drug_b[i]) < at(drug_rank, p.drug[i])) {
        wrong("/perturbations/drug_b", "row " + std::to_string(i) +
                                           " sorts before the first drug; of two drugs the one whose id sorts first is "
                                           "'drug'");
      }
      if (i > 0 && key(i) < key(i - 1)) {
        wrong("/perturbations", "row " + std::to_string(i) +
                                    " breaks the canonical order (domain name, context, drug id, second drug id, dose, "
                                    "time, control id)");
      }
    }
  }

  void read_controls(Dataset::Perturbations& p) {
    const char* const object = "/perturbations/control_context";
    p.controls.resize(p.contexts.size());
    if (file_.has(object)) {
      p.control_context = indices(object, count(out_.samples.id), -1, p.contexts.size());
      for (std::size_t i = 0; i < p.control_context.size(); ++i) {
        if (p.control_context[i] >= 0)
          p.controls[static_cast<std::size_t>(p.control_context[i])].push_back(static_cast<std::int32_t>(i));
      }
      for (std::size_t i = 0; i < p.control.size(); ++i) {
        const auto control = static_cast<std::size_t>(p.control[i]);
        if (p.control_context[control] != p.context[i]) {
          wrong("/perturbations/control", "row " + std::to_string(i) + " is sample '" + out_.samples.id[control] +
                                              "', which is no control of its context '" +
                                              p.contexts[static_cast<std::size_t>(p.context[i])] + "'");
        }
      }
      const std::set<std::int32_t> used(p.control.begin(), p.control.end());
      const auto more = [&](std::size_t i) {
        return p.control_context[i] >= 0 && used.count(static_cast<std::int32_t>(i)) == 0;
      };
      bool any = false;
      for (std::size_t i = 0; i < p.control_context.size(); ++i) any = any || more(i);
      if (!any) p.control_context = {};  // as our writer has it
    } else {
      for (std::size_t i = 0; i < p.control.size(); ++i)
        p.controls[static_cast<std::size_t>(p.context[i])].push_back(p.control[i]);
      for (auto& samples : p.controls) {
        std::sort(samples.begin(), samples.end());
        samples.erase(std::unique(samples.begin(), samples.end()), samples.end());
      }
    }
    for (std::size_t c = 0; c < p.contexts.size(); ++c) {
      const auto& samples = p.controls[c];
      p.context_group.push_back(samples.empty() ? p.contexts[c]
                                                : out_.samples.group[static_cast<std::size_t>(samples.front())]);
      for (const auto sample : samples) {
        const auto i = static_cast<std::size_t>(sample);
        const auto first = static_cast<std::size_t>(samples.front());
        const auto refuse = [&](const char* what, const std::string& a, const std::string& b) {
          wrong("/perturbations/context", "'" + p.contexts[c] + "' has controls of the " + what + " '" + a + "' and '" +
                                              b + "'; a context has controls of one");
        };
        if (out_.samples.group[i] != p.context_group[c]) refuse("groups", p.context_group[c], out_.samples.group[i]);
        if (out_.samples.domain[i] != out_.samples.domain[first]) {
          refuse("domains", out_.domains.name[static_cast<std::size_t>(out_.samples.domain[first])],
                 out_.domains.name[static_cast<std::size_t>(out_.samples.domain[i])]);
        }
      }
    }
  }

  void read_deg(Dataset::Perturbations& p) {
    if (!file_.has("/perturbations/deg")) return;
    const char* const object = "/perturbations/deg";
    p.deg = file_.matrix<std::int32_t>(object, p.conditions, -1);
    p.deg_rule = file_.text_attribute("/perturbations", "deg_rule");
    std::vector<std::int64_t> seen(out_.genes.size(), -1);  // the last list that holds the gene
    for (std::int64_t i = 0; i < p.deg.rows; ++i) {
      const std::string row = "row " + std::to_string(i);
      bool ended = false;
      for (std::int64_t j = 0; j < p.deg.cols; ++j) {
        const std::int32_t gene = p.deg.row(i)[j];
        if (gene < -1 || gene >= count(out_.genes)) {
          wrong(object,
                row + " holds " + std::to_string(gene) + "; expected -1 to " + std::to_string(out_.genes.size() - 1));
        }
        if (gene < 0) {
          ended = true;
          continue;
        }
        if (ended) wrong(object, row + " holds a gene after -1, which ends a list");
        auto& list = seen[static_cast<std::size_t>(gene)];
        if (list == i) wrong(object, row + " holds gene " + out_.genes[static_cast<std::size_t>(gene)] + " twice");
        list = i;
      }
    }
  }

  Hdf5File file_;
  bool of_others_;  ///< written by another program, which may not have kept its own marks
  std::shared_ptr<Storage> storage_;
  Dataset out_;
};

namespace {

/// A file name that nobody else has; removed with the object.
class TemporaryFile {
 public:
  TemporaryFile() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cdrzoo-XXXXXX").string();
    const int fd = ::mkstemp(pattern.data());
    if (fd < 0) throw IoError("cannot write " + pattern + ": " + std::strerror(errno));
    ::close(fd);
    path_ = pattern;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Rewrites a file of another writer as one of ours. The HDF5 library can crash on damaged metadata without checksums,
/// or worse, go on with a damaged heap: that must not happen in this process.
void rewrite_in_child(const std::filesystem::path& from, const std::filesystem::path& to) {
  ChildTask task;
  task.what = "reading " + from.string();
  task.crash = from.string() + " is damaged: the HDF5 library crashes or hangs on it";
  task.timeout_s = 600;
  task.quiet = true;
  run_in_child(task, [&] {
    write_dataset(content_of(DatasetReader(from, Hdf5Access::any).read()), to);
    return std::string();
  });
}

}  // namespace

Dataset Dataset::open(const std::filesystem::path& path) {
  try {
    return DatasetReader(path, Hdf5Access::checksummed).read();
  } catch (const Hdf5Unprotected&) {  // of another writer
  }
  const TemporaryFile copy;
  rewrite_in_child(path, copy.path());
  Dataset dataset = DatasetReader(copy.path(), Hdf5Access::checksummed).read();  // stays mapped after the file is gone
  dataset.path = path;
  return dataset;
}

MatrixView<float> Dataset::expression() const {
  const FeatureBlock* block = sample_block("expression");
  return {static_cast<const float*>(block->parts[0].data), block->rows, block->width};
}

const FeatureBlock* Dataset::sample_block(const std::string& block) const { return find_block(samples.blocks, block); }
const FeatureBlock* Dataset::drug_block(const std::string& block) const { return find_block(drugs.blocks, block); }

std::int32_t Dataset::domain_index(const std::string& domain) const {
  std::string known;
  for (std::size_t i = 0; i < domains.name.size(); ++i) {
    if (domains.name[i] == domain) return static_cast<std::int32_t>(i);
    known += (known.empty() ? "" : ", ") + domains.name[i];
  }
  throw UsageError("unknown domain '" + domain + "' in " + path.string() + "; known: " + known);
}

const std::string& Dataset::file_hash() const {
  if (file_hash_.empty()) file_hash_ = sha256_file_hex(path);
  return file_hash_;
}

const std::string& Dataset::data_hash() const {
  if (!data_hash_.empty()) return data_hash_;
  // The exact bytes are fixed in share/doc/data_format.md, so that other languages find the same hash.
  Sha256 sha;
  sha.update("study\tsample\tdrug\treplicate\tvalue\tlabel\n");
  std::string line;
  for (std::size_t i = 0; i < responses.sample.size(); ++i) {
    const auto sample = static_cast<std::size_t>(responses.sample[i]);
    line = domains.name[static_cast<std::size_t>(samples.domain[sample])];
    line += '\t';
    line += samples.id[sample];
    line += '\t';
    line += drugs.id[static_cast<std::size_t>(responses.drug[i])];
    line += '\t';
    line += std::to_string(responses.replicate[i]);
    line += '\t';
    if (!std::isnan(responses.value[i])) {
      std::array<char, 64> digits{};  // like printf("%.17g") in the C locale
      const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), responses.value[i],
                                     std::chars_format::general, 17);
      line.append(digits.data(), end.ptr);
    }
    line += '\t';
    if (responses.label[i] >= 0) line += responses.label[i] == 1 ? '1' : '0';
    line += '\n';
    sha.update(line);
  }
  data_hash_ = sha.hex();
  return data_hash_;
}

}  // namespace cdrzoo
