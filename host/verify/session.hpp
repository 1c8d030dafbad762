// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cdrzoo/plugin.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "plugin/library.hpp"
#include "verify/toy.hpp"

namespace cdrzoo::verify {

/// How one operation ended, and what the plugin did with the host meanwhile.
struct Outcome {
  cdrzoo_status status = CDRZOO_OK;
  std::string message;  ///< of the first fail()
  double seconds = 0;
  [[nodiscard]] bool ok() const { return status == CDRZOO_OK; }
  /// "E_DATA (-8): no rows".
  [[nodiscard]] std::string text() const;
};

/// A prediction with every byte of the buffers as the plugin left it.
struct Prediction : Outcome {
  std::int64_t n_obs = 0, n_targets = 1, stride = 1;
  std::vector<float> mean;  ///< [n_obs, stride]; what was not written holds the signature
  std::vector<std::int32_t> row_status;

  [[nodiscard]] float at(std::int64_t row, std::int64_t target = 0) const {
    return mean[static_cast<std::size_t>(row * stride + target)];
  }
  /// Empty, or what is wrong: a value not written, not finite, padding touched, an unknown row status.
  [[nodiscard]] std::string defect() const;
  /// The values of the rows in order, without padding.
  [[nodiscard]] std::vector<float> values() const;
};

/// A saved model.
struct State {
  struct Tensor {
    std::string name;
    std::int32_t dtype = 0;
    std::vector<std::int64_t> shape;
    std::vector<std::uint8_t> bytes;
    [[nodiscard]] bool operator==(const Tensor& other) const {
      return name == other.name && dtype == other.dtype && shape == other.shape && bytes == other.bytes;
    }
  };
  std::vector<Tensor> tensors;
  std::vector<std::pair<std::string, std::string>> texts;
  std::string violation;  ///< a repeated name or a malformed array
};

struct SessionOptions {
  std::uint64_t seed = 1;
  std::int32_t threads = 1;
  std::int32_t determinism = 0;
  Memory memory = Memory::guarded;
  bool sealed = true;  ///< inputs are read-only (not with plain memory)
  std::int64_t stride_padding = 0;
  HostShape shape;
  bool full_training = false;  ///< a training that learns: the card's defaults, or what it proposes for that
  double deadline_s = 0;       ///< from the start of the operation; 0 = none, negative = has passed already
  /// Where a plugin that pokes in the host's private memory would find the withheld labels.
  const float* withheld_labels = nullptr;
};

/// A strict host around one model of a plugin: the life of one `cdrzoo_model`.
class Session {
 public:
  Session(const LoadedModel& model, const Toy& toy, SessionOptions options = {});
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  /// Parameters of the card (defaults, under them what it proposes for quick trainings) with \p params over them.
  Outcome create(const nlohmann::json& params = nullptr, const ViewPlan& schema = {});
  Outcome create_unchecked(const std::vector<Param>& params);
  Outcome fit(const ViewPlan& train);
  /// Train, early-stopping rows and unlabelled target as the card asks.
  Outcome fit() { return fit(train_plan()); }
  Prediction predict(const ViewPlan& query);
  Prediction predict() { return predict(query_plan()); }
  Outcome save(State& into);
  Outcome load(const State& state, const nlohmann::json& params = nullptr);
  Outcome info(cdrzoo_model_info& out);
  Outcome embed(std::int32_t axis, std::int64_t dim, std::vector<float>& out, std::int64_t& count);
  void destroy();

  [[nodiscard]] ViewPlan train_plan() const;
  [[nodiscard]] ViewPlan query_plan() const;
  [[nodiscard]] cdrzoo_model* model() const { return instance_; }
  SessionOptions& options() { return options_; }

  struct ProgressEvent {
    std::string phase;
    std::uint64_t done, total;
  };
  std::vector<ProgressEvent> progress;       ///< of the last operation
  std::vector<std::string> log;              ///< of all operations
  std::atomic<bool> cancel{false};           ///< what `cancelled` answers
  std::atomic<int> cancel_after_polls{-1};   ///< cancel by itself after so many questions; -1 = never
  std::atomic<int> polls{0};                 ///< questions asked
  std::atomic<std::uint64_t> late_calls{0};  ///< host services called while no operation ran
  bool give_unlabelled_target = true;

 private:
  struct Context;
  template <typename Operation>
  Outcome run(Operation operation);
  [[nodiscard]] std::vector<Param> params_with(const nlohmann::json& overrides) const;

  const LoadedModel& model_;
  const Toy& toy_;
  SessionOptions options_;
  Arena lasting_;  ///< problem and parameters: kept beyond create for convenience only
  cdrzoo_model* instance_ = nullptr;
  std::unique_ptr<Context> context_;
};

/// The bit pattern that marks floats which nobody has written: a quiet NaN with a payload.
inline constexpr std::uint32_t kSignature = 0x7FC5A5A5U;

}  // namespace cdrzoo::verify
