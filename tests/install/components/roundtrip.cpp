// SPDX-License-Identifier: Apache-2.0
#include <cdrzoo/safetensors.hpp>

int main() {
  cdrzoo::safetensors::Writer writer;
  writer.add<float>("a", {2}, {1, 2});
  const std::string bytes = writer.bytes();
  const auto archive = cdrzoo::safetensors::Archive::parse(bytes.data(), bytes.size(), "memory");
  return archive.at("a").copy<float>() == std::vector<float>{1, 2} ? 0 : 1;
}
