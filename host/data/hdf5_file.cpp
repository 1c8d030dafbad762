// SPDX-License-Identifier: Apache-2.0
#include "data/hdf5_file.hpp"

#include <fcntl.h>
#include <hdf5.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <list>
#include <new>

#include "base/child_process.hpp"
#include "base/error.hpp"

namespace cdrzoo {
namespace {

constexpr std::uint64_t kAlignment = 64;
// Deflate cannot shrink by more than about 1032; a data set that declares more than this per byte of file is a trap.
constexpr std::uint64_t kLargestExpansion = 2048;
constexpr std::uint64_t kLargestElement = 1U << 20U;              // bytes of one fixed-length text
constexpr std::uint64_t kLargestChunk = std::uint64_t{1} << 30U;  // bytes
constexpr int kLargestRank = 4;
// Bytes that are read together of a data set that is read in pieces, and where whole chunks would take more: at most.
constexpr std::uint64_t kPiece = 16U << 20U;
constexpr std::uint64_t kLargestPiece = 256U << 20U;

// --- HDF5 identifiers ------------------------------------------------------------------------------------------------

class Hid {
 public:
  using Close = herr_t (*)(hid_t);
  Hid() = default;
  Hid(hid_t id, Close close) : id_(id), close_(close) {}
  Hid(Hid&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hid& operator=(Hid&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  Hid(const Hid&) = delete;
  Hid& operator=(const Hid&) = delete;
  ~Hid() { reset(); }
  herr_t reset() {
    const hid_t id = std::exchange(id_, -1);
    return id >= 0 ? close_(id) : 0;
  }
  [[nodiscard]] hid_t get() const { return id_; }
  [[nodiscard]] bool ok() const { return id_ >= 0; }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// Once per process: no clean-up at exit (after a failed close on a full disk it would touch freed memory), no filter
/// plugins (a file must not decide which code is loaded). Once per thread: errors are ours to print.
void prepare_library() {
  static const bool once = [] {
    H5dont_atexit();
    H5open();
    H5PLset_loading_state(0);
    return true;
  }();
  static_cast<void>(once);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

herr_t innermost(unsigned n, const H5E_error2_t* error, void* out) {
  if (n == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
  return 0;
}

/// What the library says about its last failure, or nothing.
std::string library_words() {
  std::string words;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, &innermost, &words);
  H5Eclear2(H5E_DEFAULT);
  // Some of its sentences go on for lines, with addresses and the time.
  words = words.substr(0, words.find_first_of(":\n"));
  return words.empty() ? "" : " (HDF5: " + words + ")";
}

std::string where(const std::filesystem::path& path, const std::string& object) {
  return path.string() + ": " + object;
}

[[noreturn]] void damaged(const std::filesystem::path& path, const std::string& object, const std::string& what) {
  throw DataError(where(path, object) + " " + what + library_words());
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

Hid file_type(Hdf5Type type) {
  const auto copy = [](hid_t id) { return Hid(H5Tcopy(id), H5Tclose); };
  switch (type) {
    case Hdf5Type::f32: return copy(H5T_IEEE_F32LE);
    case Hdf5Type::f64: return copy(H5T_IEEE_F64LE);
    case Hdf5Type::i8: return copy(H5T_STD_I8LE);
    case Hdf5Type::i32: return copy(H5T_STD_I32LE);
    case Hdf5Type::i64: return copy(H5T_STD_I64LE);
    case Hdf5Type::u8: return copy(H5T_STD_U8LE);
    case Hdf5Type::u64: return copy(H5T_STD_U64LE);
  }
  throw std::logic_error("file_type: unknown Hdf5Type");
}

constexpr Hdf5Type kAllTypes[] = {Hdf5Type::f32, Hdf5Type::f64, Hdf5Type::i8, Hdf5Type::i32,
                                  Hdf5Type::i64, Hdf5Type::u8,  Hdf5Type::u64};

}  // namespace

const char* hdf5_type_name(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::f32: return "float32";
    case Hdf5Type::f64: return "float64";
    case Hdf5Type::i8: return "int8";
    case Hdf5Type::i32: return "int32";
    case Hdf5Type::i64: return "int64";
    case Hdf5Type::u8: return "uint8";
    case Hdf5Type::u64: return "uint64";
  }
  return "unknown";
}

std::uint64_t hdf5_type_bytes(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::i8:
    case Hdf5Type::u8: return 1;
    case Hdf5Type::f32:
    case Hdf5Type::i32: return 4;
    case Hdf5Type::f64:
    case Hdf5Type::i64:
    case Hdf5Type::u64: return 8;
  }
  return 0;
}

bool is_clean_text(std::string_view text) {
  // Lengths, ranges and surrogates as in RFC 3629; C0 controls and DEL are refused.
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x20 || lead == 0x7F) return false;
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xC2 && lead < 0xE0 ? 2
                               : lead < 0xF0 && lead >= 0xE0 ? 3
                               : lead < 0xF5 && lead >= 0xF0 ? 4
                                                             : 0;
    if (length == 0 || i + length > text.size()) return false;
    std::uint32_t code = length == 1 ? lead : lead & (0xFFU >> (length + 1));
    for (std::size_t k = 1; k < length; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + k]);
      if ((byte & 0xC0U) != 0x80U) return false;
      code = (code << 6U) | (byte & 0x3FU);
    }
    if ((length == 3 && code < 0x800) || (length == 4 && (code < 0x10000 || code > 0x10FFFF)) ||
        (code >= 0xD800 && code <= 0xDFFF)) {
      return false;
    }
    i += length;
  }
  return true;
}

std::int64_t Hdf5File::Block::count() const {
  std::int64_t n = 1;
  for (const auto extent : shape) n *= extent;
  return n;
}

// --- reading ---------------------------------------------------------------------------------------------------------

namespace {

/// What outlives the file object: the mapping, and the data that could not be mapped.
struct Storage {
  void* base = nullptr;
  std::size_t bytes = 0;
  std::list<std::unique_ptr<void, void (*)(void*)>> buffers;

  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  ~Storage() {
    if (base != nullptr) ::munmap(base, bytes);
  }
  void* allocate(std::uint64_t size) {
    const std::uint64_t rounded = (size + kAlignment - 1) / kAlignment * kAlignment;
    void* memory = std::aligned_alloc(kAlignment, rounded);
    if (memory == nullptr) throw std::bad_alloc();
    buffers.emplace_back(memory, &std::free);
    return memory;
  }
};

/// A data set that was opened and whose declarations were checked.
struct Opened {
  Hid id;
  Hid type;
  Hdf5File::Elements elements = Hdf5File::Elements::other;
  bool variable_length = false;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> chunk;  // empty unless chunked
  std::uint64_t element_bytes = 0;
  std::uint64_t bytes = 0;
  bool contiguous = false;

  [[nodiscard]] bool is_text() const { return elements == Hdf5File::Elements::text; }
};

/// Is it an enumeration of FALSE = 0 and TRUE = 1 in a byte?
bool is_boolean(hid_t type) {
  if (H5Tget_nmembers(type) != 2 || H5Tget_size(type) != 1) return false;
  for (unsigned i = 0; i < 2; ++i) {
    char* const text = H5Tget_member_name(type, i);
    const std::string name = text == nullptr ? "" : text;
    H5free_memory(text);
    unsigned char value = 0;
    if (H5Tget_member_value(type, i, &value) < 0 || name != (value == 0 ? "FALSE" : "TRUE") || value > 1) return false;
  }
  return true;
}

Hdf5File::Elements elements_of(hid_t type) {
  constexpr std::size_t kLargestInteger = 8;
  constexpr std::size_t kLargestReal = 16;
  switch (H5Tget_class(type)) {
    case H5T_STRING: return Hdf5File::Elements::text;
    case H5T_INTEGER:
      return H5Tget_size(type) <= kLargestInteger ? Hdf5File::Elements::integer : Hdf5File::Elements::other;
    case H5T_FLOAT: return H5Tget_size(type) <= kLargestReal ? Hdf5File::Elements::real : Hdf5File::Elements::other;
    case H5T_ENUM: return is_boolean(type) ? Hdf5File::Elements::boolean : Hdf5File::Elements::other;
    default: return Hdf5File::Elements::other;
  }
}

}  // namespace

struct Hdf5File::State {
  std::filesystem::path path;
  Hid file;
  std::uint64_t file_bytes = 0;
  Hdf5Access protection = Hdf5Access::any;
  bool user_block = false;
  std::shared_ptr<Storage> storage = std::make_shared<Storage>();

  /// Does the path exist, step by step over hard links only? A soft or external link could lead out of the file.
  [[nodiscard]] bool exists(const std::string& object) const {
    if (object == "/" || object.empty()) return true;
    std::string prefix;
    std::size_t begin = 0;
    while (begin < object.size()) {
      if (object[begin] == '/') {
        ++begin;
        continue;
      }
      const std::size_t end = std::min(object.find('/', begin), object.size());
      prefix += "/" + object.substr(begin, end - begin);
      const htri_t there = H5Lexists(file.get(), prefix.c_str(), H5P_DEFAULT);
      if (there <= 0) {
        H5Eclear2(H5E_DEFAULT);
        return false;
      }
      H5L_info_t link;
      if (H5Lget_info(file.get(), prefix.c_str(), &link, H5P_DEFAULT) < 0) damaged(path, prefix, "cannot be read");
      if (link.type != H5L_TYPE_HARD) damaged(path, prefix, "is a soft or external link; only plain objects are read");
      begin = end;
    }
    return true;
  }

  [[nodiscard]] Hid open_object(const std::string& object) const {
    if (!exists(object)) throw DataError(where(path, object) + " is missing");
    Hid id(H5Oopen(file.get(), object.empty() ? "/" : object.c_str(), H5P_DEFAULT), H5Oclose);
    if (!id.ok()) damaged(path, object, "cannot be opened");
    return id;
  }

  [[nodiscard]] Opened open_dataset(const std::string& name) const {
    Opened out;
    Hid object = open_object(name);
    if (H5Iget_type(object.get()) != H5I_DATASET) damaged(path, name, "is a group; expected a data set");
    out.id = std::move(object);

    const Hid properties(H5Dget_create_plist(out.id.get()), H5Pclose);
    const H5D_layout_t layout = properties.ok() ? H5Pget_layout(properties.get()) : H5D_LAYOUT_ERROR;
    if (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED && layout != H5D_COMPACT) {
      damaged(path, name, "has a layout other than contiguous, chunked or compact");
    }
    if (H5Pget_external_count(properties.get()) != 0) damaged(path, name, "keeps its data in another file");
    out.contiguous = layout == H5D_CONTIGUOUS;
    // Indices of chunks have no checksum in the format of HDF5 1.8.
    if (protection == Hdf5Access::checksummed && layout == H5D_CHUNKED) {
      throw Hdf5Unprotected(where(path, name) + " is chunked");
    }

    const Hid space(H5Dget_space(out.id.get()), H5Sclose);
    if (!space.ok() || H5Sget_simple_extent_type(space.get()) == H5S_NULL) damaged(path, name, "has no extent");
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (rank < 0 || rank > kLargestRank)
      damaged(path, name, "has " + std::to_string(rank) + " axes; at most 4 are read");
    hsize_t extent[kLargestRank] = {};
    if (H5Sget_simple_extent_dims(space.get(), extent, nullptr) < 0) damaged(path, name, "has an unreadable shape");

    out.type = Hid(H5Dget_type(out.id.get()), H5Tclose);
    if (!out.type.ok()) damaged(path, name, "has an unreadable type");
    out.elements = elements_of(out.type.get());
    out.element_bytes = H5Tget_size(out.type.get());
    if (out.is_text()) {
      out.variable_length = H5Tis_variable_str(out.type.get()) > 0;
      if (protection == Hdf5Access::checksummed && out.variable_length) {
        throw Hdf5Unprotected(where(path, name) + " has texts of variable length");
      }
      // A variable-length text takes 16 bytes in the file: length, heap address, index.
      if (out.variable_length) out.element_bytes = 16;
      if (out.element_bytes == 0 || out.element_bytes > kLargestElement)
        damaged(path, name, "has texts of an absurd length");
    }
    if (out.element_bytes == 0 || out.element_bytes > kLargestElement)
      damaged(path, name, "has elements of an absurd size");

    std::uint64_t count = 1;
    for (int axis = 0; axis < rank; ++axis) {
      out.shape.push_back(static_cast<std::int64_t>(extent[axis]));
      // Bounding the product by the file's size also keeps it from overflowing.
      if (extent[axis] != 0 && count > file_bytes * kLargestExpansion / extent[axis]) {
        damaged(path, name, "declares more elements than a file of " + std::to_string(file_bytes) + " bytes can hold");
      }
      count *= extent[axis];
    }
    out.bytes = count * out.element_bytes;
    if (out.contiguous && out.bytes > file_bytes) {
      damaged(path, name,
              "declares " + std::to_string(out.bytes) + " bytes, but the whole file has " + std::to_string(file_bytes));
    }
    if (layout == H5D_CHUNKED) {
      for (int i = 0; i < H5Pget_nfilters(properties.get()); ++i) {
        unsigned flags = 0;
        std::size_t values = 0;
        char filter_name[64] = {};
        const H5Z_filter_t filter = H5Pget_filter2(properties.get(), static_cast<unsigned>(i), &flags, &values, nullptr,
                                                   sizeof filter_name - 1, filter_name, nullptr);
        if (filter < 0 || H5Zfilter_avail(filter) <= 0) {
          H5Eclear2(H5E_DEFAULT);
          damaged(
              path, name,
              "is compressed with the HDF5 filter " + std::to_string(filter) +
                  (is_clean_text(filter_name) && filter_name[0] != '\0' ? " (" + std::string(filter_name) + ")" : "") +
                  ", which is not read; write the file with gzip");
        }
      }
      hsize_t chunk[kLargestRank] = {};
      if (H5Pget_chunk(properties.get(), kLargestRank, chunk) != rank) damaged(path, name, "has unreadable chunks");
      std::uint64_t chunk_bytes = out.element_bytes;
      for (int axis = 0; axis < rank; ++axis) {
        out.chunk.push_back(static_cast<std::int64_t>(chunk[axis]));
        if (chunk[axis] == 0 || chunk_bytes > kLargestChunk / chunk[axis])
          damaged(path, name, "has chunks of more than " + std::to_string(kLargestChunk) + " bytes");
        chunk_bytes *= chunk[axis];
      }
      const std::uint64_t stored = H5Dget_storage_size(out.id.get());
      if (out.bytes / kLargestExpansion > stored) {
        damaged(path, name,
                "declares " + std::to_string(out.bytes) + " bytes, but the file holds only " + std::to_string(stored) +
                    " compressed ones of it");
      }
    } else if (!out.contiguous && out.bytes > file_bytes) {
      damaged(path, name, "declares " + std::to_string(out.bytes) + " bytes, more than the file can hold");
    }
    return out;
  }

  /// The type of a data set in the terms of cdrzoo's own files.
  [[nodiscard]] Hdf5Type number_type(const Opened& dataset, const std::string& name) const {
    if (dataset.elements == Elements::integer || dataset.elements == Elements::real) {
      for (const auto candidate : kAllTypes) {
        if (H5Tequal(dataset.type.get(), file_type(candidate).get()) > 0) return candidate;
      }
    }
    damaged(path, name,
            "has an element type that is not read; known: little-endian float32, float64, int8, int32, "
            "int64, uint8, uint64 and text");
  }

  /// The mapped bytes of a contiguous data set; nullptr if it has to be read instead.
  [[nodiscard]] const void* mapped(const Opened& dataset, const std::string& name) const {
    if (!dataset.contiguous || user_block || storage->base == nullptr) return nullptr;
    const haddr_t offset = H5Dget_offset(dataset.id.get());
    if (offset == HADDR_UNDEF) {
      H5Eclear2(H5E_DEFAULT);
      return nullptr;  // never written: the library knows the fill value
    }
    if (offset > file_bytes || dataset.bytes > file_bytes - offset) {
      damaged(path, name, "reaches beyond the end of the file, which is truncated or damaged");
    }
    if (offset % kAlignment != 0) return nullptr;
    return static_cast<const char*>(storage->base) + offset;
  }

  /// Raw elements, mapped or read.
  [[nodiscard]] const void* elements(const Opened& dataset, const std::string& name, bool* is_mapped) const {
    *is_mapped = false;
    if (dataset.bytes == 0) return nullptr;
    if (const void* data = mapped(dataset, name)) {
      *is_mapped = true;
      return data;
    }
    void* memory = nullptr;
    try {
      memory = storage->allocate(dataset.bytes);
    } catch (const std::bad_alloc&) {
      throw IoError(where(path, name) + " needs " + std::to_string(dataset.bytes) +
                    " bytes of memory, which are not there");
    }
    if (H5Dread(dataset.id.get(), dataset.type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, memory) < 0) {
      damaged(path, name, "cannot be read");
    }
    return memory;
  }
};

Hdf5File::Hdf5File(std::filesystem::path path, Hdf5Access protection) : state_(std::make_unique<State>()) {
  const HangGuard guard;
  prepare_library();
  state_->protection = protection;
  state_->path = std::move(path);
  const std::string name = state_->path.string();

  const int fd = ::open(state_->path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw IoError("cannot open " + name + ": " + std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } closer{fd};
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw IoError("cannot open " + name + ": " + std::strerror(errno));
  if (S_ISDIR(status.st_mode)) throw IoError("cannot open " + name + ": it is a folder");
  if (!S_ISREG(status.st_mode)) throw IoError("cannot open " + name + ": it is not a plain file");
  state_->file_bytes = static_cast<std::uint64_t>(status.st_size);
  if (state_->file_bytes == 0) throw DataError(name + " is empty; expected an HDF5 file");
  static constexpr unsigned char kSignature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1A, '\n'};
  unsigned char head[9] = {};
  if (::pread(fd, head, sizeof head, 0) != static_cast<ssize_t>(sizeof head) ||
      std::memcmp(head, kSignature, sizeof kSignature) != 0) {
    throw DataError(name + " is not an HDF5 file (its first bytes are not the signature)");
  }
  if (protection == Hdf5Access::checksummed && head[8] < 2) {
    throw Hdf5Unprotected(name + " has the HDF5 format of before 1.8, without checksums");
  }

  const Hid access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 12, 1) || (H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 10 && H5_VERS_RELEASE >= 7)
  H5Pset_file_locking(access.get(), 0, 1);  // many workers read one file; network file systems cannot always lock
#endif
  state_->file = Hid(H5Fopen(name.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!state_->file.ok()) throw DataError(name + " is truncated or damaged" + library_words());
  const Hid creation(H5Fget_create_plist(state_->file.get()), H5Pclose);
  hsize_t user_block = 0;
  state_->user_block = H5Pget_userblock(creation.get(), &user_block) < 0 || user_block != 0;

  void* base = ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_SHARED, fd, 0);
  if (base != MAP_FAILED) {  // otherwise everything is read: slower, not wrong
    state_->storage->base = base;
    state_->storage->bytes = static_cast<std::size_t>(status.st_size);
  }
}

Hdf5File::~Hdf5File() = default;
Hdf5File::Hdf5File(Hdf5File&&) noexcept = default;
Hdf5File& Hdf5File::operator=(Hdf5File&&) noexcept = default;

const std::filesystem::path& Hdf5File::path() const { return state_->path; }
std::uint64_t Hdf5File::file_bytes() const { return state_->file_bytes; }
std::shared_ptr<const void> Hdf5File::storage() const { return state_->storage; }

bool Hdf5File::has(const std::string& object) const {
  const HangGuard guard;
  return state_->exists(object);
}

bool Hdf5File::is_group(const std::string& object) const {
  const HangGuard guard;
  return has(object) && H5Iget_type(state_->open_object(object).get()) == H5I_GROUP;
}

std::vector<std::string> Hdf5File::children(const std::string& group) const {
  const HangGuard guard;
  std::vector<std::string> names;
  if (!has(group)) return names;
  const Hid id = state_->open_object(group);
  if (H5Iget_type(id.get()) != H5I_GROUP) damaged(state_->path, group, "is a data set; expected a group");
  H5G_info_t info;
  if (H5Gget_info(id.get(), &info) < 0) damaged(state_->path, group, "cannot be listed");
  // Every link takes more than a byte of the file.
  if (info.nlinks > state_->file_bytes) damaged(state_->path, group, "declares more entries than the file can hold");
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    const ssize_t length = H5Lget_name_by_idx(id.get(), ".", H5_INDEX_NAME, H5_ITER_NATIVE, i, nullptr, 0, H5P_DEFAULT);
    if (length < 0 || static_cast<std::uint64_t>(length) > kLargestElement) {
      damaged(state_->path, group, "has an entry without a readable name");
    }
    std::string name(static_cast<std::size_t>(length) + 1, '\0');
    if (H5Lget_name_by_idx(id.get(), ".", H5_INDEX_NAME, H5_ITER_NATIVE, i, name.data(), name.size(), H5P_DEFAULT) <
        0) {
      damaged(state_->path, group, "has an entry without a readable name");
    }
    name.resize(static_cast<std::size_t>(length));
    names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

Hdf5File::Info Hdf5File::info(const std::string& dataset) const {
  const HangGuard guard;
  const Opened opened = state_->open_dataset(dataset);
  return {opened.is_text(), opened.is_text() ? Hdf5Type::u8 : state_->number_type(opened, dataset), opened.shape};
}

Hdf5File::Outline Hdf5File::outline(const std::string& dataset) const {
  const HangGuard guard;
  const Opened opened = state_->open_dataset(dataset);
  return {opened.elements, opened.shape};
}

struct Hdf5File::Numbers::Impl {
  std::filesystem::path path;
  std::string name;
  Opened dataset;
};

Hdf5File::Numbers Hdf5File::numbers(const std::string& dataset) const {
  const HangGuard guard;
  Opened opened = state_->open_dataset(dataset);
  if (opened.elements == Elements::text || opened.elements == Elements::other) {
    damaged(state_->path, dataset,
            std::string("holds ") + (opened.is_text() ? "text" : "elements of a strange type") + "; expected numbers");
  }
  if (opened.shape.empty()) damaged(state_->path, dataset, "is a single value; expected an array");
  Numbers out;
  out.impl_ = std::make_shared<const Numbers::Impl>(Numbers::Impl{state_->path, dataset, std::move(opened)});
  return out;
}

Hdf5File::Elements Hdf5File::Numbers::elements() const { return impl_->dataset.elements; }
bool Hdf5File::Numbers::is_unsigned() const {
  return elements() == Elements::integer && H5Tget_sign(impl_->dataset.type.get()) == H5T_SGN_NONE;
}
std::uint64_t Hdf5File::Numbers::element_bytes() const { return impl_->dataset.element_bytes; }
const std::vector<std::int64_t>& Hdf5File::Numbers::shape() const { return impl_->dataset.shape; }

std::int64_t Hdf5File::Numbers::rows_at_once(std::uint64_t element_bytes) const {
  const Opened& dataset = impl_->dataset;
  std::uint64_t row = element_bytes;
  std::uint64_t chunk = element_bytes;
  for (std::size_t axis = 1; axis < dataset.shape.size(); ++axis) {
    row *= static_cast<std::uint64_t>(std::max<std::int64_t>(dataset.shape[axis], 1));
  }
  std::uint64_t rows = 1;
  if (!dataset.chunk.empty()) {
    rows = static_cast<std::uint64_t>(std::min(dataset.chunk[0], std::max<std::int64_t>(dataset.shape[0], 1)));
    for (const auto extent : dataset.chunk) chunk *= static_cast<std::uint64_t>(extent);
  }
  // Chunks are unpacked as a whole: more passes over them cost time, fewer cost memory.
  const std::uint64_t most = std::max(kLargestPiece, chunk);
  if (rows > most / row) return static_cast<std::int64_t>(std::max<std::uint64_t>(kLargestPiece / row, 1));
  return static_cast<std::int64_t>(rows * std::max<std::uint64_t>(kPiece / (rows * row), 1));
}

void Hdf5File::Numbers::read_as(Hdf5Type type, std::int64_t first, std::int64_t count, void* out) const {
  const HangGuard guard;
  const auto& [path, name, dataset] = *impl_;
  if (count == 0) return;
  if (first < 0 || count < 0 || first > dataset.shape[0] - count) {
    throw std::logic_error("Hdf5File::Numbers: rows that " + name + " does not have");
  }
  if (dataset.elements == Elements::real && type != Hdf5Type::f32 && type != Hdf5Type::f64) {
    throw DataError(where(path, name) + " holds numbers with decimals; expected integers");
  }
  std::vector<hsize_t> from(dataset.shape.size(), 0);
  std::vector<hsize_t> extent(dataset.shape.begin(), dataset.shape.end());
  from[0] = static_cast<hsize_t>(first);
  extent[0] = static_cast<hsize_t>(count);
  for (const auto n : extent) {
    if (n == 0) return;
  }
  const int rank = static_cast<int>(extent.size());
  const Hid space(H5Dget_space(dataset.id.get()), H5Sclose);
  const Hid memory(H5Screate_simple(rank, extent.data(), nullptr), H5Sclose);
  if (H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, from.data(), nullptr, extent.data(), nullptr) < 0 ||
      H5Dread(dataset.id.get(), file_type(type).get(), memory.get(), space.get(), H5P_DEFAULT, out) < 0) {
    damaged(path, name, "cannot be read");
  }
}

Hdf5File::Block Hdf5File::block(const std::string& dataset) const {
  const HangGuard guard;
  const Opened opened = state_->open_dataset(dataset);
  if (opened.is_text()) damaged(state_->path, dataset, "holds text; expected numbers");
  Block out;
  out.type = state_->number_type(opened, dataset);
  out.shape = opened.shape;
  out.bytes = opened.bytes;
  out.data = state_->elements(opened, dataset, &out.mapped);
  return out;
}

Hdf5File::Block Hdf5File::expect(const std::string& dataset, Hdf5Type type, std::size_t rank, std::int64_t rows,
                                 std::int64_t cols) const {
  // Judged before the data are touched: a wrong file should not cost its size in memory.
  const Info found = info(dataset);
  if (found.is_text || found.type != type) {
    throw DataError(where(state_->path, dataset) + " holds " + (found.is_text ? "text" : hdf5_type_name(found.type)) +
                    "; expected " + hdf5_type_name(type));
  }
  bool fits = found.shape.size() == rank;
  if (fits && rows >= 0) fits = found.shape[0] == rows;
  if (fits && rank > 1 && cols >= 0) fits = found.shape[1] == cols;
  if (!fits) {
    std::string wanted = rows < 0 ? "n" : std::to_string(rows);
    if (rank > 1) wanted += std::string(", ") + (cols < 0 ? "m" : std::to_string(cols));
    throw DataError(where(state_->path, dataset) + " has shape " + shape_text(found.shape) + "; expected [" + wanted +
                    "]");
  }
  return block(dataset);
}

std::vector<std::string> Hdf5File::unchecked_strings(const std::string& dataset, std::int64_t length) const {
  const HangGuard guard;
  const Opened opened = state_->open_dataset(dataset);
  if (!opened.is_text()) damaged(state_->path, dataset, "holds numbers; expected text");
  if (opened.shape.size() != 1 || (length >= 0 && opened.shape[0] != length)) {
    throw DataError(where(state_->path, dataset) + " has shape " + shape_text(opened.shape) + "; expected [" +
                    (length < 0 ? "n" : std::to_string(length)) + "]");
  }
  const auto count = static_cast<std::size_t>(opened.shape[0]);
  std::vector<std::string> out(count);
  if (count == 0) return out;
  if (opened.variable_length) {
    const Hid memory_type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(memory_type.get(), H5T_VARIABLE);
    H5Tset_cset(memory_type.get(), H5Tget_cset(opened.type.get()));
    const Hid space(H5Dget_space(opened.id.get()), H5Sclose);
    std::vector<char*> pointers(count, nullptr);
    if (H5Dread(opened.id.get(), memory_type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()) < 0) {
      damaged(state_->path, dataset, "cannot be read");
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (pointers[i] != nullptr) out[i] = pointers[i];
    }
    H5Dvlen_reclaim(memory_type.get(), space.get(), H5P_DEFAULT, pointers.data());
  } else {
    bool is_mapped = false;
    const auto* bytes = static_cast<const char*>(state_->elements(opened, dataset, &is_mapped));
    const std::size_t width = opened.element_bytes;
    const bool spaces = H5Tget_strpad(opened.type.get()) == H5T_STR_SPACEPAD;
    for (std::size_t i = 0; i < count; ++i) {
      const char* begin = bytes + i * width;
      out[i].assign(begin, ::strnlen(begin, width));
      if (spaces) out[i].erase(out[i].find_last_not_of(' ') + 1);
    }
  }
  return out;
}

std::vector<std::string> Hdf5File::strings(const std::string& dataset, std::int64_t length) const {
  std::vector<std::string> out = unchecked_strings(dataset, length);
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (!is_clean_text(out[i])) {
      throw DataError(where(state_->path, dataset) + " row " + std::to_string(i) +
                      " is not UTF-8 text or has a control character");
    }
  }
  return out;
}

std::string Hdf5File::text(const std::string& dataset) const {
  const auto bytes = array<std::uint8_t>(dataset);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool Hdf5File::has_attribute(const std::string& object, const std::string& name) const {
  const HangGuard guard;
  if (!has(object)) return false;
  const Hid id = state_->open_object(object);
  const htri_t there = H5Aexists(id.get(), name.c_str());
  if (there < 0) damaged(state_->path, object, "has unreadable attributes");
  return there > 0;
}

namespace {

Hid open_attribute(const std::filesystem::path& path, const Hid& object, const std::string& object_name,
                   const std::string& name) {
  if (H5Aexists(object.get(), name.c_str()) <= 0) damaged(path, object_name, "lacks the attribute '" + name + "'");
  Hid id(H5Aopen(object.get(), name.c_str(), H5P_DEFAULT), H5Aclose);
  if (!id.ok()) damaged(path, object_name, "has an unreadable attribute '" + name + "'");
  return id;
}

/// How many values an attribute has.
std::size_t attribute_count(const std::filesystem::path& path, const Hid& id, const std::string& object_name,
                            const std::string& name, std::uint64_t file_bytes) {
  const Hid space(H5Aget_space(id.get()), H5Sclose);
  const hssize_t count = space.ok() ? H5Sget_simple_extent_npoints(space.get()) : -1;
  if (count < 0 || static_cast<std::uint64_t>(count) > file_bytes) {
    damaged(path, object_name, "has an absurd attribute '" + name + "'");
  }
  return static_cast<std::size_t>(count);
}

}  // namespace

std::vector<std::string> Hdf5File::text_list_attribute(const std::string& object, const std::string& name) const {
  const HangGuard guard;
  const Hid owner = state_->open_object(object);
  const Hid id = open_attribute(state_->path, owner, object, name);
  const std::size_t count = attribute_count(state_->path, id, object, name, state_->file_bytes);
  std::vector<std::string> values(count);
  if (count == 0) return values;
  const Hid type(H5Aget_type(id.get()), H5Tclose);
  if (!type.ok() || H5Tget_class(type.get()) != H5T_STRING) {
    damaged(state_->path, object, "has an attribute '" + name + "' that is not text");
  }
  if (H5Tis_variable_str(type.get()) > 0) {
    if (state_->protection == Hdf5Access::checksummed) {
      throw Hdf5Unprotected(where(state_->path, object) + " has an attribute of variable length");
    }
    const Hid memory_type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(memory_type.get(), H5T_VARIABLE);
    H5Tset_cset(memory_type.get(), H5Tget_cset(type.get()));
    const Hid space(H5Aget_space(id.get()), H5Sclose);
    std::vector<char*> pointers(count, nullptr);
    if (H5Aread(id.get(), memory_type.get(), pointers.data()) < 0)
      damaged(state_->path, object, "has an unreadable '" + name + "'");
    for (std::size_t i = 0; i < count; ++i) {
      if (pointers[i] != nullptr) values[i] = pointers[i];
    }
    H5Dvlen_reclaim(memory_type.get(), space.get(), H5P_DEFAULT, pointers.data());
  } else {
    const std::size_t width = H5Tget_size(type.get());
    if (width == 0 || width > state_->file_bytes / count)
      damaged(state_->path, object, "has an absurd attribute '" + name + "'");
    std::string bytes(width * count, '\0');
    if (H5Aread(id.get(), type.get(), bytes.data()) < 0)
      damaged(state_->path, object, "has an unreadable '" + name + "'");
    for (std::size_t i = 0; i < count; ++i) {
      const char* begin = bytes.data() + i * width;
      values[i].assign(begin, ::strnlen(begin, width));
    }
  }
  for (const auto& value : values) {
    if (!is_clean_text(value)) {
      damaged(state_->path, object,
              "has an attribute '" + name + "' that is not UTF-8 text or has a control character");
    }
  }
  return values;
}

std::string Hdf5File::text_attribute(const std::string& object, const std::string& name) const {
  std::vector<std::string> values = text_list_attribute(object, name);
  if (values.size() != 1) {
    damaged(state_->path, object, "has an attribute '" + name + "' that is not a single value");
  }
  return std::move(values.front());
}

std::vector<std::int64_t> Hdf5File::int_list_attribute(const std::string& object, const std::string& name) const {
  const HangGuard guard;
  const Hid owner = state_->open_object(object);
  const Hid id = open_attribute(state_->path, owner, object, name);
  std::vector<std::int64_t> values(attribute_count(state_->path, id, object, name, state_->file_bytes));
  if (values.empty()) return values;
  const Hid type(H5Aget_type(id.get()), H5Tclose);
  if (!type.ok() || elements_of(type.get()) != Elements::integer) {
    damaged(state_->path, object, "has an attribute '" + name + "' that is not an integer");
  }
  if (H5Aread(id.get(), H5T_NATIVE_INT64, values.data()) < 0)
    damaged(state_->path, object, "has an unreadable '" + name + "'");
  return values;
}

std::int64_t Hdf5File::int_attribute(const std::string& object, const std::string& name) const {
  const std::vector<std::int64_t> values = int_list_attribute(object, name);
  if (values.size() != 1) {
    damaged(state_->path, object, "has an attribute '" + name + "' that is not a single value");
  }
  return values.front();
}

std::string Hdf5File::reference_attribute(const std::string& object, const std::string& name) const {
  const HangGuard guard;
  const Hid owner = state_->open_object(object);
  const Hid id = open_attribute(state_->path, owner, object, name);
  const Hid type(H5Aget_type(id.get()), H5Tclose);
  hobj_ref_t reference = 0;
  if (!type.ok() || H5Tequal(type.get(), H5T_STD_REF_OBJ) <= 0 ||
      attribute_count(state_->path, id, object, name, state_->file_bytes) != 1 ||
      H5Aread(id.get(), H5T_STD_REF_OBJ, &reference) < 0) {
    damaged(state_->path, object, "has an attribute '" + name + "' that is not a reference to an object");
  }
  const ssize_t length = H5Rget_name(owner.get(), H5R_OBJECT, &reference, nullptr, 0);
  if (length <= 0 || static_cast<std::uint64_t>(length) > kLargestElement) {
    damaged(state_->path, object, "has an attribute '" + name + "' that refers to no object of the file");
  }
  std::string target(static_cast<std::size_t>(length) + 1, '\0');
  if (H5Rget_name(owner.get(), H5R_OBJECT, &reference, target.data(), target.size()) < 0) {
    damaged(state_->path, object, "has an attribute '" + name + "' that refers to no object of the file");
  }
  target.resize(static_cast<std::size_t>(length));
  return target;
}

// --- writing ---------------------------------------------------------------------------------------------------------

namespace {

/// Texts as HDF5 elements of fixed length: UTF-8, zero padded, as wide as the longest.
struct FixedTexts {
  std::size_t width = 1;
  std::string bytes;
  Hid type;

  explicit FixedTexts(const std::vector<std::string>& values) : type(H5Tcopy(H5T_C_S1), H5Tclose) {
    for (const auto& value : values) width = std::max(width, value.size());
    H5Tset_size(type.get(), width);
    H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
    H5Tset_cset(type.get(), H5T_CSET_UTF8);
    bytes.assign(width * std::max<std::size_t>(values.size(), 1), '\0');
    for (std::size_t i = 0; i < values.size(); ++i)
      std::copy(values[i].begin(), values[i].end(), bytes.begin() + static_cast<std::ptrdiff_t>(i * width));
  }
};

}  // namespace

struct Hdf5Writer::State {
  std::filesystem::path path;
  std::filesystem::path temporary;
  Hid file;
  int fd = -1;  // the same file again: element data bypass the library, so that a full disk is our error, not its crash
  bool committed = false;
  std::uint64_t unfinished = 0;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    file.reset();
    H5Eclear2(H5E_DEFAULT);
    if (fd >= 0) ::close(fd);
    if (!committed && !temporary.empty()) ::unlink(temporary.c_str());
  }

  [[noreturn]] void refuse(const std::string& what, const std::string& reason) const {
    throw IoError("cannot write " + path.string() + (what.empty() ? "" : " (" + what + ")") + ": " + reason);
  }

  void write_at(const std::string& name, std::uint64_t offset, const void* data, std::uint64_t bytes) const {
    const auto* from = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t n = ::pwrite(fd, from, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) refuse(name, std::strerror(n < 0 ? errno : EIO));
      from += n;
      offset += static_cast<std::uint64_t>(n);
      bytes -= static_cast<std::uint64_t>(n);
    }
  }

  [[nodiscard]] Hid link_properties() const {
    Hid properties(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    H5Pset_create_intermediate_group(properties.get(), 1);
    H5Pset_char_encoding(properties.get(), H5T_CSET_UTF8);
    return properties;
  }

  /// Makes the groups above \p object; HDF5's own intermediate groups would carry time stamps.
  void make_parents(const std::string& object) const {
    for (std::size_t slash = object.find('/', 1); slash != std::string::npos; slash = object.find('/', slash + 1)) {
      const std::string parent = object.substr(0, slash);
      if (H5Lexists(file.get(), parent.c_str(), H5P_DEFAULT) > 0) continue;
      const Hid properties(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
      H5Pset_obj_track_times(properties.get(), false);
      H5Pset_link_phase_change(properties.get(), 4096, 0);
      const Hid id(H5Gcreate2(file.get(), parent.c_str(), link_properties().get(), properties.get(), H5P_DEFAULT),
                   H5Gclose);
      if (!id.ok()) refuse(parent, "the group cannot be made" + library_words());
    }
  }

  /// Creates a contiguous data set and returns where its bytes go; 0 if it has none.
  [[nodiscard]] std::uint64_t create(const std::string& name, hid_t type,
                                     const std::vector<std::int64_t>& shape) const {
    make_parents(name);
    std::vector<hsize_t> extent;
    std::uint64_t count = 1;
    for (const auto n : shape) {
      extent.push_back(static_cast<hsize_t>(n));
      count *= static_cast<std::uint64_t>(n);
    }
    const Hid space(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
    const Hid properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_layout(properties.get(), H5D_CONTIGUOUS);
    H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(properties.get(), false);
    const Hid id(
        H5Dcreate2(file.get(), name.c_str(), type, space.get(), link_properties().get(), properties.get(), H5P_DEFAULT),
        H5Dclose);
    if (!id.ok()) refuse(name, "the data set cannot be made" + library_words());
    if (count == 0) return 0;
    const haddr_t offset = H5Dget_offset(id.get());
    if (offset == HADDR_UNDEF) refuse(name, "the data set got no place in the file" + library_words());
    return offset;
  }

  void write_attribute(const std::string& object, const std::string& name, hid_t file_type, hid_t memory_type,
                       const void* data, const Hid& space) const {
    const Hid owner(H5Oopen(file.get(), object.c_str(), H5P_DEFAULT), H5Oclose);
    const Hid id(H5Acreate2(owner.get(), name.c_str(), file_type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (!id.ok() || H5Awrite(id.get(), memory_type, data) < 0)
      refuse(object, "the attribute '" + name + "' cannot be written" + library_words());
  }
  void write_attribute(const std::string& object, const std::string& name, const FixedTexts& texts,
                       const Hid& space) const {
    write_attribute(object, name, texts.type.get(), texts.type.get(), texts.bytes.data(), space);
  }
  void write_attribute(const std::string& object, const std::string& name, const std::int64_t* values,
                       const Hid& space) const {
    write_attribute(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, values, space);
  }
};

Hdf5Writer::Hdf5Writer(std::filesystem::path path) : state_(std::make_unique<State>()) {
  prepare_library();
  // Without this a file size limit kills the process instead of failing the write.
  struct sigaction current {};
  if (::sigaction(SIGXFSZ, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) std::signal(SIGXFSZ, SIG_IGN);

  state_->path = std::move(path);
  if (std::filesystem::is_directory(state_->path)) state_->refuse("", "it is a folder");
  std::string pattern = state_->path.string() + ".XXXXXX";
  // mkstemp tells at once, in the system's words, whether the folder can be written.
  state_->fd = ::mkstemp(pattern.data());
  if (state_->fd < 0) state_->refuse("", std::strerror(errno));
  state_->temporary = pattern;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(state_->fd, 0666 & ~mask);

  const Hid access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG);
  // Format 1.8: object headers carry checksums, and every HDF5 from 1.8 on reads it.
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18);
  H5Pset_alignment(access.get(), 1, kAlignment);
#if H5_VERSION_GE(1, 12, 1) || (H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 10 && H5_VERS_RELEASE >= 7)
  H5Pset_file_locking(access.get(), 0, 1);
#endif
  const Hid creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation.get(), false);
  H5Pset_link_phase_change(creation.get(), 4096, 0);
  // The library's own first write is small; trying the same here gives the system's words for a full disk.
  const std::vector<char> probe(4096, '\0');
  state_->write_at("", 0, probe.data(), probe.size());
  state_->file = Hid(H5Fcreate(pattern.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose);
  if (!state_->file.ok()) state_->refuse("", "the file cannot be made" + library_words());
}

Hdf5Writer::~Hdf5Writer() = default;
Hdf5Writer::Hdf5Writer(Hdf5Writer&&) noexcept = default;
Hdf5Writer& Hdf5Writer::operator=(Hdf5Writer&&) noexcept = default;

void Hdf5Writer::group(const std::string& path) { state_->make_parents(path + "/"); }

Hdf5Writer::Rows Hdf5Writer::create(const std::string& dataset, Hdf5Type type, const std::vector<std::int64_t>& shape) {
  Rows rows;
  rows.writer_ = this;
  rows.name_ = dataset;
  rows.left_ = hdf5_type_bytes(type);
  for (const auto extent : shape) rows.left_ *= static_cast<std::uint64_t>(extent);
  rows.offset_ = state_->create(dataset, file_type(type).get(), shape);
  state_->unfinished += rows.left_;
  return rows;
}

void Hdf5Writer::Rows::append(const void* data, std::uint64_t bytes) {
  if (bytes > left_) throw std::logic_error("Hdf5Writer: more rows than " + name_ + " has");
  writer_->state_->write_at(name_, offset_, data, bytes);
  offset_ += bytes;
  left_ -= bytes;
  writer_->state_->unfinished -= bytes;
}

void Hdf5Writer::write(const std::string& dataset, Hdf5Type type, const std::vector<std::int64_t>& shape,
                       const void* data) {
  Rows rows = create(dataset, type, shape);
  rows.append(data, rows.left_);
}

void Hdf5Writer::strings(const std::string& dataset, const std::vector<std::string>& values) {
  for (const auto& value : values) {
    if (!is_clean_text(value)) throw std::logic_error("Hdf5Writer: " + dataset + " got text with a control character");
  }
  const FixedTexts texts(values);
  const std::uint64_t offset = state_->create(dataset, texts.type.get(), {static_cast<std::int64_t>(values.size())});
  state_->write_at(dataset, offset, texts.bytes.data(), texts.width * values.size());
}

void Hdf5Writer::string(const std::string& dataset, const std::string& value) {
  const FixedTexts text({value});
  state_->write_at(dataset, state_->create(dataset, text.type.get(), {}), text.bytes.data(), text.width);
}

void Hdf5Writer::text(const std::string& dataset, std::string_view value) {
  write(dataset, Hdf5Type::u8, {static_cast<std::int64_t>(value.size())}, value.data());
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, std::string_view value) {
  state_->write_attribute(object, name, FixedTexts({std::string(value)}), Hid(H5Screate(H5S_SCALAR), H5Sclose));
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, const std::vector<std::string>& values) {
  const hsize_t count = values.size();
  state_->write_attribute(object, name, FixedTexts(values), Hid(H5Screate_simple(1, &count, nullptr), H5Sclose));
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, std::int64_t value) {
  state_->write_attribute(object, name, &value, Hid(H5Screate(H5S_SCALAR), H5Sclose));
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name,
                           const std::vector<std::int64_t>& values) {
  const hsize_t count = values.size();
  state_->write_attribute(object, name, values.data(), Hid(H5Screate_simple(1, &count, nullptr), H5Sclose));
}

void Hdf5Writer::commit(bool sync) {
  if (state_->unfinished != 0) throw std::logic_error("Hdf5Writer: a data set was not filled");
  if (state_->file.reset() < 0) state_->refuse("", "the file cannot be ended" + library_words());
  if (sync && ::fsync(state_->fd) != 0) state_->refuse("", std::strerror(errno));
  if (::close(std::exchange(state_->fd, -1)) != 0) state_->refuse("", std::strerror(errno));
  if (::rename(state_->temporary.c_str(), state_->path.c_str()) != 0) state_->refuse("", std::strerror(errno));
  state_->committed = true;
}

}  // namespace cdrzoo
