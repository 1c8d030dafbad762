// SPDX-License-Identifier: Apache-2.0
// The code of the tutorial is code that compiles: each marked block stands word for word in the file that it names.
#include <fstream>
#include <sstream>

#include "support/catch.hpp"

namespace {
std::string read(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}
}  // namespace

TEST_CASE("the code of write_a_plugin.md is the code of the examples", "[doc]") {
  const std::string doc = read(CDRZOO_SHARE_DIR "/doc/write_a_plugin.md");
  REQUIRE_FALSE(doc.empty());
  const std::string marker = "<!-- from ";
  int n_blocks = 0;
  for (std::size_t at = doc.find(marker); at != std::string::npos; at = doc.find(marker, at)) {
    at += marker.size();
    const std::string file = doc.substr(at, doc.find(" -->", at) - at);
    const std::size_t fence = doc.find("```", at);
    const std::size_t begin = doc.find('\n', fence) + 1;
    const std::size_t end = doc.find("```", begin);
    REQUIRE(end != std::string::npos);
    const std::string block = doc.substr(begin, end - begin);
    CAPTURE(file, block);
    CHECK(block.size() > 20);
    CHECK(read(std::string(CDRZOO_SHARE_DIR "/") + file).find(block) != std::string::npos);
    ++n_blocks;
  }
  CHECK(n_blocks >= 5);
  // No code block of a compiled language goes unmarked.
  int n_code = 0;
  for (const std::string fence : {"```cpp", "```c\n", "```cmake", "```json"}) {
    for (std::size_t at = doc.find(fence); at != std::string::npos; at = doc.find(fence, at + 1)) ++n_code;
  }
  CHECK(n_code == n_blocks);
}
