// SPDX-License-Identifier: Apache-2.0
#include "import/csv.hpp"

#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.hpp"
#include "data/hdf5_file.hpp"

namespace cdrzoo {
namespace {

constexpr std::size_t kBufferBytes = 1U << 18U;
constexpr std::size_t kLongestField = 1U << 24U;
constexpr std::size_t kMostColumns = 10'000'000;

struct CloseGz {
  void operator()(gzFile_s* file) const { gzclose(file); }
};

}  // namespace

struct CsvReader::State {
  std::filesystem::path path;
  int separator = ',';
  std::size_t columns = 0;
  std::unique_ptr<gzFile_s, CloseGz> file;
  std::vector<char> buffer = std::vector<char>(kBufferBytes);
  std::size_t begin = 0;
  std::size_t end = 0;
  bool at_end = false;

  std::vector<std::string> fields;  // reused: no allocation per row once they have grown
  std::size_t field_count = 0;
  std::int64_t line = 0;       // of the row's first character
  std::int64_t next_line = 1;  // of the next character

  [[noreturn]] void wrong_line(std::int64_t number, const std::string& what) const {
    throw DataError(path.string() + " line " + std::to_string(number) + ": " + what);
  }

  /// Next byte, or -1 at the end.
  int get() {
    if (begin == end) {
      if (at_end) return -1;
      const int n = gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()));
      int code = Z_OK;
      const char* words = gzerror(file.get(), &code);
      // A cut gzip file gives its last bytes first and says so only by Z_BUF_ERROR.
      if (n < 0 || (code != Z_OK && code != Z_STREAM_END)) {
        if (code == Z_ERRNO) throw IoError("cannot read " + path.string() + ": " + std::strerror(errno));
        throw DataError(path.string() + " is damaged or truncated (zlib: " + words + ")");
      }
      begin = 0;
      end = static_cast<std::size_t>(n);
      if (n == 0) {
        at_end = true;
        return -1;
      }
    }
    return static_cast<unsigned char>(buffer[begin++]);
  }

  int peek() {
    const int c = get();
    if (c >= 0) --begin;
    return c;
  }

  std::string& new_field() {
    if (field_count == kMostColumns) wrong_line(line, "has more than ten million fields");
    if (field_count == fields.size()) fields.emplace_back();
    std::string& field = fields[field_count++];
    field.clear();
    return field;
  }

  /// Reads one row into fields; false if there is none.
  bool read_row() {
    field_count = 0;
    line = next_line;
    int c = get();
    if (c < 0) return false;
    for (;;) {
      std::string& field = new_field();
      if (c == '"') {
        c = read_quoted(field);
      } else {
        while (c >= 0 && c != separator && c != '\n' && c != '\r') {
          if (c == 0) wrong_line(next_line, "has a NUL byte; this is not a text file");
          if (c == '"') wrong_line(next_line, "has a quote inside an unquoted field");
          append(field, c);
          c = get();
        }
      }
      if (c == separator) {
        c = get();
        continue;
      }
      if (c == '\r') {
        if (get() != '\n') wrong_line(next_line, "has a carriage return that is not part of a CRLF line end");
        c = '\n';
      }
      if (c == '\n') ++next_line;
      return true;
    }
  }

  void append(std::string& field, int c) const {
    if (field.size() >= kLongestField) wrong_line(next_line, "has a field longer than 16 MiB");
    field += static_cast<char>(c);
  }

  /// After the opening quote; returns the delimiter after the closing one.
  int read_quoted(std::string& field) {
    for (;;) {
      int c = get();
      if (c < 0) wrong_line(line, "has a quote that is never closed");
      if (c == 0) wrong_line(next_line, "has a NUL byte; this is not a text file");
      if (c == '"') {
        c = get();
        if (c != '"') {
          if (c >= 0 && c != separator && c != '\n' && c != '\r') wrong_line(next_line, "has text after a closing quote");
          return c;
        }
      }
      if (c == '\n') ++next_line;
      append(field, c);
    }
  }

};

CsvReader::CsvReader(std::filesystem::path path, Dialect dialect)
    : Table(std::move(path), std::move(dialect)), state_(std::make_unique<State>()) {
  State& s = *state_;
  s.path = this->path();
  s.separator = static_cast<unsigned char>(this->dialect().separator);
  std::error_code code;
  if (std::filesystem::is_directory(s.path, code)) throw IoError("cannot read " + s.path.string() + ": it is a folder");
  s.file.reset(gzopen(s.path.c_str(), "rb"));  // plain files pass through
  if (!s.file) throw IoError("cannot read " + s.path.string() + ": " + std::strerror(errno));
  gzbuffer(s.file.get(), static_cast<unsigned>(kBufferBytes));

  if (s.peek() == 0xEF) {  // byte order mark
    for (const int byte : {0xEF, 0xBB, 0xBF}) {
      if (s.get() != byte) s.wrong_line(1, "is not UTF-8 text");
    }
  }
  if (!s.read_row()) throw DataError(s.path.string() + " is empty; expected a header line");
  set_header({s.fields.begin(), s.fields.begin() + static_cast<std::ptrdiff_t>(s.field_count)}, s.line);
  s.columns = header().size();
}

CsvReader::~CsvReader() = default;
CsvReader::CsvReader(CsvReader&&) noexcept = default;
CsvReader& CsvReader::operator=(CsvReader&&) noexcept = default;

std::int64_t CsvReader::line() const { return state_->line; }
std::string CsvReader::place(std::int64_t line) const { return path().string() + " line " + std::to_string(line); }

bool CsvReader::next() {
  State& s = *state_;
  if (!s.read_row()) return false;
  if (s.field_count == 1 && s.fields[0].empty() && s.columns > 1) {
    // A blank line: fine at the end, a mistake in between.
    const std::int64_t blank = s.line;
    while (s.peek() == '\n' || s.peek() == '\r') {
      if (s.get() == '\n') ++s.next_line;
    }
    if (s.peek() >= 0) s.wrong_line(blank, "is empty, but rows follow");
    return false;
  }
  if (s.field_count != s.columns) {
    s.wrong_line(s.line,
                 "has " + std::to_string(s.field_count) + " fields; the header has " + std::to_string(s.columns));
  }
  return true;
}

const std::string& CsvReader::field(std::size_t column) const { return state_->fields[column]; }

}  // namespace cdrzoo
