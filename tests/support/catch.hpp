// SPDX-License-Identifier: Apache-2.0
// The only file that names a Catch2 header: Debian 12 has v2, everybody else v3.
#pragma once

#include <string>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
namespace cdrzoo::test {
inline auto contains(const std::string& text) { return Catch::Matchers::ContainsSubstring(text); }
}  // namespace cdrzoo::test
#else
#include <catch2/catch.hpp>
namespace cdrzoo::test {
inline auto contains(const std::string& text) { return Catch::Matchers::Contains(text); }
}  // namespace cdrzoo::test
#endif

namespace cdrzoo::test {
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;
}  // namespace cdrzoo::test
