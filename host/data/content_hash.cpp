// SPDX-License-Identifier: Apache-2.0
#include "data/content_hash.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/hash.hpp"
#include "data/feature_block.hpp"

namespace cdrzoo {
namespace {

/// Hashes named items as share/doc/data_format.md says.
class Items {
 public:
  void text(const std::string& name, const std::vector<std::string>& values) {
    head(name, "text", {static_cast<std::int64_t>(values.size())});
    for (const auto& value : values) {
      sha_.update(value);
      sha_.update("\n");
    }
  }
  template <typename T>
  void numbers(const std::string& name, const char* type, const std::vector<std::int64_t>& shape, const T* values,
               std::uint64_t count) {
    head(name, type, shape);
    add(values, count);
  }
  /// The same whether the rows are stored dense or sparse.
  void rows(const std::string& name, const RowMatrix& matrix) {
    head(name, "float32", {matrix.rows, matrix.cols});
    std::vector<float> scratch;
    for (std::int64_t i = 0; i < matrix.rows; ++i) add(matrix.row(i, scratch), static_cast<std::uint64_t>(matrix.cols));
  }
  template <typename T>
  void column(const std::string& name, const char* type, ArrayView<T> values) {
    numbers(name, type, {static_cast<std::int64_t>(values.size())}, values.data(), values.size());
  }
  void block(const std::string& group, const FeatureBlock& block) {
    text(group, {block_kind_name(block.kind), std::to_string(block.width), block.space});
    text(group + "/feature_names", block.feature_names);
    for (const auto& part : block.parts) {
      const std::string name = group + "/" + part_name(part.role);
      const auto* bytes = static_cast<const std::uint8_t*>(part.data);
      switch (part.dtype) {
        case CDRZOO_F32:
          numbers(name, "float32", part.shape, static_cast<const float*>(part.data), part.bytes / sizeof(float));
          break;
        case CDRZOO_I32: numbers(name, "int32", part.shape, bytes, part.bytes); break;
        case CDRZOO_I64: numbers(name, "int64", part.shape, bytes, part.bytes); break;
        default: numbers(name, "uint8", part.shape, bytes, part.bytes); break;
      }
    }
  }
  void blocks(const std::string& group, const std::vector<FeatureBlock>& blocks,
              std::initializer_list<const char*> made_at_open) {
    for (const auto& b : blocks) {
      if (std::none_of(made_at_open.begin(), made_at_open.end(), [&b](const char* name) { return b.name == name; }))
        block(group + "/" + b.name, b);
    }
  }
  [[nodiscard]] std::string hex() { return sha_.hex(); }

 private:
  template <typename T>
  void add(const T* values, std::uint64_t count) {
    if constexpr (std::is_floating_point_v<T>) {
      // Missing is missing, whichever of the many NaNs a program wrote.
      std::vector<T> piece;
      constexpr std::uint64_t kPiece = 65536;
      for (std::uint64_t begin = 0; begin < count; begin += kPiece) {
        piece.assign(values + begin, values + begin + std::min(kPiece, count - begin));
        for (auto& x : piece) {
          if (std::isnan(x)) x = std::numeric_limits<T>::quiet_NaN();
        }
        sha_.update(piece.data(), piece.size() * sizeof(T));
      }
    } else {
      sha_.update(values, count * sizeof(T));
    }
  }

  void head(const std::string& name, const char* type, const std::vector<std::int64_t>& shape) {
    std::string line = name + "\t" + type;
    for (const auto extent : shape) line += "\t" + std::to_string(extent);
    sha_.update(line + "\n");
  }

  Sha256 sha_;
};

}  // namespace

std::string content_hash(const Dataset& d) {
  Items items;
  items.text("/name", {d.name});
  items.text("/caveats", d.caveats);
  items.text("/fitted_steps", {to_json(d.fitted_steps).dump()});
  items.text("/genes/symbol", d.genes);
  items.text("/tissues/name", d.tissues);
  items.text("/domains/name", d.domains.name);
  items.text("/domains/expression_unit", d.domains.expression_unit);
  items.text("/domains/caveat", d.domains.caveat);
  items.text("/samples/id", d.samples.id);
  items.text("/samples/group", d.samples.group);
  items.column<std::int32_t>("/samples/domain", "int32", d.samples.domain);
  items.column<std::int32_t>("/samples/tissue", "int32", d.samples.tissue);
  items.blocks("/samples/blocks", d.samples.blocks, {"tissue", "domain"});
  items.text("/drugs/id", d.drugs.id);
  items.text("/drugs/name", d.drugs.name);
  items.text("/drugs/smiles", d.drugs.smiles);
  items.text("/drugs/group", d.drugs.group);
  items.text("/drugs/scaffold", d.drugs.scaffold);
  items.blocks("/drugs/blocks", d.drugs.blocks, {"smiles"});
  items.text("/responses", {d.responses.value_unit});
  items.column("/responses/sample", "int32", d.responses.sample);
  items.column("/responses/drug", "int32", d.responses.drug);
  items.column("/responses/value", "float64", d.responses.value);
  items.column("/responses/label", "int8", d.responses.label);
  items.column("/responses/replicate", "int32", d.responses.replicate);
  if (!d.perturbations) return items.hex();
  const auto& p = *d.perturbations;
  const auto size = [](const auto& matrix) { return static_cast<std::uint64_t>(matrix.rows * matrix.cols); };
  items.rows("/perturbations/profile", p.profile);
  items.column("/perturbations/control", "int32", p.control);
  items.column("/perturbations/drug", "int32", p.drug);
  items.column("/perturbations/drug_b", "int32", p.drug_b);
  items.column("/perturbations/dose_log10_molar", "float32", p.dose_log10_molar);
  items.column("/perturbations/time_h", "float32", p.time_h);
  items.text("/perturbations/context_name", p.contexts);
  items.column("/perturbations/context", "int32", p.context);
  items.column("/perturbations/condition", "int32", p.condition);
  items.column("/perturbations/replicates", "int32", p.replicates);
  if (!p.control_context.empty()) items.column("/perturbations/control_context", "int32", p.control_context);
  items.numbers("/perturbations/deg", "int32", {p.deg.rows, p.deg.cols}, p.deg.data, size(p.deg));
  items.text("/perturbations/deg_rule", {p.deg_rule});
  return items.hex();
}

}  // namespace cdrzoo
