// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cdrzoo/abi.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/feature_block.hpp"
#include "data/hdf5_file.hpp"
#include "worker/memory.hpp"
#include "worker/task.hpp"

namespace cdrzoo::worker {

/// A feature block of the entities file, which is mapped, and its feature names as the ABI wants them.
struct StoredBlock {
  FeatureBlock block;
  std::vector<std::int64_t> name_offsets;  ///< empty unless the task asks for feature names
  std::string name_bytes;

  [[nodiscard]] const FeatureBlock::Part* find(std::int32_t role) const;  ///< nullptr if there is none
};

/// What training samples say about one dense block (run/fitting.hpp): missing values are filled, then the block is
/// scaled, then columns are selected. What is empty is not done.
struct StoredTransform {
  MatrixView<float> means;
  ArrayView<std::int32_t> mean_table_of;
  MatrixView<double> offset, factor;
  ArrayView<std::int32_t> scale_table_of;
  ArrayView<std::int32_t> columns;
};

/// A view as the ABI wants it, with the memory behind it. Whole tables are the mapping of the entities file itself;
/// subsets and transformed blocks are gathered once into memory that is read-only afterwards.
class View {
 public:
  [[nodiscard]] const cdrzoo_view& abi() const { return view_; }
  [[nodiscard]] std::int64_t n_obs() const { return view_.n_obs; }

 private:
  friend class Bundle;
  struct Table {
    std::vector<std::vector<cdrzoo_part>> parts;  // by block
    std::vector<cdrzoo_block> blocks;
  };
  std::deque<Table> tables_;
  std::vector<cdrzoo_entities> entities_;
  std::vector<cdrzoo_column> columns_;
  std::vector<cdrzoo_part> target_parts_;
  std::vector<cdrzoo_block> target_block_;  // none or one
  SealedMemory memory_;
  cdrzoo_view view_{};
};

/// A bundle, mapped read-only. Hands out what the task names and nothing else.
class Bundle {
 public:
  /// \throws DataError, IoError: the files are absent, damaged, or do not belong together.
  explicit Bundle(const Task& task);

  [[nodiscard]] const cdrzoo_problem& problem() const { return problem_; }
  [[nodiscard]] bool has_view(const std::string& name) const { return views_.has("/" + name); }
  /// \param name train | valid | unlabelled | validation | test | refit
  [[nodiscard]] std::unique_ptr<View> view(const std::string& name) const { return piece(name, 0, n_obs(name)); }
  [[nodiscard]] std::int64_t n_obs(const std::string& name) const { return views_.int_attribute("/" + name, "n_obs"); }
  /// Observations [first, first + count) of a view, with tables of the entities that these refer to. A true part of a
  /// view has a fingerprint of its own, and is for queries: it has no targets.
  [[nodiscard]] std::unique_ptr<View> piece(const std::string& name, std::int64_t first, std::int64_t count) const;

 private:
  /// Observations of a view that are handed out, and the entities that these refer to.
  struct Piece {
    std::int64_t first = 0, count = 0;
    std::map<std::int32_t, ArrayView<std::int32_t>> tables;  ///< by axis: of the whole view, rows of the entities file
    /// By axis, only of a true part: its own table, and where each row of the whole view's table stands in it (or -1).
    std::map<std::int32_t, std::vector<std::int32_t>> rows, place;
  };

  struct Axis {
    std::int32_t code = 0;
    std::string name;
    std::int64_t count = 0;
    cdrzoo_array key{};
    std::deque<StoredBlock> blocks;
    std::map<std::string, StoredTransform> transforms;
  };

  [[nodiscard]] Axis read_axis(std::int32_t code, const std::string& name,
                               const std::vector<std::string>& blocks) const;
  [[nodiscard]] StoredBlock read_stored(const std::string& axis, const std::string& name, std::int64_t rows) const;
  void name_features(StoredBlock& stored) const;
  void read_transforms(Axis& axis) const;
  [[nodiscard]] StoredBlock& dense_float_block(Axis& axis, const std::string& name, const std::string& path) const;
  [[nodiscard]] ArrayView<std::int32_t> table_of(const std::string& path, std::int64_t count,
                                                 std::int64_t tables) const;
  void select(StoredBlock& stored, ArrayView<std::int32_t> columns, const std::string& path) const;
  void open_targets();
  void narrow(Piece& piece, const std::string& path) const;
  void add_view_targets(View& view, const std::string& path) const;
  void add_targets(View& view, const std::string& path) const;
  void add_sparse_targets(View& view, std::size_t first) const;
  void make_problem();
  void add_table(View& view, const Axis& axis, ArrayView<std::int32_t> rows) const;
  [[nodiscard]] cdrzoo_array read_column(const std::string& path, const std::string& name,
                                         const std::map<std::int32_t, ArrayView<std::int32_t>>& tables) const;
  void add_columns(View& view, const std::string& path, const Piece& piece) const;

  const Task& task_;
  Hdf5File entities_, views_;
  std::optional<Hdf5File> targets_;
  RowMatrix target_;                      // of the targets file, mapped, dense or sparse
  MatrixView<std::uint8_t> target_mask_;  // empty = all observed
  std::deque<Axis> axes_;
  cdrzoo_problem problem_{};
  View schema_;  // owns what problem_ points to
};

}  // namespace cdrzoo::worker
