// SPDX-License-Identifier: Apache-2.0
#include "import/npy.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/error.hpp"
#include "base/files.hpp"
#include "import/array_matrix.hpp"

namespace cdrzoo {
namespace {

constexpr std::int64_t kLongestHeader = 1 << 20;

class ArrayFile {
 public:
  explicit ArrayFile(std::filesystem::path path) : path_(std::move(path)) {
    file_ = FileHandle(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status {};
    if (!file_ || ::fstat(file_.get(), &status) != 0) throw system_error();
    if (!S_ISREG(status.st_mode)) throw IoError("cannot read " + path_.string() + ": it is no regular file");
    bytes_ = status.st_size;
  }

  [[nodiscard]] std::int64_t bytes() const { return bytes_; }
  [[nodiscard]] const std::string place() const { return path_.string(); }

  /// Valid until the next call.
  const unsigned char* read(std::int64_t offset, std::size_t size) {
    if (offset > bytes_ || size > static_cast<std::uint64_t>(bytes_ - offset)) throw truncated();
    buffer_.resize(size);
    for (std::size_t done = 0; done < size;) {
      const ssize_t n = ::pread(file_.get(), buffer_.data() + done, size - done, offset + static_cast<off_t>(done));
      if (n < 0 && errno != EINTR) throw system_error();
      if (n == 0) throw truncated();
      if (n > 0) done += static_cast<std::size_t>(n);
    }
    return buffer_.data();
  }

 private:
  [[nodiscard]] IoError system_error() const {
    return IoError("cannot read " + path_.string() + ": " + std::strerror(errno));
  }
  [[nodiscard]] DataError truncated() const {
    return DataError(path_.string() + " is truncated: it has " + std::to_string(bytes_) + " bytes");
  }

  std::filesystem::path path_;
  FileHandle file_;
  std::int64_t bytes_ = 0;
  std::vector<unsigned char> buffer_;
};

struct Header {
  std::optional<std::string> type;
  std::optional<bool> by_column;
  std::optional<std::vector<std::int64_t>> shape;
};

/// The header is a Python dictionary as numpy writes it: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string place) : text_(text), place_(std::move(place)) {}

  [[nodiscard]] Header parse() {
    Header header;
    expect('{');
    while (!take('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !header.type) {
        header.type = quoted();
      } else if (key == "fortran_order" && !header.by_column) {
        header.by_column = truth();
      } else if (key == "shape" && !header.shape) {
        header.shape = shape();
      } else {
        wrong();
      }
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (at_ != text_.size() || !header.type || !header.by_column || !header.shape) wrong();
    return header;
  }

 private:
  [[noreturn]] void wrong() const {
    throw DataError(place_ + " has a damaged header at byte " + std::to_string(at_ + 1) +
                    "; expected descr (of one type of number), fortran_order and shape");
  }
  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool take(char c) {
    skip_blanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) wrong();
  }
  std::string quoted() {
    skip_blanks();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') wrong();
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) wrong();
    std::string out(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return out;
  }
  bool truth() {
    skip_blanks();
    for (const std::string_view word : {"False", "True"}) {
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return word == "True";
    }
    wrong();
  }
  std::vector<std::int64_t> shape() {
    std::vector<std::int64_t> out;
    expect('(');
    while (!take(')')) {
      skip_blanks();
      std::int64_t extent = -1;
      const auto result = std::from_chars(text_.data() + at_, text_.data() + text_.size(), extent);
      if (result.ec != std::errc() || extent < 0) wrong();
      at_ = static_cast<std::size_t>(result.ptr - text_.data());
      out.push_back(extent);
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return out;
  }

  std::string_view text_;
  std::string place_;
  std::size_t at_ = 0;
};

void set_type(ArrayLayout* layout, const std::string& type, const std::string& place) {
  const char order = type.empty() ? '\0' : type[0];
  const std::string rest = type.substr(type.empty() ? 0 : 1);
  bool known = order == '<' || order == '>' || (order == '|' && rest.size() == 2 && rest[1] == '1');
  layout->swap = order == '>';
  layout->element_bytes = rest.size() == 2 ? static_cast<std::size_t>(rest[1] - '0') : 0;
  if (rest == "f4" || rest == "f8") {
    layout->kind = ArrayLayout::Kind::floating;
  } else if (rest == "i1" || rest == "i2" || rest == "i4" || rest == "i8") {
    layout->kind = ArrayLayout::Kind::integer;
  } else if (rest == "b1" || rest == "u1" || rest == "u2" || rest == "u4" || rest == "u8") {
    layout->kind = ArrayLayout::Kind::unsigned_integer;
  } else {
    known = false;
  }
  if (!known) {
    throw DataError(place + " holds numbers of the type " + excerpt(type) +
                    "; expected float32, float64, integers of 8 to 64 bits, or bool");
  }
}

}  // namespace

std::unique_ptr<MatrixSource> open_npy(const MatrixSpec& spec) {
  const auto file = std::make_shared<ArrayFile>(spec.file);
  const std::string place = spec.file.string();
  constexpr std::int64_t kPreamble = 8;
  if (file->bytes() < kPreamble || std::memcmp(file->read(0, kPreamble), "\x93NUMPY", 6) != 0)
    throw DataError(place + " is no .npy file");
  const int version = file->read(0, kPreamble)[6];
  if (version < 1 || version > 3)
    throw DataError(place + " is a .npy file of version " + std::to_string(version) + "; expected 1, 2 or 3");
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  const unsigned char* length = file->read(kPreamble, length_bytes);
  std::int64_t header_bytes = 0;
  for (std::size_t i = length_bytes; i-- > 0;) header_bytes = header_bytes * 256 + length[i];
  if (header_bytes > kLongestHeader)
    throw DataError(place + " claims a header of " + std::to_string(header_bytes) + " bytes; expected less than 1 MiB");
  const std::int64_t begin = kPreamble + static_cast<std::int64_t>(length_bytes);
  const auto* text = reinterpret_cast<const char*>(file->read(begin, static_cast<std::size_t>(header_bytes)));
  const Header header = HeaderParser({text, static_cast<std::size_t>(header_bytes)}, place).parse();

  ArrayLayout layout;
  set_type(&layout, *header.type, place);
  if (header.shape->size() != 2)
    throw DataError(place + " is an array of rank " + std::to_string(header.shape->size()) + "; expected a matrix");
  layout.rows = (*header.shape)[0];
  layout.columns = (*header.shape)[1];
  layout.by_column = *header.by_column;
  const std::int64_t data = begin + header_bytes;
  std::int64_t bytes = static_cast<std::int64_t>(layout.element_bytes);
  if (__builtin_mul_overflow(bytes, layout.rows, &bytes) || __builtin_mul_overflow(bytes, layout.columns, &bytes) ||
      bytes != file->bytes() - data) {
    throw DataError(place + " declares " + std::to_string(layout.rows) + " x " + std::to_string(layout.columns) +
                    " numbers of " + std::to_string(layout.element_bytes) + " bytes, but has " +
                    std::to_string(file->bytes() - data) + " bytes of data");
  }
  layout.bytes = [file, data](std::int64_t offset, std::size_t size) { return file->read(data + offset, size); };
  return open_array_matrix(std::move(layout), spec);
}

}  // namespace cdrzoo
