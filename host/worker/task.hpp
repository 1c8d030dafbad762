// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cdrzoo/abi.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "plugin/card.hpp"

namespace cdrzoo::worker {

/// task.json of a bundle, read and checked; share/doc/bundle.md lists the keys. Paths are absolute.
struct Task {
  std::filesystem::path file;
  std::string key, plugin_hash, model;
  std::filesystem::path plugin, entities, views;
  std::filesystem::path targets;  ///< targets that all cells of a fold share; empty = they are in `views`
  std::vector<Param> params;      ///< in the card's order
  std::string task_name, target_unit;
  std::vector<std::string> sample_blocks, drug_blocks, columns;  ///< all that the plugin is given
  std::map<std::string, std::filesystem::path> assets;
  std::uint64_t seed = 0;
  double deadline_s = 0;          ///< 0 = none
  std::int64_t memory_mb = 0;     ///< 0 = none
  std::int64_t predict_rows = 0;  ///< of one predict call at most; 0 = the whole query
  std::int32_t task = 0;          ///< CDRZOO_TASK_*
  std::int32_t n_targets = 1;
  std::int32_t threads = 1;
  std::int32_t device_kind = 0;  ///< CDRZOO_DEVICE_*
  std::int32_t device_index = 0;
  bool feature_names = false;
  bool determinism = false;
  bool save_model = false;

  /// \throws DataError that names the file and the key; IoError.
  [[nodiscard]] static Task read(const std::filesystem::path& file);
};

/// Parameters as the ABI wants them. The span borrows from this object, which borrows from the vector.
class AbiParams {
 public:
  explicit AbiParams(const std::vector<Param>& params);
  [[nodiscard]] cdrzoo_span span() const {
    return {values_.data(), values_.size(), static_cast<std::uint32_t>(sizeof(cdrzoo_value)), 0};
  }

 private:
  std::vector<cdrzoo_value> values_;
};

[[nodiscard]] inline cdrzoo_str abi_str(const std::string& text) { return {text.data(), text.size()}; }
[[nodiscard]] inline std::string to_string(cdrzoo_str text) {
  return text.ptr == nullptr ? std::string() : std::string(text.ptr, static_cast<std::size_t>(text.len));
}

}  // namespace cdrzoo::worker
