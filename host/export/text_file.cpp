// SPDX-License-Identifier: Apache-2.0
#include "export/text_file.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "base/error.hpp"

namespace cdrzoo {
namespace {

template <typename T>
std::string shortest(T value) {
  if (std::isnan(value)) return {};
  std::array<char, 32> buffer{};
  return {buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr};
}

}  // namespace

std::string shortest_text(double value) { return shortest(value); }
std::string shortest_text(float value) { return shortest(value); }

std::string file_word(const std::string& name) {
  std::string out = name;
  for (char& c : out) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '_' || (c == '.' && &c != out.data());
    if (!plain) c = '_';
  }
  return out;
}

std::vector<std::string> file_words(const std::vector<std::string>& names) {
  std::set<std::string> taken;  // in lower case: some file systems know no other
  std::vector<std::string> out;
  for (const auto& name : names) {
    const std::string word = file_word(name);
    std::string candidate = word;
    const auto key = [&candidate] {
      std::string lower = candidate;
      for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      return lower;
    };
    for (int n = 2; !taken.insert(key()).second; ++n) candidate = word + "_" + std::to_string(n);
    out.push_back(candidate);
  }
  return out;
}

struct RowFile::State {
  std::filesystem::path path;
  char separator = ',';
  gzFile file = nullptr;
  std::string buffer;
  bool first = true;  ///< the next field begins a row

  [[noreturn]] void refuse(int error) const {
    throw IoError("cannot write " + path.string() + ": " + std::strerror(error != 0 ? error : EIO));
  }
};

RowFile::RowFile(std::filesystem::path path, char separator) : state_(std::make_unique<State>()) {
  state_->path = std::move(path);
  state_->separator = separator;
  errno = 0;
  state_->file = gzopen(state_->path.c_str(), state_->path.extension() == ".gz" ? "wb3" : "wbT");  // T: as it is
  if (state_->file == nullptr) state_->refuse(errno);
}

RowFile::~RowFile() {
  if (state_->file != nullptr) gzclose(state_->file);
}

RowFile& RowFile::field(std::string_view text) {
  std::string& out = state_->buffer;
  if (!state_->first) out += state_->separator;
  state_->first = false;
  const std::array<char, 4> special{state_->separator, '"', '\n', '\r'};
  if (text.find_first_of(std::string_view(special.data(), special.size())) == std::string_view::npos) {
    out += text;
    return *this;
  }
  out += '"';
  for (const char c : text) out.append(c == '"' ? 2 : 1, c);
  out += '"';
  return *this;
}

RowFile& RowFile::fields(const std::vector<std::string>& texts) {
  for (const auto& text : texts) field(text);
  return *this;
}

RowFile& RowFile::numbers(const float* values, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) number(values[i]);
  return *this;
}

void RowFile::end_row() {
  state_->buffer += '\n';
  state_->first = true;
  constexpr std::size_t kEnough = 1U << 20U;
  if (state_->buffer.size() >= kEnough) flush();
}

void RowFile::flush() {
  constexpr std::size_t kPiece = 1U << 30U;  // gzwrite counts in 32 bits
  for (std::size_t done = 0; done < state_->buffer.size();) {
    const std::size_t piece = std::min(kPiece, state_->buffer.size() - done);
    errno = 0;
    if (gzwrite(state_->file, state_->buffer.data() + done, static_cast<unsigned>(piece)) <= 0) state_->refuse(errno);
    done += piece;
  }
  state_->buffer.clear();
}

void RowFile::close() {
  flush();
  errno = 0;
  if (gzclose(std::exchange(state_->file, nullptr)) != Z_OK) state_->refuse(errno);
}

}  // namespace cdrzoo
