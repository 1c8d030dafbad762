// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/array_view.hpp"
#include "run/worker_process.hpp"

namespace cdrzoo {

/// What became of one cell: the status and the sentence of its record.
struct Outcome {
  std::string status = "ok";  ///< as Record::status
  std::string message;        ///< empty if ok
  nlohmann::json timing = nlohmann::json::object();
  nlohmann::json extra = nlohmann::json::object();  ///< what else the worker reported: n_parameters, ...
  [[nodiscard]] bool ok() const { return status == "ok"; }
};

/// Judges how a worker ended together with what it left in \p output (status.json). Trusts neither: a plugin can exit
/// with 0 whenever it likes.
[[nodiscard]] Outcome judge(const WorkerEnd& end, const WorkerCommand& command, const std::filesystem::path& output);

/// Raw predictions of a worker, in query order.
struct RawPart {
  std::vector<double> mean;
  std::vector<std::int32_t> row_status;
};
struct RawPredictions {
  RawPart validation, test;
};
/// Reads and checks <output>/predictions.h5: complete, and finite wherever the row status is 0 (other rows become NaN).
/// \throws PluginError with one sentence if the contract is violated; DataError if the file is damaged.
[[nodiscard]] RawPredictions read_raw_predictions(const std::filesystem::path& output, std::size_t n_validation,
                                                  std::size_t n_test);

/// The same for predicted profiles, mapped: values of rows with a status are not to be read.
struct RawProfilePart {
  MatrixView<float> mean;  ///< [n_obs, genes]
  std::vector<std::int32_t> row_status;
};
struct RawProfiles {
  RawProfilePart validation, test;
  std::shared_ptr<const void> storage;  ///< keeps the mapping alive
};
[[nodiscard]] RawProfiles read_raw_profiles(const std::filesystem::path& output, std::size_t n_validation,
                                            std::size_t n_test, std::int64_t genes);

}  // namespace cdrzoo
