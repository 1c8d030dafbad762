// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace cdrzoo {

/// How the names of one thing in two files are compared.
enum class NameRule {
  exact,
  number,        ///< identifiers that are numbers: "0905933", "905933.0" and "905933" are one
  tcga_patient,  ///< the first three fields of a TCGA barcode: TCGA-A1-A0SB
  tcga_sample,   ///< and the sample type: TCGA-A1-A0SB-01
  name,  ///< letters and digits count, case does not: "OVCAR-3" and "NIH:OVCAR3" differ, "MCF7" and "MCF-7" do not
};

/// Words of the recipe for the rules, in the order of the enumeration.
[[nodiscard]] const std::vector<const char*>& name_rule_words();

/// The text that stands for \p name under the rule; empty if it has none (no TCGA barcode, no number).
[[nodiscard]] std::string name_key(NameRule rule, const std::string& name);

/// Finds which known thing a name in another file means. Equal keys are the same name; under NameRule::name a name that
/// is known exactly as it stands wins first, and then a key that several known things or several asked names share is
/// ambiguous: T-T and TT are different cell lines.
class NameMatcher {
 public:
  explicit NameMatcher(NameRule rule) : rule_(rule) {}

  /// Known thing number \p index has this name; it may have several. Names without a key are not matched.
  void know(const std::string& name, std::int32_t index);

  enum class Outcome { exact, similar, unknown, ambiguous };
  struct Match {
    Outcome outcome = Outcome::unknown;
    std::int32_t index = -1;  ///< of the known thing; -1 = none
  };
  /// What each of the names that a file uses means. \p asked all distinct names of that file.
  [[nodiscard]] std::unordered_map<std::string, Match> match(const std::vector<std::string>& asked) const;

 private:
  static constexpr std::int32_t kSeveral = -2;
  NameRule rule_;
  std::unordered_map<std::string, std::int32_t> exact_;    // name or key, as the rule has it
  std::unordered_map<std::string, std::int32_t> similar_;  // NameRule::name only
};

}  // namespace cdrzoo
