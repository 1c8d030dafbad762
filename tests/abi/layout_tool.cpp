// SPDX-License-Identifier: Apache-2.0
// layout_tool lock <headers...>   prints the layout lock of the headers
// layout_tool asserts <lock>      prints static asserts of the lock, for C11 and C++17
#include <fstream>
#include <iostream>

#include "abi/layout.hpp"

namespace {

std::string read(const char* path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in || text.str().empty()) throw std::runtime_error(std::string(path) + " cannot be read");
  return text.str();
}

void print_asserts(const cdrzoo::test::Layout& lock) {
  for (const auto& [name, s] : lock.structs) {
    std::cout << "CDRZOO_LAYOUT_ASSERT(sizeof(" << name << ") == " << s.size << ");\n";
    for (const auto& f : s.fields) {
      std::cout << "CDRZOO_LAYOUT_ASSERT(offsetof(" << name << ", " << f.name << ") == " << f.offset << ");\n"
                << "CDRZOO_LAYOUT_ASSERT(sizeof(((" << name << " *)0)->" << f.name << ") == " << f.size << ");\n";
    }
  }
  for (const auto& [name, value] : lock.constants) {
    if (value.front() == '"') {
      std::cout << "CDRZOO_LAYOUT_ASSERT(sizeof(" << name << ") == " << value.size() - 1 << ");\n";
    } else if (name != "CDRZOO_ABI_MINOR") {
      std::cout << "CDRZOO_LAYOUT_ASSERT(" << name << " == " << value << ");\n";
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string mode = argc > 2 ? argv[1] : "";
    if (mode == "lock") {
      std::vector<std::string> headers;
      for (int i = 2; i < argc; ++i) headers.push_back(read(argv[i]));
      std::cout
          << "# The layout of the plugin ABI, epoch 0. A test compares it with the headers; see layout.hpp for the "
             "rule.\n# After an allowed growth: raise CDRZOO_ABI_MINOR, then `cmake --build <build> --target "
             "update_layout_lock`.\n"
          << to_text(cdrzoo::test::layout_of(headers));
    } else if (mode == "asserts" && argc == 3) {
      print_asserts(cdrzoo::test::from_text(read(argv[2])));
    } else {
      throw std::runtime_error("usage: layout_tool lock <headers...> | layout_tool asserts <lock>");
    }
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "layout_tool: " << e.what() << '\n';
    return 1;
  }
}
