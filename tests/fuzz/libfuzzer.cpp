// SPDX-License-Identifier: Apache-2.0
// The same targets for libFuzzer: CDRZOO_FUZZ_TARGET names one (default dataset). `fuzz_readers` writes no corpus;
// start from an empty one or from files of your own.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const cdrzoo::fuzz::Target* const target = [] {
    const char* wanted = std::getenv("CDRZOO_FUZZ_TARGET");
    for (const auto& candidate : cdrzoo::fuzz::targets()) {
      if (std::strcmp(candidate.name, wanted == nullptr ? "dataset" : wanted) == 0) return &candidate;
    }
    std::fprintf(stderr, "CDRZOO_FUZZ_TARGET names no target\n");
    std::exit(2);
  }();
  target->run(data, size);
  return 0;
}
