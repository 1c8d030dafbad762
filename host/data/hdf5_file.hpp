// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/array_view.hpp"
#include "base/error.hpp"

/// The only place that knows the HDF5 library. Not thread-safe: HDF5 objects are used by one thread at a time.
namespace cdrzoo {

/// Element types that cdrzoo files hold, all little-endian.
enum class Hdf5Type { f32, f64, i8, i32, i64, u8, u64 };

[[nodiscard]] const char* hdf5_type_name(Hdf5Type type);  ///< "float32", "int8", ...
[[nodiscard]] std::uint64_t hdf5_type_bytes(Hdf5Type type);

template <typename T>
constexpr Hdf5Type hdf5_type_of() {
  if constexpr (std::is_same_v<T, float>) return Hdf5Type::f32;
  if constexpr (std::is_same_v<T, double>) return Hdf5Type::f64;
  if constexpr (std::is_same_v<T, std::int8_t>) return Hdf5Type::i8;
  if constexpr (std::is_same_v<T, std::int32_t>) return Hdf5Type::i32;
  if constexpr (std::is_same_v<T, std::int64_t>) return Hdf5Type::i64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return Hdf5Type::u8;
  if constexpr (std::is_same_v<T, std::uint64_t>) return Hdf5Type::u64;
}

/// What a reader accepts. The HDF5 library trusts metadata that carry no checksum, and some versions crash on damaged
/// ones; files of our writer carry checksums on everything that the library interprets.
enum class Hdf5Access {
  any,
  checksummed,  ///< throws Hdf5Unprotected for old formats, variable-length text and anything but contiguous data
};

/// The file holds something that Hdf5Access::checksummed does not accept. It may be fine all the same.
class Hdf5Unprotected : public DataError {
 public:
  using DataError::DataError;
};

/// Read-only HDF5 file. Contiguous data sets are handed out as pointers into a memory mapping of the file; chunked,
/// compressed or badly aligned ones are read into 64-byte aligned memory. Everything that a file declares is checked
/// against its size before it is believed. External files, external links and virtual data sets are refused, and no
/// filter plugin is loaded.
///
/// Memory that was handed out lives as long as storage() does.
class Hdf5File {
 public:
  /// One data set of numbers, row-major.
  struct Block {
    Hdf5Type type = Hdf5Type::u8;
    std::vector<std::int64_t> shape;
    const void* data = nullptr;  ///< 64-byte aligned; nullptr if there are no elements
    std::uint64_t bytes = 0;
    bool mapped = false;  ///< points into the mapping of the file
    [[nodiscard]] std::int64_t count() const;
  };

  /// \throws IoError if the file cannot be opened or mapped; DataError if it is not HDF5, truncated or damaged.
  explicit Hdf5File(std::filesystem::path path, Hdf5Access access = Hdf5Access::any);
  ~Hdf5File();
  Hdf5File(Hdf5File&&) noexcept;
  Hdf5File& operator=(Hdf5File&&) noexcept;

  [[nodiscard]] const std::filesystem::path& path() const;
  [[nodiscard]] std::uint64_t file_bytes() const;

  [[nodiscard]] bool has(const std::string& object) const;  ///< a group or data set of that path exists
  [[nodiscard]] bool is_group(const std::string& object) const;
  /// Names of the objects in a group, sorted bytewise; empty if the group does not exist.
  [[nodiscard]] std::vector<std::string> children(const std::string& group) const;

  /// Type and shape without the data. `is_text` data sets have no Hdf5Type.
  struct Info {
    bool is_text = false;
    Hdf5Type type = Hdf5Type::u8;
    std::vector<std::int64_t> shape;
  };
  [[nodiscard]] Info info(const std::string& dataset) const;

  /// What the elements of a data set of a foreign file are, whatever their size and byte order. boolean: an
  /// enumeration of FALSE and TRUE, as h5py writes them.
  enum class Elements { text, integer, real, boolean, other };
  /// Numbers that are read in pieces, so that memory stays bounded. Valid while the file object is.
  class Numbers {
   public:
    [[nodiscard]] Elements elements() const;  ///< integer, real or boolean
    [[nodiscard]] bool is_unsigned() const;
    [[nodiscard]] std::uint64_t element_bytes() const;  ///< in the file
    [[nodiscard]] const std::vector<std::int64_t>& shape() const;
    /// How many rows (steps along the first axis) to read together as elements of \p element_bytes: whole chunks of
    /// the file that take 16 MiB, or one row of chunks where that needs more. At least 1.
    [[nodiscard]] std::int64_t rows_at_once(std::uint64_t element_bytes) const;
    /// Rows [first, first + count), converted to T: float, double, std::int64_t or std::uint64_t. What is beyond the
    /// range of T becomes infinite or its end. Numbers of Elements::real are not read as integers.
    template <typename T>
    void read(std::int64_t first, std::int64_t count, T* out) const;

   private:
    friend class Hdf5File;
    struct Impl;
    void read_as(Hdf5Type type, std::int64_t first, std::int64_t count, void* out) const;
    std::shared_ptr<const Impl> impl_;
  };
  struct Outline {
    Elements elements = Elements::other;
    std::vector<std::int64_t> shape;
  };
  [[nodiscard]] Outline outline(const std::string& dataset) const;
  /// \throws DataError if it is absent or holds no numbers.
  [[nodiscard]] Numbers numbers(const std::string& dataset) const;

  /// The data set as it is. \throws DataError if it is absent or of a type that is not in Hdf5Type.
  [[nodiscard]] Block block(const std::string& dataset) const;
  /// Rank 1 of exactly this type; of \p length elements unless that is negative.
  template <typename T>
  [[nodiscard]] ArrayView<T> array(const std::string& dataset, std::int64_t length = -1) const {
    const Block b = expect(dataset, hdf5_type_of<T>(), 1, length, -1);
    return {static_cast<const T*>(b.data), static_cast<std::size_t>(b.shape[0])};
  }
  /// Rank 2 of exactly this type; negative sizes mean any.
  template <typename T>
  [[nodiscard]] MatrixView<T> matrix(const std::string& dataset, std::int64_t rows = -1, std::int64_t cols = -1) const {
    const Block b = expect(dataset, hdf5_type_of<T>(), 2, rows, cols);
    return {static_cast<const T*>(b.data), b.shape[0], b.shape[1]};
  }
  /// Rank 1 text, of fixed or variable length. \throws DataError for text that is not UTF-8 or has control characters.
  [[nodiscard]] std::vector<std::string> strings(const std::string& dataset, std::int64_t length = -1) const;
  /// The same without a look at what the bytes say.
  [[nodiscard]] std::vector<std::string> unchecked_strings(const std::string& dataset, std::int64_t length = -1) const;
  /// A long text that is stored as uint8 [bytes].
  [[nodiscard]] std::string text(const std::string& dataset) const;

  [[nodiscard]] bool has_attribute(const std::string& object, const std::string& name) const;
  [[nodiscard]] std::string text_attribute(const std::string& object, const std::string& name) const;
  [[nodiscard]] std::int64_t int_attribute(const std::string& object, const std::string& name) const;
  /// A list of texts or integers; a single value is a list of one, and an empty list may be of any type.
  [[nodiscard]] std::vector<std::string> text_list_attribute(const std::string& object, const std::string& name) const;
  [[nodiscard]] std::vector<std::int64_t> int_list_attribute(const std::string& object, const std::string& name) const;
  /// Path of the object that an attribute refers to.
  [[nodiscard]] std::string reference_attribute(const std::string& object, const std::string& name) const;

  /// Keeps the mapping and the buffers alive after the file object is gone.
  [[nodiscard]] std::shared_ptr<const void> storage() const;

 private:
  struct State;
  [[nodiscard]] Block expect(const std::string& dataset, Hdf5Type type, std::size_t rank, std::int64_t rows,
                             std::int64_t cols) const;
  std::unique_ptr<State> state_;
};

template <typename T>
void Hdf5File::Numbers::read(std::int64_t first, std::int64_t count, T* out) const {
  read_as(hdf5_type_of<T>(), first, count, out);
}

/// Writes an HDF5 file for Hdf5File: contiguous, 64-byte aligned, without time stamps, so that the same calls give the
/// same bytes (with the same HDF5 library). Data go straight to a temporary file next to the target; commit() renames
/// it into place. Without commit() nothing stays behind.
class Hdf5Writer {
 public:
  /// \throws IoError if the folder cannot be written.
  explicit Hdf5Writer(std::filesystem::path path);
  ~Hdf5Writer();
  Hdf5Writer(Hdf5Writer&&) noexcept;
  Hdf5Writer& operator=(Hdf5Writer&&) noexcept;

  void group(const std::string& path);  ///< parents are made too; an existing one is fine
  /// Writes a data set of any rank; parents are made. \throws IoError if the disk refuses.
  void write(const std::string& dataset, Hdf5Type type, const std::vector<std::int64_t>& shape, const void* data);
  template <typename T>
  void write(const std::string& dataset, const std::vector<T>& values) {
    write(dataset, hdf5_type_of<T>(), {static_cast<std::int64_t>(values.size())}, values.data());
  }
  template <typename T>
  void write(const std::string& dataset, ArrayView<T> values) {
    write(dataset, hdf5_type_of<T>(), {static_cast<std::int64_t>(values.size())}, values.data());
  }
  template <typename T>
  void write(const std::string& dataset, const MatrixView<T>& m) {
    write(dataset, hdf5_type_of<T>(), {m.rows, m.cols}, m.data);
  }
  /// A data set whose rows come later, in order: memory stays bounded.
  class Rows {
   public:
    /// Appends `bytes` bytes; all rows together must fill the shape before commit().
    void append(const void* data, std::uint64_t bytes);

   private:
    friend class Hdf5Writer;
    Hdf5Writer* writer_ = nullptr;
    std::uint64_t offset_ = 0;
    std::uint64_t left_ = 0;
    std::string name_;
  };
  [[nodiscard]] Rows create(const std::string& dataset, Hdf5Type type, const std::vector<std::int64_t>& shape);

  /// Fixed-length UTF-8, zero padded; as wide as the longest.
  void strings(const std::string& dataset, const std::vector<std::string>& values);
  /// A long text as uint8 [bytes].
  void text(const std::string& dataset, std::string_view value);

  /// One text of fixed length, rank 0; it may have several lines.
  void string(const std::string& dataset, const std::string& value);

  void attribute(const std::string& object, const std::string& name, std::string_view value);
  void attribute(const std::string& object, const std::string& name, std::int64_t value);
  void attribute(const std::string& object, const std::string& name, const std::vector<std::string>& values);
  void attribute(const std::string& object, const std::string& name, const std::vector<std::int64_t>& values);

  /// Ends the file, syncs it and renames it into place. \p sync false: for files that live no longer than the process
  /// that reads them; a power cut may leave nothing of them.
  void commit(bool sync = true);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Is this UTF-8 without control characters? (What ids, names and units have to be.)
[[nodiscard]] bool is_clean_text(std::string_view text);

}  // namespace cdrzoo
