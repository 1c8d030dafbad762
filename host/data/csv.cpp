// SPDX-License-Identifier: Apache-2.0
#include "data/csv.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <unordered_map>

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

/// At most this much of a wrong field is repeated in a message.
std::string excerpt(std::string_view text) {
  constexpr std::size_t kShown = 40;
  std::string out;
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7F ? '?' : c;
  }
  if (!is_clean_text(out)) {
    for (char& c : out) {
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
    }
  }
  return "'" + out + (text.size() > kShown ? "...'" : "'");
}

}  // namespace

struct CsvReader::State {
  std::filesystem::path path;
  std::unique_ptr<gzFile_s, CloseGz> file;
  std::vector<char> buffer = std::vector<char>(kBufferBytes);
  std::size_t begin = 0;
  std::size_t end = 0;
  bool at_end = false;

  std::vector<std::string> header;
  std::unordered_map<std::string, std::size_t> position;
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
        while (c >= 0 && c != ',' && c != '\n' && c != '\r') {
          if (c == 0) wrong_line(next_line, "has a NUL byte; this is not a text file");
          if (c == '"') wrong_line(next_line, "has a quote inside an unquoted field");
          append(field, c);
          c = get();
        }
      }
      if (c == ',') {
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
          if (c >= 0 && c != ',' && c != '\n' && c != '\r') wrong_line(next_line, "has text after a closing quote");
          return c;
        }
      }
      if (c == '\n') ++next_line;
      append(field, c);
    }
  }

  template <typename T>
  bool number(std::size_t column, T* value) const;
};

CsvReader::CsvReader(std::filesystem::path path) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.path = std::move(path);
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
  s.header.assign(s.fields.begin(), s.fields.begin() + static_cast<std::ptrdiff_t>(s.field_count));
  for (std::size_t i = 0; i < s.header.size(); ++i) {
    if (s.header[i].empty()) s.wrong_line(1, "the header of column " + std::to_string(i + 1) + " is empty");
    if (!is_clean_text(s.header[i])) {
      s.wrong_line(1, "the header of column " + std::to_string(i + 1) + " is not UTF-8 text: " + excerpt(s.header[i]));
    }
    const auto [known, fresh] = s.position.emplace(s.header[i], i);
    if (!fresh) {
      s.wrong_line(1, "the header has the column '" + s.header[i] + "' twice (columns " +
                          std::to_string(known->second + 1) + " and " + std::to_string(i + 1) + ")");
    }
  }
}

CsvReader::~CsvReader() = default;
CsvReader::CsvReader(CsvReader&&) noexcept = default;
CsvReader& CsvReader::operator=(CsvReader&&) noexcept = default;

const std::filesystem::path& CsvReader::path() const { return state_->path; }
const std::vector<std::string>& CsvReader::header() const { return state_->header; }
std::int64_t CsvReader::line() const { return state_->line; }

std::size_t CsvReader::column(const std::string& name) const {
  const auto found = state_->position.find(name);
  if (found != state_->position.end()) return found->second;
  std::string known;
  constexpr std::size_t kShown = 12;
  for (std::size_t i = 0; i < std::min(state_->header.size(), kShown); ++i)
    known += (i == 0 ? "" : ", ") + state_->header[i];
  if (state_->header.size() > kShown) known += " and " + std::to_string(state_->header.size() - kShown) + " more";
  throw DataError(state_->path.string() + " has no column '" + name + "'; it has " + known);
}

bool CsvReader::next() {
  State& s = *state_;
  if (!s.read_row()) return false;
  if (s.field_count == 1 && s.fields[0].empty() && s.header.size() > 1) {
    // A blank line: fine at the end, a mistake in between.
    const std::int64_t blank = s.line;
    while (s.peek() == '\n' || s.peek() == '\r') {
      if (s.get() == '\n') ++s.next_line;
    }
    if (s.peek() >= 0) s.wrong_line(blank, "is empty, but rows follow");
    return false;
  }
  if (s.field_count != s.header.size()) {
    s.wrong_line(s.line,
                 "has " + std::to_string(s.field_count) + " fields; the header has " + std::to_string(s.header.size()));
  }
  return true;
}

const std::string& CsvReader::field(std::size_t column) const { return state_->fields[column]; }

void CsvReader::wrong(std::size_t column, const std::string& what) const {
  state_->wrong_line(state_->line, "column '" + state_->header[column] + "': " + what);
}

template <typename T>
bool CsvReader::State::number(std::size_t column, T* value) const {
  const std::string& text = fields[column];
  static constexpr std::array<const char*, 6> kMissing = {"", "NA", "NaN", "nan", "N/A", "null"};
  for (const char* word : kMissing) {
    if (text == word) return false;
  }
  const char* first = text.data();
  const char* last = first + text.size();
  if (text.size() > 1 && *first == '+' && first[1] != '-') ++first;
  const auto result = std::from_chars(first, last, *value);
  if (result.ec != std::errc() || result.ptr != last || !std::isfinite(*value)) {
    const char* why = result.ec == std::errc::result_out_of_range ? " is out of range" : " is not a finite number";
    wrong_line(line, "column '" + header[column] + "': " + excerpt(text) + why);
  }
  return true;
}

bool CsvReader::number(std::size_t column, double* value) const { return state_->number(column, value); }
bool CsvReader::number(std::size_t column, float* value) const { return state_->number(column, value); }

}  // namespace cdrzoo
