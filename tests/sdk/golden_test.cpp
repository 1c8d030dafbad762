// SPDX-License-Identifier: Apache-2.0
#include "support/golden.hpp"

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using cdrzoo::test::contains;
using cdrzoo::test::Golden;
using cdrzoo::test::procedural_weights;
using cdrzoo::test::WithinAbs;

TEST_CASE("procedural weights give the check value of the format", "[golden]") {
  const auto values = procedural_weights("check", 1, 3, 0, 1);
  CHECK_THAT(values[0], WithinAbs(0.632081151, 1e-9));
  CHECK_THAT(values[1], WithinAbs(-0.343117237, 1e-9));
  CHECK_THAT(values[2], WithinAbs(0.261803985, 1e-9));
}

TEST_CASE("every golden file is read, and every bound refers to a tensor of it", "[golden]") {
  const auto folder = Golden::folder();
  if (!std::filesystem::exists(folder)) {
    WARN(Golden::no_files());
    return;
  }
  int n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    CAPTURE(entry.path().filename().string());
    const auto golden = Golden::open(entry.path().stem().string());
    REQUIRE(golden.has_value());
    CHECK(golden->name() == entry.path().stem().string());
    const auto tolerances = golden->json("tolerances");
    for (const auto& [name, bound] : tolerances.items()) {
      CAPTURE(name);
      REQUIRE(golden->archive().find(name) != nullptr);
    }
    for (const auto& weight : golden->weights()) {
      CAPTURE(weight.key);
      REQUIRE(std::all_of(weight.values.begin(), weight.values.end(), [](float v) { return std::isfinite(v); }));
    }
    ++n_files;
  }
  CHECK(n_files > 0);
}

TEST_CASE("the comparison accepts the stored values and refuses a deviation", "[golden]") {
  const auto golden = Golden::open("therapi_aligner");
  if (!golden) {
    WARN(Golden::no_files());
    return;
  }
  CHECK(golden->arg("n_genes") == 40);
  const auto tolerances = golden->json("tolerances");
  int n_changes = 0;
  for (const auto& [name, bound] : tolerances.items()) {
    CAPTURE(name);
    const auto stored = golden->floats(name);
    std::vector<float> start;
    if (bound.value("rel_l2_of", "") == "change") {
      start = golden->floats("weights/" + name.substr(name.find('/') + 1));
      ++n_changes;
    }
    CHECK(golden->compare(name, stored, start).empty());
    auto far = stored;
    far.back() += 1.0F + std::abs(far.back());
    CHECK_THAT(golden->compare(name, far, start), contains("was expected"));
    far = stored;
    far.front() = std::nanf("");
    CHECK_THAT(golden->compare(name, far, start), contains("was expected"));
    far = stored;
    far.pop_back();
    CHECK_THAT(golden->compare(name, far, start), contains("elements"));
  }
  CHECK(n_changes > 0);
  // A deviation that each element's bound allows and the distance does not.
  for (const auto& [name, bound] : tolerances.items()) {
    if (name.rfind("out/", 0) != 0 || bound.at("rel_l2").is_null()) continue;
    auto shifted = golden->floats(name);
    double norm = 0;
    for (const float v : shifted) norm += static_cast<double>(v) * static_cast<double>(v);
    const double atol = bound.at("atol");
    if (0.9 * atol * std::sqrt(static_cast<double>(shifted.size())) <
        1.1 * bound.at("rel_l2").get<double>() * std::sqrt(norm))
      continue;
    for (float& v : shifted) v += static_cast<float>(0.9 * atol);
    CHECK_THAT(golden->compare(name, shifted), contains("relative L2"));
  }
  CHECK_THROWS(golden->compare("in/source_tissue", std::vector<float>{}));
}

TEST_CASE("golden files are found by model and form in the folder that CDRZOO_GOLDEN names", "[golden]") {
  const auto golden = Golden::open("therapi_aligner");
  if (!golden) {
    WARN(Golden::no_files());
    return;
  }
  const char* chosen = std::getenv("CDRZOO_GOLDEN");
  const std::string before = chosen == nullptr ? "" : chosen;
  const cdrzoo::test::TemporaryFolder folder;
  const auto from = Golden::folder();
  std::filesystem::copy(from / "therapi_aligner.safetensors", folder.path() / "a file of one's own.safetensors");
  std::filesystem::copy(from / "therapi_predictor.safetensors", folder.path() / "another.safetensors");
  ::setenv("CDRZOO_GOLDEN", folder.path().c_str(), 1);
  CHECK(Golden::folder() == folder.path());
  CHECK(Golden::all_of("THERAPI").size() == 2);
  const auto aligners = Golden::all_of("THERAPI", "aligner");
  REQUIRE(aligners.size() == 1);
  CHECK(aligners[0].name() == "a file of one's own");
  CHECK(aligners[0].has("in/source_x"));
  CHECK_FALSE(aligners[0].has("in/label"));
  CHECK(Golden::all_of("another model").empty());
  CHECK_FALSE(Golden::open("therapi_aligner").has_value());
  before.empty() ? ::unsetenv("CDRZOO_GOLDEN") : ::setenv("CDRZOO_GOLDEN", before.c_str(), 1);
}
