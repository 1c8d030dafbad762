// SPDX-License-Identifier: Apache-2.0
#include "chem/inchikey.hpp"

namespace cdrzoo {

std::optional<std::string> connectivity_of_inchikey(const std::string& text, std::string* reason) {
  constexpr const char* kPrefix = "InChIKey=";
  // AAAAAAAAAAAAAA-BBBBBBBBSA-N: connectivity, the other layers, standard or not, version, protonation.
  constexpr const char* kPattern = "AAAAAAAAAAAAAA-AAAAAAAAAA-A";
  constexpr std::size_t kLength = 27;
  constexpr std::size_t kConnectivity = 14;
  constexpr std::size_t kFlag = 23;

  const std::string key = text.rfind(kPrefix, 0) == 0 ? text.substr(9) : text;
  if (key.rfind("InChI=", 0) == 0) {
    *reason = "it is an InChI; expected its key of 27 characters";
    return std::nullopt;
  }
  if (key.size() != kLength) {
    *reason = "it has " + std::to_string(key.size()) + " characters; an InChIKey has 27";
    return std::nullopt;
  }
  for (std::size_t i = 0; i < kLength; ++i) {
    const bool fits = kPattern[i] == '-' ? key[i] == '-' : key[i] >= 'A' && key[i] <= 'Z';
    if (fits) continue;
    *reason = "its character " + std::to_string(i + 1) + " is not " +
              (kPattern[i] == '-' ? "a hyphen" : "a capital letter from A to Z");
    return std::nullopt;
  }
  if (key[kFlag] != 'S') {
    *reason = "its character 24 is '" + std::string(1, key[kFlag]) +
              "', which marks a key that is not standard; such keys do not compare with standard ones";
    return std::nullopt;
  }
  return key.substr(0, kConnectivity);
}

}  // namespace cdrzoo
