// SPDX-License-Identifier: Apache-2.0
// Which treated profiles and controls a training step puts side by side.
#pragma once

#include <cdrzoo/plugin.hpp>
#include <cstdint>
#include <vector>

#include "training.hpp"

namespace cdrzoo::xtransfercdr {

/// The columns of a training view, one value per treated profile.
struct Treated {
  std::vector<std::int32_t> context;
  std::vector<std::int32_t> drug, drug_b;  ///< drug_b -1 = one perturbation
  std::vector<float> dose, time;           ///< NaN = unknown, and all unknown are one value
  std::vector<std::int32_t> control;       ///< number of the control's profile
  [[nodiscard]] static Treated of(const sdk::View& view);
};

/// Numbers of profiles that meet in a step.
struct Item {
  std::int64_t left, right;                  ///< treated profiles
  std::int64_t left_control, right_control;  ///< controls
  std::int64_t both;                         ///< treated profile under the perturbations of left and right; -1 = none
};

/// A mini-batch. Either all of its items have a profile under both perturbations, or none.
struct ItemBatch {
  std::vector<Item> items;
  bool combined = false;
  Mode mode = Mode::cell;  ///< what left and right share; of triples always the context
};

/// Pairs of treated profiles. What an item meets is drawn by a counter-based generator: it is a function of a seed and
/// of the item's number, whatever else an epoch holds and in which order.
///
/// An epoch has one item per treated profile. It is the item's left side; its right side is drawn among the profiles
/// that share its context under another perturbation (Mode::cell) or its perturbation in another context (Mode::drug).
/// Where there is none: among the other profiles that share context or perturbation, else the profile itself.
/// A profile of two perturbations that are both measured alone in its context is not a side of a pair: its item joins
/// it with one drawn profile of each, of its own dose and time where there are some. Otherwise the two are one
/// perturbation of its own.
/// Controls are drawn among those of the context.
class PairSampler {
 public:
  /// Perturbations are equal where drugs, dose and time are. \throws sdk::Error(E_DATA) for a row without a control
  explicit PairSampler(Treated rows);

  [[nodiscard]] std::int64_t n_items() const { return static_cast<std::int64_t>(pairs_.size() + triples_.size()); }
  [[nodiscard]] std::int64_t n_combined() const { return static_cast<std::int64_t>(triples_.size()); }

  struct Options {
    std::int64_t batch_size = 512;
    std::int64_t max_items = 0;  ///< of an epoch, drawn without replacement; 0 = all
    Mode mode = Mode::cell;
    enum class Triples { with_pairs, alone, none } triples = Triples::with_pairs;  ///< alone: where there are some
  };
  /// Shuffled batches. A batch of one item joins the one before it; an epoch of a single item has it twice, as batch
  /// normalisation needs two rows.
  /// \p order  shuffles; \p partners the seed of the right sides and the controls
  [[nodiscard]] std::vector<ItemBatch> epoch(sdk::Random order, std::uint64_t partners, const Options& options) const;

 private:
  struct Triple {
    std::int64_t both;
    std::size_t left, right;  ///< into singles_: of the same dose and time, else of any
  };
  using Rows = std::vector<std::int64_t>;
  [[nodiscard]] Item pair(std::int64_t row, Mode mode, sdk::Random& random) const;
  [[nodiscard]] Item triple(const Triple& triple, sdk::Random& random) const;
  [[nodiscard]] std::int64_t control_of(std::int64_t row, sdk::Random& random) const;

  Treated rows_;
  std::vector<std::int64_t> context_, perturbation_;  ///< of each row, numbered from 0
  std::vector<Rows> of_context_, of_perturbation_;    ///< rows that can be a side of a pair, those of one key together
  std::vector<Rows> controls_;                        ///< of each context
  std::vector<Rows> singles_;  ///< rows of a drug alone in a context at one dose and time, then those at any
  Rows pairs_;                 ///< rows with an item of their own
  std::vector<Triple> triples_;
};

}  // namespace cdrzoo::xtransfercdr
