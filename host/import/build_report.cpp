// SPDX-License-Identifier: Apache-2.0
#include "import/build_report.hpp"

#include <nlohmann/json.hpp>

#include "base/files.hpp"

namespace cdrzoo {

void BuildReport::write_lost(const std::filesystem::path& file) const {
  std::string text = "source\tkind\tname\treason\trows\n";
  for (const auto& [what, rows] : lost_) {
    const auto& [source, kind, name, reason] = what;
    text.append(source).append("\t").append(kind).append("\t").append(name).append("\t").append(reason);
    text.append("\t").append(std::to_string(rows)).append("\n");
  }
  write_file_atomically(file, text);
}

std::string some_of(const std::set<std::string>& names) {
  constexpr std::size_t kShown = 5;
  std::string text;
  std::size_t shown = 0;
  for (const auto& name : names) {
    if (shown == kShown) break;
    text += (shown++ == 0 ? "" : ", ") + name;
  }
  return text + (names.size() > kShown ? " and " + std::to_string(names.size() - kShown) + " more" : "");
}

std::string number_text(double value) {
  std::string text = nlohmann::json(value).dump();
  return text.size() > 2 && text.substr(text.size() - 2) == ".0" ? text.substr(0, text.size() - 2) : text;
}

}  // namespace cdrzoo
