// SPDX-License-Identifier: Apache-2.0
#include "import/rows.hpp"

#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.hpp"

namespace cdrzoo {
namespace {

constexpr std::size_t kBufferBytes = 1U << 18U;
constexpr std::size_t kLongestRow = 1U << 28U;
constexpr std::size_t kMostFields = 10'000'000;

struct CloseGz {
  void operator()(gzFile_s* file) const { gzclose(file); }
};

}  // namespace

struct RowReader::State {
  std::filesystem::path path;
  Format format;
  std::array<bool, 256> special{};  // bytes that end the run of an unquoted field
  std::unique_ptr<gzFile_s, CloseGz> file;

  // bytes[row, end) is what is needed of the file: the current row and what was read beyond it. bytes[end] is 0, so
  // that a scan for special bytes stops there.
  std::vector<char> bytes = std::vector<char>(kBufferBytes + 1);
  std::size_t row = 0;
  std::size_t at = 0;
  std::size_t end = 0;
  bool at_end = false;
  bool repeat = false;

  std::vector<std::string_view> fields;
  std::int64_t line = 0;       // of the row's first byte
  std::int64_t next_line = 1;  // of the next byte
  enum class LineEnd { unknown, lf, crlf } line_end = LineEnd::unknown;
  std::int64_t line_end_seen = 0;  // the line that settled it

  [[noreturn]] void wrong_line(std::int64_t number, const std::string& what) const {
    throw DataError(path.string() + " line " + std::to_string(number) + ": " + what);
  }

  /// Reads on, keeping the current row; false at the end of the file. Fields move along; positions in bytes do too.
  bool more() {
    if (at_end) return false;
    const char* const old_row = bytes.data() + row;
    const auto move_fields = [this](const char* from, const char* to) {
      for (std::string_view& field : fields) field = {to + (field.data() - from), field.size()};
    };
    if (row > 0) {
      move_fields(old_row, bytes.data());
      std::memmove(bytes.data(), old_row, end - row);
      at -= row;
      end -= row;
      row = 0;
    }
    if (end + 1 == bytes.size()) {
      if (bytes.size() > kLongestRow) wrong_line(line, "is longer than 256 MiB");
      std::vector<char> larger(2 * bytes.size() - 1);
      std::memcpy(larger.data(), bytes.data(), end);
      move_fields(bytes.data(), larger.data());
      bytes.swap(larger);
    }
    const int n = gzread(file.get(), bytes.data() + end, static_cast<unsigned>(bytes.size() - 1 - end));
    int code = Z_OK;
    const char* words = gzerror(file.get(), &code);
    // A cut gzip file gives its last bytes first and says so only by Z_BUF_ERROR.
    if (n < 0 || (code != Z_OK && code != Z_STREAM_END)) {
      if (code == Z_ERRNO) throw IoError("cannot read " + path.string() + ": " + std::strerror(errno));
      throw DataError(path.string() + " is damaged or truncated (zlib: " + words + ")");
    }
    end += static_cast<std::size_t>(n);
    bytes[end] = '\0';
    at_end = n == 0;
    return n > 0;
  }

  /// The next byte without taking it, or -1 at the end.
  int peek() {
    if (at == end && !more()) return -1;
    return static_cast<unsigned char>(bytes[at]);
  }

  [[noreturn]] void wrong_nul() const { wrong_line(next_line, "has a NUL byte; this is not a text file"); }

  void end_line(LineEnd found) {
    if (line_end == LineEnd::unknown) {
      line_end = found;
      line_end_seen = next_line;
    } else if (line_end != found) {
      const auto name = [](LineEnd e) { return std::string(e == LineEnd::lf ? "LF" : "CRLF"); };
      wrong_line(next_line, "ends with " + name(found) + ", but line " + std::to_string(line_end_seen) + " ends with " +
                                name(line_end) + "; expected one kind of line end");
    }
    ++next_line;
  }

  /// Takes a line end, of which \p c is the first byte.
  void take_line_end(int c) {
    ++at;
    if (c == '\r') {
      if (peek() != '\n') wrong_line(next_line, "has a carriage return that is not part of a CRLF line end");
      ++at;
    }
    end_line(c == '\r' ? LineEnd::crlf : LineEnd::lf);
  }

  [[nodiscard]] bool is_blank(int c) const { return (c == ' ' || c == '\t') && c != format.separator; }
  void skip_blanks() {
    while (is_blank(peek())) ++at;
  }

  /// Moves over the bytes of an unquoted run; returns the byte that ends it, or -1 at the end.
  int skip_plain() {
    for (;;) {
      const char* p = bytes.data() + at;
      while (!special[static_cast<unsigned char>(*p)]) ++p;
      at = static_cast<std::size_t>(p - bytes.data());
      if (*p != '\0') return static_cast<unsigned char>(*p);
      if (at < end) wrong_nul();
      if (!more()) return -1;
    }
  }

  void add_field(std::size_t begin, std::size_t stop) {
    if (fields.size() == kMostFields) wrong_line(line, "has more than ten million fields");
    fields.emplace_back(bytes.data() + row + begin, stop - begin);
  }

  /// Reads an unquoted field; returns the byte behind it, or -1. Positions in a row count from its begin.
  int read_plain() {
    std::size_t begin = at - row;
    const int c = skip_plain();
    if (c == '"') wrong_line(next_line, "has a quote inside an unquoted field");
    std::size_t stop = at - row;
    if (format.trim) {
      while (stop > begin && is_blank(static_cast<unsigned char>(bytes[row + stop - 1]))) --stop;
    }
    add_field(begin, stop);
    return c;
  }

  [[nodiscard]] bool ends_field(int c) const {
    return c < 0 || c == static_cast<unsigned char>(format.separator) || c == '\n' || c == '\r';
  }

  /// Reads a quoted field, whose bytes are moved together in place; returns the byte behind it, or -1.
  int read_quoted() {
    ++at;
    const std::size_t begin = at - row;
    std::size_t stop = begin;
    for (;;) {
      int c = peek();
      if (c < 0) wrong_line(line, "has a quote that is never closed");
      if (c == 0) wrong_nul();
      if (c != '"') {
        ++at;
        if (c == '\n') ++next_line;
        bytes[row + stop++] = static_cast<char>(c);
        continue;
      }
      std::size_t run = 0;
      for (; c == '"'; c = peek()) {
        ++run;
        ++at;
      }
      // An odd run closes the field, and what is left of it are pairs.
      bool closes = run % 2 == 1;
      std::size_t kept = run / 2;
      if (format.quotes == Format::Quotes::loose && closes != ends_field(c)) {
        closes = ends_field(c);
        kept = closes ? run - 1 : run / 2 + 1;
      }
      for (; kept > 0; --kept) bytes[row + stop++] = '"';
      if (closes) break;
    }
    add_field(begin, stop);
    if (format.trim) skip_blanks();
    const int c = peek();
    if (!ends_field(c)) wrong_line(next_line, "has text after a closing quote");
    return c;
  }

  [[nodiscard]] bool is_comment() {
    if (format.comment.empty()) return false;
    while (end - at < format.comment.size()) {
      if (!more()) return false;
    }
    return std::memcmp(bytes.data() + at, format.comment.data(), format.comment.size()) == 0;
  }

  void skip_line() {
    int c = 0;
    while (c >= 0 && c != '\n' && c != '\r') {
      c = skip_plain();
      if (c == '\n' || c == '\r') {
        take_line_end(c);
      } else if (c >= 0) {
        ++at;
      }
      row = at;
    }
  }

  bool read_row() {
    fields.clear();
    row = at;
    while (is_comment()) skip_line();
    row = at;
    line = next_line;
    if (peek() < 0) return false;
    for (;;) {
      if (format.trim) skip_blanks();
      const int c = format.quotes != Format::Quotes::none && peek() == '"' ? read_quoted() : read_plain();
      if (c < 0) return true;
      if (c != static_cast<unsigned char>(format.separator)) {
        take_line_end(c);
        return true;
      }
      ++at;
    }
  }
};

RowReader::RowReader(std::filesystem::path path, Format format) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.path = std::move(path);
  s.format = std::move(format);
  for (const char c : {'\0', '\n', '\r', s.format.separator}) s.special[static_cast<unsigned char>(c)] = true;
  s.special['"'] = s.format.quotes == Format::Quotes::strict;
  std::error_code code;
  if (std::filesystem::is_directory(s.path, code)) throw IoError("cannot read " + s.path.string() + ": it is a folder");
  s.file.reset(gzopen(s.path.c_str(), "rb"));  // plain files pass through
  if (!s.file) throw IoError("cannot read " + s.path.string() + ": " + std::strerror(errno));
  gzbuffer(s.file.get(), static_cast<unsigned>(kBufferBytes));

  if (s.peek() == 0xEF) {  // byte order mark
    for (const int byte : {0xEF, 0xBB, 0xBF}) {
      if (s.peek() != byte) s.wrong_line(1, "is not UTF-8 text");
      ++s.at;
    }
  }
}

RowReader::~RowReader() = default;
RowReader::RowReader(RowReader&&) noexcept = default;
RowReader& RowReader::operator=(RowReader&&) noexcept = default;

bool RowReader::next() {
  if (state_->repeat) {
    state_->repeat = false;
    return true;
  }
  return state_->read_row();
}

void RowReader::again() { state_->repeat = true; }
const std::vector<std::string_view>& RowReader::fields() const { return state_->fields; }
std::int64_t RowReader::line() const { return state_->line; }

bool RowReader::is_blank_end() {
  const auto blank = [this] { return fields().size() == 1 && fields()[0].empty(); };
  if (!blank()) return false;
  const std::int64_t first = line();
  while (next()) {
    if (!blank()) state_->wrong_line(first, "is empty, but rows follow");
  }
  return true;
}

const std::filesystem::path& RowReader::path() const { return state_->path; }
std::string RowReader::place(std::int64_t line) const { return path().string() + " line " + std::to_string(line); }
void RowReader::wrong(const std::string& what) const { state_->wrong_line(line(), what); }

std::vector<std::string> read_header(RowReader& rows, bool may_be_short, std::int64_t* line) {
  if (!rows.next()) throw DataError(rows.path().string() + " is empty; expected a header line");
  *line = rows.line();
  std::vector<std::string> names(rows.fields().begin(), rows.fields().end());
  if (may_be_short && !names.front().empty() && rows.next()) {
    if (rows.fields().size() == names.size() + 1 && !rows.fields().back().empty()) names.insert(names.begin(), "");
    rows.again();
  }
  return names;
}

}  // namespace cdrzoo
