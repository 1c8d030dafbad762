// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cdrzoo {

/// How a data set is built from the files that a user has: the contents of a recipe file. share/doc/data.md explains
/// every key with an example.
struct Recipe {
  std::filesystem::path path;
  std::string sha256;  ///< of the recipe file

  std::string name;
  std::string citation;
  std::string license;
  std::vector<std::string> caveats;
  std::string value_unit;

  /// A source file with the rows that count.
  struct Table {
    std::string file;                          ///< relative to the folder of the sources
    std::string sha256;                        ///< checked where given
    std::map<std::string, std::string> where;  ///< column = text that a row must have
  };

  struct Genes {
    bool intersect = true;  ///< else union, with `absent` where a domain lacks a gene
    double absent = 0.0;
  } genes;

  struct Drugs : Table {
    std::string id = "drug_id";
    std::string name;    ///< column; empty = the id
    std::string smiles;  ///< column; empty = no structures
    bool keep_unused = false;
  } drugs;

  /// One harmonisation step, applied to the chosen genes of one domain, in the order of the recipe.
  struct Step {
    enum class Kind { fill_constant, fill_gene_minimum, clip, zscore } kind = Kind::zscore;
    double value = 0.0;  ///< fill_constant
    std::optional<double> low;
    std::optional<double> high;
  };

  struct Response : Table {
    std::string sample = "sample_id";
    bool by_group = false;  ///< the sample column holds groups (patients)
    std::string drug = "drug_id";
    std::string value;  ///< column; may be empty if label is not
    std::string label;  ///< column with 0 and 1
    bool drop_unknown_samples = false;
    bool drop_unknown_drugs = false;
    enum class Replicates { error, mean, keep } replicates = Replicates::error;
  };

  struct Domain {
    std::string name;
    std::string expression_unit;
    std::string caveat;
    Table expression;
    std::string expression_id;  ///< column; empty = the first
    std::optional<Table> samples;
    std::string sample_id = "sample_id";
    std::string tissue;  ///< column; empty = unknown
    std::string group;   ///< column; empty = the id
    std::vector<Step> steps;
    std::optional<Response> response;
  };
  std::vector<Domain> domains;
};

/// Reads a recipe strictly: an unknown key is an error that names the known ones.
/// \throws UsageError naming file and line; IoError if the file cannot be read.
[[nodiscard]] Recipe load_recipe(const std::filesystem::path& path);

/// The same from text; \p path is for messages.
[[nodiscard]] Recipe parse_recipe(const std::string& text, const std::filesystem::path& path);

}  // namespace cdrzoo
