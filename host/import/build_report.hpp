// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace cdrzoo {

/// What a build did with every row: sentences for people, and a table of everything that was left out.
class BuildReport {
 public:
  /// One sentence about what was done, with counts.
  void say(std::string sentence) { steps_.push_back(std::move(sentence)); }
  /// \p rows rows of \p source that are about \p name were left out, or merged, for this reason.
  void lose(const std::string& source, const std::string& kind, const std::string& name, const std::string& reason,
            std::int64_t rows = 1) {
    lost_[{source, kind, name, reason}] += rows;
  }

  [[nodiscard]] const std::vector<std::string>& steps() const { return steps_; }
  [[nodiscard]] std::vector<std::string>& steps() { return steps_; }
  /// TSV: source, kind, name, reason, rows; sorted. The file is there as a whole or not at all. \throws IoError
  void write_lost(const std::filesystem::path& file) const;
  [[nodiscard]] std::size_t lost() const { return lost_.size(); }

 private:
  std::vector<std::string> steps_;
  std::map<std::tuple<std::string, std::string, std::string, std::string>, std::int64_t> lost_;
};

/// "1 row", "2 rows".
template <typename Count>
[[nodiscard]] std::string count_of(Count n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}
/// The first few of a set of names, for a sentence.
[[nodiscard]] std::string some_of(const std::set<std::string>& names);
/// Shortest text of a number, without a trailing ".0".
[[nodiscard]] std::string number_text(double value);

}  // namespace cdrzoo
