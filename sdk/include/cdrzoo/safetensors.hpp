// SPDX-License-Identifier: Apache-2.0
/// Reader and writer of safetensors files: header-only, C++17, nlohmann-json only, no LibTorch.
///
/// The format: a little-endian u64 with the length of the header, the header as JSON
/// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"key": "text"}}, then the
/// data. The reader trusts nothing: it accepts a byte range only if every tensor lies inside it, the tensors cover the
/// data without overlap or hole, the sizes follow from shape and dtype, and no name stands twice.
#pragma once

#include <cdrzoo/abi.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "cdrzoo/safetensors.hpp: the data of a safetensors file is little-endian, and so must be the machine"
#endif

namespace cdrzoo::safetensors {
inline namespace v0 {

/// The bytes are no valid safetensors file, or the file cannot be read or written. The text says where and why.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
inline constexpr std::size_t kMaxRank = 32;

/// Bytes of one element; 0 for a dtype that this library does not know.
[[nodiscard]] inline std::uint64_t element_bytes(std::string_view dtype) {
  struct Row {
    std::string_view name;
    std::uint64_t bytes;
  };
  static constexpr Row kRows[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                                  {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},
                                  {"I32", 4},  {"F32", 4}, {"U64", 8}, {"I64", 8},     {"F64", 8}};
  for (const Row& row : kRows) {
    if (row.name == dtype) return row.bytes;
  }
  return 0;
}

/// The CDRZOO_* dtype of a safetensors dtype; 0 where the ABI has none.
[[nodiscard]] inline std::int32_t abi_dtype(std::string_view dtype) {
  if (dtype == "F32") return CDRZOO_F32;
  if (dtype == "F64") return CDRZOO_F64;
  if (dtype == "I32") return CDRZOO_I32;
  if (dtype == "I64") return CDRZOO_I64;
  if (dtype == "U8") return CDRZOO_U8;
  if (dtype == "U64") return CDRZOO_U64;
  if (dtype == "F16") return CDRZOO_F16;
  if (dtype == "BF16") return CDRZOO_BF16;
  if (dtype == "BOOL") return CDRZOO_BOOL;
  return 0;
}

/// The safetensors dtype of a CDRZOO_* dtype; empty for an unknown one.
[[nodiscard]] inline std::string_view dtype_name(std::int32_t abi_dtype) {
  switch (abi_dtype) {
    case CDRZOO_F32: return "F32";
    case CDRZOO_F64: return "F64";
    case CDRZOO_I32: return "I32";
    case CDRZOO_I64: return "I64";
    case CDRZOO_U8: return "U8";
    case CDRZOO_U64: return "U64";
    case CDRZOO_F16: return "F16";
    case CDRZOO_BF16: return "BF16";
    case CDRZOO_BOOL: return "BOOL";
    default: return {};
  }
}

/// The safetensors dtype of a C++ type.
template <class T>
[[nodiscard]] constexpr std::string_view dtype_of() {
  if constexpr (std::is_same_v<T, float>) return "F32";
  if constexpr (std::is_same_v<T, double>) return "F64";
  if constexpr (std::is_same_v<T, std::int32_t>) return "I32";
  if constexpr (std::is_same_v<T, std::int64_t>) return "I64";
  if constexpr (std::is_same_v<T, std::uint8_t>) return "U8";
  if constexpr (std::is_same_v<T, std::uint64_t>) return "U64";
  if constexpr (std::is_same_v<T, bool>) return "BOOL";
}

namespace detail {

/// Product of the shape times the element size; false where 64 bits do not hold it.
[[nodiscard]] inline bool byte_count(const std::vector<std::int64_t>& shape, std::uint64_t element,
                                     std::uint64_t* out) {
  std::uint64_t bytes = element;
  bool zero = false;
  for (const std::int64_t extent : shape) {
    if (extent < 0) return false;
    if (extent == 0) {
      zero = true;
    } else if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes)) {
      return false;
    }
  }
  *out = zero ? 0 : bytes;
  return true;
}

[[nodiscard]] inline std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace detail

/// One named array. `data` is borrowed from the archive; row-major. It is aligned to its element in archives of this
/// writer; others promise nothing, so use copy() unless is_aligned().
struct Tensor {
  std::string name;
  std::string dtype;  ///< "F32", ...
  std::vector<std::int64_t> shape;
  const std::uint8_t* data = nullptr;  ///< never null, also where bytes is 0
  std::uint64_t bytes = 0;

  [[nodiscard]] std::uint64_t count() const { return bytes / element_bytes(dtype); }
  [[nodiscard]] bool is_aligned() const { return reinterpret_cast<std::uintptr_t>(data) % element_bytes(dtype) == 0; }

  /// The elements where they are. \throws Error on another dtype or misaligned data.
  template <class T>
  [[nodiscard]] const T* as() const {
    require_dtype<T>();
    if (!is_aligned()) throw Error("tensor \"" + name + "\" is not aligned to its elements: copy it");
    return reinterpret_cast<const T*>(data);
  }

  /// A copy of the elements, whatever the alignment. \throws Error on another dtype.
  template <class T>
  [[nodiscard]] std::vector<T> copy() const {
    require_dtype<T>();
    std::vector<T> out(static_cast<std::size_t>(count()));
    if (bytes != 0) std::memcpy(out.data(), data, static_cast<std::size_t>(bytes));
    return out;
  }

 private:
  template <class T>
  void require_dtype() const {
    if (dtype != dtype_of<T>()) {
      throw Error("tensor \"" + name + "\" is " + dtype + ", but " + std::string(dtype_of<T>()) + " was expected");
    }
  }
};

namespace detail {

/// Takes the header apart in one pass. A callback parser, so that a hostile header costs no tree and that duplicate
/// names, which a JSON tree would swallow, are seen.
class HeaderHandler {
 public:
  struct Entry {
    Tensor tensor;
    std::uint64_t begin = 0, end = 0;
  };

  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
  std::string problem;

  bool null() { return refuse("null"); }
  bool boolean(bool) { return refuse("a boolean"); }
  bool number_integer(std::int64_t value) { return refuse("the negative number " + std::to_string(value)); }
  bool number_float(double, const std::string& text) { return refuse("the number " + text); }
  template <class Binary>
  bool binary(Binary&) {
    return refuse("binary data");
  }

  bool number_unsigned(std::uint64_t value) {
    if (place_ == Place::in_shape) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return fail("the shape of \"" + name_ + "\" has an extent beyond 63 bits");
      }
      if (entry_.tensor.shape.size() == kMaxRank) {
        return fail("\"" + name_ + "\" has more than " + std::to_string(kMaxRank) + " axes");
      }
      entry_.tensor.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ == Place::in_offsets) {
      if (n_offsets_ == 2) return fail("\"" + name_ + "\" has more than two data_offsets");
      (n_offsets_++ == 0 ? entry_.begin : entry_.end) = value;
      return true;
    }
    return refuse("the number " + std::to_string(value));
  }

  bool string(std::string& value) {
    if (place_ == Place::in_metadata) {
      if (!metadata.emplace(key_, std::move(value)).second) {
        return fail("the metadata key \"" + key_ + "\" stands twice");
      }
      return true;
    }
    if (place_ == Place::in_tensor && field_ == Field::dtype) {
      if (element_bytes(value) == 0) return fail("\"" + name_ + "\" has the unknown dtype \"" + value + "\"");
      entry_.tensor.dtype = std::move(value);
      return true;
    }
    return refuse("a string");
  }

  bool start_object(std::size_t) {
    if (place_ == Place::before) {
      place_ = Place::top;
      return true;
    }
    if (place_ == Place::top) {
      if (key_ == "__metadata__") {
        if (has_metadata_) return fail("__metadata__ stands twice");
        has_metadata_ = true;
        place_ = Place::in_metadata;
        return true;
      }
      place_ = Place::in_tensor;
      name_ = key_;
      entry_ = Entry{};
      entry_.tensor.name = name_;
      has_dtype_ = has_shape_ = has_offsets_ = false;
      field_ = Field::none;
      return true;
    }
    return refuse("an object");
  }

  bool key(std::string& value) {
    if (place_ == Place::top || place_ == Place::in_metadata) {
      key_ = std::move(value);
      return true;
    }
    bool* seen = nullptr;
    if (value == "dtype") {
      field_ = Field::dtype;
      seen = &has_dtype_;
    } else if (value == "shape") {
      field_ = Field::shape;
      seen = &has_shape_;
    } else if (value == "data_offsets") {
      field_ = Field::offsets;
      seen = &has_offsets_;
    } else {
      return fail("\"" + name_ + "\" has the unknown key \"" + value + "\" (known: dtype, shape, data_offsets)");
    }
    if (*seen) return fail("\"" + name_ + "\" has " + value + " twice");
    *seen = true;
    return true;
  }

  bool end_object() {
    if (place_ == Place::in_tensor) {
      if (!has_dtype_ || !has_shape_ || !has_offsets_) {
        return fail("\"" + name_ + "\" lacks one of dtype, shape, data_offsets");
      }
      entries.push_back(std::move(entry_));
    }
    place_ = place_ == Place::top ? Place::after : Place::top;
    return true;
  }

  bool start_array(std::size_t) {
    if (place_ == Place::in_tensor && field_ == Field::shape) {
      place_ = Place::in_shape;
      return true;
    }
    if (place_ == Place::in_tensor && field_ == Field::offsets) {
      place_ = Place::in_offsets;
      n_offsets_ = 0;
      return true;
    }
    return refuse("an array");
  }

  bool end_array() {
    if (place_ == Place::in_offsets && n_offsets_ != 2) return fail("\"" + name_ + "\" needs two data_offsets");
    place_ = Place::in_tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
    return fail("the header is no valid JSON at byte " + std::to_string(position));
  }

 private:
  enum class Place { before, top, in_metadata, in_tensor, in_shape, in_offsets, after };
  enum class Field { none, dtype, shape, offsets };

  bool fail(std::string text) {
    if (problem.empty()) problem = std::move(text);
    return false;
  }
  bool refuse(const std::string& found) {
    switch (place_) {
      case Place::before: return fail("the header is " + found + ", but an object was expected");
      case Place::in_metadata:
        return fail("the metadata key \"" + key_ + "\" has " + found + ", but a string was expected");
      case Place::top: return fail("\"" + key_ + "\" has " + found + ", but an object was expected");
      default: return fail("\"" + name_ + "\" has " + found + " in a wrong place");
    }
  }

  Place place_ = Place::before;
  Field field_ = Field::none;
  std::string key_, name_;
  Entry entry_;
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  int n_offsets_ = 0;
};

/// A file descriptor that closes itself.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

[[nodiscard]] inline Error os_error(const std::filesystem::path& path, const char* what) {
  return Error(path.string() + ": " + what + ": " + std::strerror(errno));
}

}  // namespace detail

/// The table of a safetensors file. Copies are cheap in data (they share the mapping), not in the table.
class Archive {
 public:
  Archive() = default;

  /// Reads the table of borrowed bytes, which must outlive the archive. \p where opens every error text.
  /// \throws Error
  [[nodiscard]] static Archive parse(const void* bytes, std::uint64_t size, const std::string& where) {
    const auto* begin = static_cast<const std::uint8_t*>(bytes);
    const auto fail = [&where](const std::string& text) { return Error(where + ": " + text); };
    if (size < 8) {
      throw fail("no safetensors file: it has " + std::to_string(size) + " bytes, at least 8 were expected");
    }
    std::uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, begin, 8);
    if (header_bytes > kMaxHeaderBytes) {
      throw fail("no safetensors file, or a damaged one: its header claims " + std::to_string(header_bytes) +
                 " bytes, at most " + std::to_string(kMaxHeaderBytes) + " are allowed");
    }
    if (header_bytes > size - 8) {
      throw fail("truncated: its header claims " + std::to_string(header_bytes) + " bytes, " +
                 std::to_string(size - 8) + " follow");
    }
    const auto* text = reinterpret_cast<const char*>(begin) + 8;
    // The JSON parser takes a NUL for the end of its input, so what follows one would go unread.
    if (header_bytes == 0 || text[0] != '{' ||
        std::memchr(text, 0, static_cast<std::size_t>(header_bytes)) != nullptr) {
      throw fail("the header is no JSON object");
    }
    detail::HeaderHandler handler;
    if (!nlohmann::json::sax_parse(text, text + header_bytes, &handler) || !handler.problem.empty()) {
      throw fail(handler.problem.empty() ? "the header is no valid JSON" : handler.problem);
    }

    const std::uint8_t* data = begin + 8 + header_bytes;
    const std::uint64_t data_bytes = size - 8 - header_bytes;
    std::vector<const detail::HeaderHandler::Entry*> by_offset;
    for (auto& entry : handler.entries) {
      const std::string name = "tensor \"" + entry.tensor.name + "\"";
      std::uint64_t expected = 0;
      if (!detail::byte_count(entry.tensor.shape, element_bytes(entry.tensor.dtype), &expected)) {
        throw fail(name + " has the shape " + detail::shape_text(entry.tensor.shape) + ", which overflows 64 bits");
      }
      if (entry.begin > entry.end || entry.end > data_bytes) {
        throw fail(name + " lies at bytes " + std::to_string(entry.begin) + " to " + std::to_string(entry.end) +
                   ", but there are " + std::to_string(data_bytes) + " bytes of data");
      }
      if (entry.end - entry.begin != expected) {
        throw fail(name + " takes " + std::to_string(entry.end - entry.begin) + " bytes, but " + entry.tensor.dtype +
                   " " + detail::shape_text(entry.tensor.shape) + " needs " + std::to_string(expected));
      }
      by_offset.push_back(&entry);
    }
    std::stable_sort(by_offset.begin(), by_offset.end(), [](const auto* a, const auto* b) {
      return std::tie(a->begin, a->end) < std::tie(b->begin, b->end);
    });
    std::uint64_t covered = 0;
    for (const auto* entry : by_offset) {
      if (entry->begin != covered) {
        throw fail("tensor \"" + entry->tensor.name + "\" begins at byte " + std::to_string(entry->begin) + ", but " +
                   std::to_string(covered) + " was expected: tensors may not overlap or leave holes");
      }
      covered = entry->end;
    }
    if (covered != data_bytes) {
      throw fail("the tensors end at byte " + std::to_string(covered) + ", but there are " +
                 std::to_string(data_bytes) + " bytes of data");
    }

    Archive archive;
    archive.where_ = where;
    archive.metadata_ = std::move(handler.metadata);
    archive.tensors_.reserve(handler.entries.size());
    for (auto& entry : handler.entries) {
      entry.tensor.data = data + entry.begin;
      entry.tensor.bytes = entry.end - entry.begin;
      if (!archive.index_.emplace(entry.tensor.name, archive.tensors_.size()).second) {
        throw fail("tensor \"" + entry.tensor.name + "\" stands twice");
      }
      archive.tensors_.push_back(std::move(entry.tensor));
    }
    return archive;
  }

  /// Maps a file read-only; the mapping lives as long as the archive or a copy of it. \throws Error
  [[nodiscard]] static Archive open(const std::filesystem::path& path) {
    const detail::FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) throw detail::os_error(path, "cannot be opened");
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) throw detail::os_error(path, "cannot be read");
    if (!S_ISREG(status.st_mode)) throw Error(path.string() + ": is no regular file");
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size < 8) return parse("", size, path.string());
    void* address = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (address == MAP_FAILED) throw detail::os_error(path, "cannot be mapped");
    std::shared_ptr<const void> mapping(
        address, [size](const void* p) { ::munmap(const_cast<void*>(p), static_cast<std::size_t>(size)); });
    Archive archive = parse(address, size, path.string());
    archive.mapping_ = std::move(mapping);
    return archive;
  }

  /// In the order of the header.
  [[nodiscard]] const std::vector<Tensor>& tensors() const { return tensors_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// Null where there is none.
  [[nodiscard]] const Tensor* find(std::string_view name) const {
    const auto it = index_.find(std::string(name));
    return it == index_.end() ? nullptr : &tensors_[it->second];
  }
  /// \throws Error that names the file and the tensor.
  [[nodiscard]] const Tensor& at(std::string_view name) const {
    const Tensor* tensor = find(name);
    if (tensor == nullptr) {
      throw Error(where_ + ": there is no tensor \"" + std::string(name) + "\" among " +
                  std::to_string(tensors_.size()));
    }
    return *tensor;
  }
  /// \throws Error that names the file and the key.
  [[nodiscard]] const std::string& text(const std::string& key) const {
    const auto it = metadata_.find(key);
    if (it == metadata_.end()) throw Error(where_ + ": there is no metadata key \"" + key + "\"");
    return it->second;
  }

 private:
  std::string where_ = "safetensors";
  std::vector<Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
  std::unordered_map<std::string, std::size_t> index_;
  std::shared_ptr<const void> mapping_;
};

/// Order of the names in the header of a written file.
enum class Order { as_added, by_name };

/// Collects tensors and writes them. The bytes are a function of what was added and of the order only.
///
/// The header lists the names in the chosen order; the data follow by falling element size, then in that order, so that
/// every tensor is aligned to its elements. The header is padded with spaces to a multiple of 8 bytes.
class Writer {
 public:
  /// Copies the data. \throws Error: repeated or reserved name, unknown dtype, bytes that do not fit the shape.
  void add(std::string name, std::string_view dtype, std::vector<std::int64_t> shape, const void* data,
           std::uint64_t bytes) {
    const std::uint64_t element = element_bytes(dtype);
    std::uint64_t expected = 0;
    if (name == "__metadata__") throw Error("a tensor may not be called __metadata__");
    if (element == 0) throw Error("tensor \"" + name + "\" has the unknown dtype \"" + std::string(dtype) + "\"");
    if (shape.size() > kMaxRank || !detail::byte_count(shape, element, &expected) || expected != bytes) {
      throw Error("tensor \"" + name + "\" has " + std::to_string(bytes) + " bytes, which " + std::string(dtype) + " " +
                  detail::shape_text(shape) + " does not fit");
    }
    if (!names_.emplace(name, items_.size()).second) throw Error("tensor \"" + name + "\" was added twice");
    Item item{std::move(name), std::string(dtype), std::move(shape), {}};
    if (bytes != 0) {
      const auto* begin = static_cast<const std::uint8_t*>(data);
      item.data.assign(begin, begin + bytes);
    }
    items_.push_back(std::move(item));
  }

  template <class T>
  void add(std::string name, std::vector<std::int64_t> shape, const std::vector<T>& values) {
    add(std::move(name), dtype_of<T>(), std::move(shape), values.data(), values.size() * sizeof(T));
  }

  /// \throws Error for a repeated key.
  void metadata(const std::string& key, std::string value) {
    if (!metadata_.emplace(key, std::move(value)).second) throw Error("metadata key \"" + key + "\" was added twice");
  }

  [[nodiscard]] std::string bytes(Order order = Order::as_added) const {
    std::string out;
    build(order, [&out](const void* p, std::uint64_t n) {
      out.append(static_cast<const char*>(p), static_cast<std::size_t>(n));
    });
    return out;
  }

  /// Writes beside \p path, flushes to the disk and renames: the file is either whole or not there. \throws Error
  void write(const std::filesystem::path& path, Order order = Order::as_added) const {
    std::filesystem::path part = path;
    part += ".part" + std::to_string(::getpid());
    detail::FileDescriptor fd(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (fd.get() < 0) throw detail::os_error(part, "cannot be written");
    try {
      build(order, [&](const void* p, std::uint64_t n) {
        const auto* at = static_cast<const std::uint8_t*>(p);
        while (n > 0) {
          const ::ssize_t written = ::write(fd.get(), at, static_cast<std::size_t>(n));
          if (written < 0 && errno == EINTR) continue;
          if (written < 0) throw detail::os_error(part, "cannot be written");
          at += written;
          n -= static_cast<std::uint64_t>(written);
        }
      });
      if (::fsync(fd.get()) != 0 || ::close(fd.release()) != 0) throw detail::os_error(part, "cannot be written");
      if (::rename(part.c_str(), path.c_str()) != 0) throw detail::os_error(path, "cannot be written");
    } catch (...) {
      ::unlink(part.c_str());
      throw;
    }
  }

 private:
  struct Item {
    std::string name, dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::uint8_t> data;
  };

  [[nodiscard]] static std::string quoted(const std::string& text) {
    try {
      return nlohmann::json(text).dump();
    } catch (const nlohmann::json::exception&) {
      throw Error("a name or a text is no valid UTF-8");
    }
  }

  template <class Put>
  void build(Order order, const Put& put) const {
    std::vector<std::size_t> header_order(items_.size());
    std::iota(header_order.begin(), header_order.end(), std::size_t{0});
    if (order == Order::by_name) {
      std::sort(header_order.begin(), header_order.end(),
                [this](std::size_t a, std::size_t b) { return items_[a].name < items_[b].name; });
    }
    std::vector<std::size_t> data_order = header_order;
    std::stable_sort(data_order.begin(), data_order.end(), [this](std::size_t a, std::size_t b) {
      return element_bytes(items_[a].dtype) > element_bytes(items_[b].dtype);
    });
    std::vector<std::uint64_t> begin(items_.size());
    std::uint64_t end = 0;
    for (const std::size_t i : data_order) {
      begin[i] = end;
      end += items_[i].data.size();
    }

    std::string header = "{";
    const auto comma = [&header] {
      if (header.size() > 1) header += ',';
    };
    if (!metadata_.empty()) {
      header += "\"__metadata__\":{";
      for (auto it = metadata_.begin(); it != metadata_.end(); ++it) {
        if (it != metadata_.begin()) header += ',';
        header += quoted(it->first) + ":" + quoted(it->second);
      }
      header += '}';
    }
    for (const std::size_t i : header_order) {
      const Item& item = items_[i];
      comma();
      header += quoted(item.name) + ":{\"dtype\":\"" + item.dtype + "\",\"shape\":[";
      for (std::size_t axis = 0; axis < item.shape.size(); ++axis) {
        header += (axis == 0 ? "" : ",") + std::to_string(item.shape[axis]);
      }
      header +=
          "],\"data_offsets\":[" + std::to_string(begin[i]) + "," + std::to_string(begin[i] + item.data.size()) + "]}";
    }
    header += '}';
    header.append((8 - header.size() % 8) % 8, ' ');
    if (header.size() > kMaxHeaderBytes)
      throw Error("the header would exceed " + std::to_string(kMaxHeaderBytes) + " bytes");
    const std::uint64_t header_bytes = header.size();
    put(&header_bytes, 8);
    put(header.data(), header.size());
    for (const std::size_t i : data_order) put(items_[i].data.data(), items_[i].data.size());
  }

  std::vector<Item> items_;
  std::unordered_map<std::string, std::size_t> names_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace v0
}  // namespace cdrzoo::safetensors
