// SPDX-License-Identifier: Apache-2.0
/// verifier_test PLUGIN CHECK: verifies the plugin and succeeds if exactly CHECK fails ("nothing": if all pass).
#include <cstdio>
#include <exception>
#include <string>

#include "verify/verify.hpp"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    const std::string expected = argv[2];
    const auto report = cdrzoo::verify::verify_plugin(argv[1], {});
    bool right = !report.results.empty();
    bool seen = expected == "nothing";
    for (const auto& result : report.results) {
      const bool failed = result.verdict == "fail";
      const bool wanted = result.check == expected;
      seen = seen || (failed && wanted);
      if (failed) {
        std::printf("%s %s: %s\n", wanted ? "expected: " : "UNEXPECTED:", result.check.c_str(), result.detail.c_str());
      }
      right = right && (!failed || wanted);
    }
    if (!seen) std::printf("MISSING:    %s did not fail\n", expected.c_str());
    return right && seen ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "verifier_test: %s\n", e.what());
    return 2;
  }
}
