// SPDX-License-Identifier: Apache-2.0
#include "import/names.hpp"

#include <algorithm>

namespace cdrzoo {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

/// The first \p fields fields of a TCGA barcode, in capitals and with hyphens (R turns them into dots).
std::string barcode(const std::string& name, int fields) {
  std::string key;
  for (const char c : name) key += c == '.' || c == '_' ? '-' : upper(c);
  if (key.compare(0, 5, "TCGA-") != 0) return "";
  std::size_t end = 0;
  for (int field = 0; field < fields; ++field) {
    end = key.find('-', field == 0 ? 0 : end + 1);
    if (end == std::string::npos) {
      if (field + 1 < fields) return "";
      end = key.size();
    }
  }
  key.resize(end);
  if (fields == 4) {
    // The field of the sample type may carry the letter of the vial.
    const std::size_t type = key.rfind('-') + 1;
    if (key.size() < type + 2 || !is_digit(key[type]) || !is_digit(key[type + 1])) return "";
    key.resize(type + 2);
  }
  return key.back() == '-' ? "" : key;
}

std::string number_key(const std::string& name) {
  std::string digits = name;
  const std::size_t point = digits.find('.');
  if (point != std::string::npos && digits.find_first_not_of('0', point + 1) == std::string::npos) digits.resize(point);
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), is_digit)) return "";
  const std::size_t first = digits.find_first_not_of('0');
  return first == std::string::npos ? "0" : digits.substr(first);
}

}  // namespace

const std::vector<const char*>& name_rule_words() {
  static const std::vector<const char*> words = {"exact", "number", "tcga_patient", "tcga_sample", "name"};
  return words;
}

std::string name_key(NameRule rule, const std::string& name) {
  switch (rule) {
    case NameRule::exact: return name;
    case NameRule::number: return number_key(name);
    case NameRule::tcga_patient: return barcode(name, 3);
    case NameRule::tcga_sample: return barcode(name, 4);
    case NameRule::name: break;
  }
  std::string key;
  for (const char c : name) {
    // Bytes above ASCII are letters of some script.
    if (is_letter(c) || is_digit(c) || static_cast<unsigned char>(c) >= 0x80) key += upper(c);
  }
  return key;
}

void NameMatcher::know(const std::string& name, std::int32_t index) {
  const auto add = [index](auto& table, const std::string& key) {
    if (key.empty()) return;
    const auto [known, fresh] = table.emplace(key, index);
    if (!fresh && known->second != index) known->second = kSeveral;
  };
  if (rule_ == NameRule::name) {
    add(exact_, name);
    add(similar_, name_key(rule_, name));
  } else {
    add(exact_, name_key(rule_, name));
  }
}

std::unordered_map<std::string, NameMatcher::Match> NameMatcher::match(const std::vector<std::string>& asked) const {
  const auto found = [](const auto& table, const std::string& key, Outcome outcome) -> Match {
    const auto known = key.empty() ? table.end() : table.find(key);
    if (known == table.end()) return {};
    return known->second == kSeveral ? Match{Outcome::ambiguous, -1} : Match{outcome, known->second};
  };
  std::unordered_map<std::string, Match> out;
  std::unordered_map<std::string, std::vector<std::string>> same_key;
  for (const auto& name : asked) {
    out[name] = found(exact_, rule_ == NameRule::name ? name : name_key(rule_, name), Outcome::exact);
    if (rule_ == NameRule::name) same_key[name_key(rule_, name)].push_back(name);
  }
  for (const auto& [key, names] : same_key) {
    const Match meant = found(similar_, key, Outcome::similar);
    if (meant.outcome == Outcome::unknown) continue;
    // What one name has claimed exactly is not another's by similarity.
    const bool taken = std::any_of(names.begin(), names.end(),
                                   [&out](const auto& name) { return out[name].outcome == Outcome::exact; });
    for (const auto& name : names) {
      Match& match = out[name];
      if (match.outcome != Outcome::unknown) continue;
      match = taken || names.size() > 1 ? Match{Outcome::ambiguous, -1} : meant;
    }
  }
  return out;
}

}  // namespace cdrzoo
