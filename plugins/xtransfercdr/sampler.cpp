// SPDX-License-Identifier: Apache-2.0
#include "sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

namespace cdrzoo::xtransfercdr {

Treated Treated::of(const sdk::View& view) {
  const auto copy = [](const auto& span) {
    return std::vector<std::remove_const_t<std::remove_reference_t<decltype(span[0])>>>(span.begin(), span.end());
  };
  const auto n = static_cast<std::size_t>(view.n_obs());
  const std::vector<float> unknown(n, std::numeric_limits<float>::quiet_NaN());
  return {copy(view.context()),
          copy(view.drug()),
          view.has(sdk::Column::drug_b) ? copy(view.drug_b()) : std::vector<std::int32_t>(n, -1),
          view.has(sdk::Column::dose) ? copy(view.dose()) : unknown,
          view.has(sdk::Column::time) ? copy(view.time()) : unknown,
          copy(view.control())};
}

namespace {

/// Numbers keys in their order of appearance.
template <class Key>
class Numbers {
 public:
  std::int64_t of(const Key& key) {
    return number_.emplace(key, static_cast<std::int64_t>(number_.size())).first->second;
  }
  [[nodiscard]] std::int64_t find(const Key& key) const {
    const auto found = number_.find(key);
    return found == number_.end() ? -1 : found->second;
  }
  [[nodiscard]] std::size_t size() const { return number_.size(); }

 private:
  std::map<Key, std::int64_t> number_;
};

std::int64_t drawn(const std::vector<std::int64_t>& rows, sdk::Random& random) {
  return rows[static_cast<std::size_t>(random.below(rows.size()))];
}

}  // namespace

PairSampler::PairSampler(Treated rows) : rows_(std::move(rows)) {
  const std::size_t n = rows_.context.size();
  const auto known = [](float value) { return std::isnan(value) ? -std::numeric_limits<float>::infinity() : value; };
  Numbers<std::int32_t> contexts;
  Numbers<std::tuple<std::int32_t, std::int32_t, float, float>> perturbations;
  Numbers<std::pair<std::int64_t, std::int32_t>> singles;                         // context, drug
  Numbers<std::tuple<std::int64_t, std::int32_t, float, float>> singles_at_dose;  // the same, dose, time
  const auto at_dose = [&](std::size_t i, std::int32_t drug) {
    return std::tuple{context_[i], drug, known(rows_.dose[i]), known(rows_.time[i])};
  };
  for (std::size_t i = 0; i < n; ++i) {
    if (rows_.control[i] < 0)
      throw sdk::Error(CDRZOO_E_DATA, "row " + std::to_string(i) + " of the treated profiles has no control");
    context_.push_back(contexts.of(rows_.context[i]));
    perturbation_.push_back(
        perturbations.of({rows_.drug[i], rows_.drug_b[i], known(rows_.dose[i]), known(rows_.time[i])}));
    if (rows_.drug_b[i] >= 0) continue;
    (void)singles.of({context_[i], rows_.drug[i]});
    (void)singles_at_dose.of(at_dose(i, rows_.drug[i]));
  }
  of_context_.resize(contexts.size());
  of_perturbation_.resize(perturbations.size());
  controls_.resize(contexts.size());
  singles_.resize(singles_at_dose.size() + singles.size());
  // The list of a drug's profiles that suit row i, -1 = it was not measured alone there.
  const auto suiting = [&](std::size_t i, std::int32_t drug) {
    const std::int64_t exact = singles_at_dose.find(at_dose(i, drug));
    if (exact >= 0) return exact;
    const std::int64_t any = singles.find({context_[i], drug});
    return any < 0 ? any : any + static_cast<std::int64_t>(singles_at_dose.size());
  };
  for (std::size_t i = 0; i < n; ++i) {
    const auto row = static_cast<std::int64_t>(i);
    const auto context = static_cast<std::size_t>(context_[i]);
    controls_[context].push_back(rows_.control[i]);
    if (rows_.drug_b[i] >= 0) {
      const std::int64_t left = suiting(i, rows_.drug[i]);
      const std::int64_t right = suiting(i, rows_.drug_b[i]);
      if (left >= 0 && right >= 0) {
        triples_.push_back({row, static_cast<std::size_t>(left), static_cast<std::size_t>(right)});
        continue;
      }
    } else {
      const auto any = static_cast<std::size_t>(singles.find({context_[i], rows_.drug[i]}));
      singles_[static_cast<std::size_t>(singles_at_dose.find(at_dose(i, rows_.drug[i])))].push_back(row);
      singles_[singles_at_dose.size() + any].push_back(row);
    }
    pairs_.push_back(row);
    of_context_[context].push_back(row);
    of_perturbation_[static_cast<std::size_t>(perturbation_[i])].push_back(row);
  }
  for (auto& controls : controls_) {
    std::sort(controls.begin(), controls.end());
    controls.erase(std::unique(controls.begin(), controls.end()), controls.end());
  }
  // Rows of one key stand together, so that "all but my own key" is two ranges.
  const auto by = [](std::vector<Rows>& groups, const std::vector<std::int64_t>& key) {
    for (Rows& group : groups) {
      std::stable_sort(group.begin(), group.end(), [&key](std::int64_t a, std::int64_t b) {
        return key[static_cast<std::size_t>(a)] < key[static_cast<std::size_t>(b)];
      });
    }
  };
  by(of_context_, perturbation_);
  by(of_perturbation_, context_);
}

std::int64_t PairSampler::control_of(std::int64_t row, sdk::Random& random) const {
  return drawn(controls_[static_cast<std::size_t>(context_[static_cast<std::size_t>(row)])], random);
}

Item PairSampler::pair(std::int64_t row, Mode mode, sdk::Random& random) const {
  const bool drug_mode = mode == Mode::drug;
  const auto i = static_cast<std::size_t>(row);
  const auto& key = drug_mode ? context_ : perturbation_;
  const Rows& group = drug_mode ? of_perturbation_[static_cast<std::size_t>(perturbation_[i])]
                                : of_context_[static_cast<std::size_t>(context_[i])];
  const auto less = [&key](std::int64_t a, std::int64_t b) {
    return key[static_cast<std::size_t>(a)] < key[static_cast<std::size_t>(b)];
  };
  const auto own = std::equal_range(group.begin(), group.end(), row, less);
  const auto first = static_cast<std::size_t>(own.first - group.begin());
  const auto same = static_cast<std::size_t>(own.second - own.first);
  std::int64_t other = row;
  if (same < group.size()) {
    const auto at = static_cast<std::size_t>(random.below(group.size() - same));
    other = group[at < first ? at : at + same];
  } else if (same > 1) {
    const auto at = static_cast<std::size_t>(random.below(same - 1));
    other = group[at] == row ? group.back() : group[at];
  }
  const std::int64_t left_control = control_of(row, random);
  return {row, other, left_control, control_of(other, random), -1};
}

Item PairSampler::triple(const Triple& triple, sdk::Random& random) const {
  const std::int64_t left = drawn(singles_[triple.left], random);
  const std::int64_t right = drawn(singles_[triple.right], random);
  const std::int64_t left_control = control_of(left, random);
  return {left, right, left_control, control_of(right, random), triple.both};
}

std::vector<ItemBatch> PairSampler::epoch(sdk::Random order, std::uint64_t partners, const Options& options) const {
  const auto n_pairs = static_cast<std::int64_t>(pairs_.size());
  const bool alone = options.triples == Options::Triples::alone && n_combined() > 0;
  const std::int64_t first_item = alone ? n_pairs : 0;
  const std::int64_t end = options.triples == Options::Triples::none ? n_pairs : n_items();
  std::vector<std::int64_t> chosen = order.permutation(end - first_item);
  for (auto& k : chosen) k += first_item;
  if (options.max_items > 0 && options.max_items < end - first_item)
    chosen.resize(static_cast<std::size_t>(options.max_items));
  std::vector<ItemBatch> batches;
  for (const bool combined : {false, true}) {
    std::vector<Item> items;
    for (const std::int64_t k : chosen) {
      if ((k >= n_pairs) != combined) continue;
      sdk::Random random(partners, static_cast<std::uint64_t>(k));
      items.push_back(combined ? triple(triples_[static_cast<std::size_t>(k - n_pairs)], random)
                               : pair(pairs_[static_cast<std::size_t>(k)], options.mode, random));
    }
    if (items.size() == 1) items.push_back(items.front());
    const auto size = static_cast<std::size_t>(options.batch_size);
    for (std::size_t first = 0; first < items.size();) {
      const std::size_t left = items.size() - first;
      const std::size_t count = left <= size + 1 ? left : size;
      const auto begin = items.begin() + static_cast<std::ptrdiff_t>(first);
      batches.push_back(
          {{begin, begin + static_cast<std::ptrdiff_t>(count)}, combined, combined ? Mode::cell : options.mode});
      first += count;
    }
  }
  order.shuffle(batches);
  return batches;
}

}  // namespace cdrzoo::xtransfercdr
