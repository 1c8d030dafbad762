// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "base/error.hpp"
#include "import/builder.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace cdrzoo::test {

/// Source files and a recipe that build; each test spoils one thing.
struct Workshop {
  TemporaryFolder folder;
  std::map<std::string, std::string> files = {
      {"x.csv", "id,G1,G2,G3\ns1,1,2,3\ns2,4,,6\ns3,7,8,9\n"},
      {"samples.csv", "id,site,patient,set\ns1,lung,p1,a\ns2,,p2,a\ns3,skin,p3,a\ns9,skin,p9,a\nother,skin,p3,b\n"},
      {"r.csv", "id,drug,ic50,resp\ns1,d1,0.5,1\ns1,d2,1.5,\ns2,d1,-2,0\n"},
      {"drugs.csv", "id,name,smiles\nd1,One,OCC\nd2,Two,C(C)O\nd3,Three,CCC\n"},
  };
  std::string recipe = R"(
name = "small"
value_unit = "ln_ic50_um"
caveats = ["made up"]
[drugs]
file = "drugs.csv"
id = "id"
name = "name"
smiles = "smiles"
[[domain]]
name = "lines"
expression_unit = "log2"
expression = { file = "x.csv" }
samples = { file = "samples.csv", id = "id", tissue = "site", group = "patient", where = { set = "a" } }
response = { file = "r.csv", sample = "id", drug = "drug", value = "ic50", label = "resp" }
)";
  BuildReport report;

  Workshop& replace(std::string& text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
    return *this;
  }
  Workshop& edit(const std::string& from, const std::string& to) { return replace(recipe, from, to); }
  Workshop& edit_file(const std::string& name, const std::string& from, const std::string& to) {
    return replace(files.at(name), from, to);
  }
  void add_domain() {
    files["y.csv"] = "id,G3,G4,G1\nt1,10,20,30\nt2,30,40,50\nt3,20,0,40\n";
    files["yr.csv"] = "patient,drug,resp\nt1,d1,1\nt3,d2,0\nt7,d1,1\nt1,d8,0\n";
    recipe += R"(
[[domain]]
name = "patients"
expression_unit = "log2"
expression = { file = "y.csv" }
steps = [{ step = "zscore", fit = "all_samples", because = "the paper does" }]
response = { file = "yr.csv", sample = "patient", match = "group", drug = "drug", label = "resp", unknown_samples = "drop", unknown_drugs = "drop" }
)";
  }
  DatasetContent build() {
    for (const auto& [name, text] : files) std::ofstream(folder / name, std::ios::binary) << text;
    report = {};
    return build_dataset(parse_recipe(recipe, folder / "recipe.toml"), folder.path(), report);
  }
  std::string complaint() {
    try {
      const DatasetContent content = build();
      write_dataset(content, folder / "out.h5");
    } catch (const Error& e) {
      CHECK_FALSE(std::filesystem::exists(folder / "out.h5"));
      return e.what();
    }
    return "it was built";
  }
  /// The table of what was left out.
  [[nodiscard]] std::string lost() const {
    report.write_lost(folder / "lost.tsv");
    std::ifstream in(folder / "lost.tsv", std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  [[nodiscard]] bool said(const std::string& sentence) const {
    return std::find(report.steps().begin(), report.steps().end(), sentence) != report.steps().end();
  }
};

}  // namespace cdrzoo::test
