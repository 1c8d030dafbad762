// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/fitted_step.hpp"
#include "import/gene_map.hpp"
#include "import/matrix_source.hpp"
#include "import/names.hpp"
#include "import/perturbations.hpp"

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
  std::vector<std::string> tissues;  ///< these first, in this order; the others follow by name

  /// Where files come from, for people and for the provenance.
  struct Origin {
    std::string name, version, url, citation, license;
  };
  std::vector<Origin> origins;

  /// Rows that count: in every column one of the texts.
  using Filter = std::map<std::string, std::vector<std::string>>;

  /// A source file with the rows that count.
  struct Table {
    std::string file;    ///< relative to the folder of the sources
    std::string sha256;  ///< checked where given
    std::string format;  ///< empty: by the file's name
    std::string part;    ///< of files with several tables
    Dialect dialect;
    Filter where;   ///< a row must match
    Filter unless;  ///< a row must not match
  };

  struct Genes {
    bool intersect = true;  ///< else union, with `absent` where a domain lacks a gene
    std::optional<double> absent;
    GeneNames names = GeneNames::symbol;  ///< what the data set calls its genes
    std::optional<Table> map;
    GeneMap::Columns map_columns;
    std::optional<Table> panel;  ///< only these genes, in this order
    std::string panel_column;
  } genes;

  struct Drugs : Table {
    bool from_responses = false;  ///< no table: the drugs are what the responses name
    std::string id = "drug_id";
    std::string name;      ///< column; empty = the id
    std::string smiles;    ///< column; empty = no structures
    std::string inchikey;  ///< column
    std::string pubchem;   ///< column of PubChem compound ids
    std::string synonyms;  ///< column of further names, separated by |
    std::string group;     ///< column of the identity for splitting; empty = found from structures and ids
    bool keep_unused = false;
    std::vector<std::string> features;  ///< names of the blocks to make; empty = the usual ones
  } drugs;

  /// One harmonisation step, applied to the chosen genes of one domain, in the order of the recipe.
  struct Step {
    enum class Kind { fill_constant, fill_gene_minimum, clip, log, unlog, library_size, zscore, variable_genes };
    Kind kind = Kind::zscore;
    double value = 0.0;  ///< fill_constant: the value. library_size: the total of each sample
    std::optional<double> low;
    std::optional<double> high;
    double base = 2.0;            ///< log, unlog; 0 = e
    double offset = 1.0;          ///< log(x + offset)
    std::int64_t genes = 0;       ///< variable_genes
    bool by_source = false;       ///< zscore: with the statistics of the first domain
    bool on_all_samples = false;  ///< a step that learns: here and now, on all samples, not per fold
    std::string because;          ///< why on all samples
  };

  /// What happens to samples that are there more than once.
  enum class Repeats { error, first, mean };

  enum class LabelRule { column, words, per_drug_median, per_drug_mean, fixed, per_drug_table };

  struct Response : Table {
    bool wide = false;  ///< a row per sample, a column per drug
    bool wide_labels = false;
    std::string sample = "sample_id";
    std::string match = "sample";  ///< sample | group | a column of the table of samples
    NameRule match_rule = NameRule::exact;
    bool first_of_several = false;  ///< the name means several samples: take the first
    std::string drug = "drug_id";
    std::string drug_is;                     ///< the drug of all rows, instead of a column
    std::string drug_match = "id";           ///< id | name | pubchem | structure | inchikey
    std::string value;                       ///< column; may be empty if label is not
    std::optional<Step> transform;           ///< of the value: log or unlog
    double scale = 1.0;                      ///< the value is multiplied by this first
    std::string label;                       ///< column
    std::map<std::string, int> label_words;  ///< what its words mean; empty: 0 and 1
    LabelRule label_rule = LabelRule::column;
    double label_threshold = 0.0;
    std::optional<Table> label_table;
    std::string label_table_drug, label_table_threshold, label_because;
    bool drop_unknown_samples = false;
    bool drop_unknown_drugs = false;
    bool drop_ambiguous = false;
    enum class Replicates { error, mean, median, keep } replicates = Replicates::error;
    std::string replicate;  ///< column with the number of the replicate, for `keep`
  };

  struct Domain {
    std::string name;
    bool is_part = false;  ///< further samples of the domain of that name
    std::string expression_unit;
    std::string caveat;
    std::string arrives_scaled;  ///< how the file's values were scaled before they came here; a caveat
    Table expression;
    MatrixSpec matrix;  ///< how to read it; the file is filled in by the builder
    GeneNames gene_names = GeneNames::symbol;
    enum class RepeatedGenes { error, first, mean, highest_mean } repeated_genes = RepeatedGenes::error;
    Repeats repeated_samples = Repeats::error;
    NameRule name_rule = NameRule::exact;  ///< the samples' names are their keys under this rule
    std::string match;                     ///< column of the table of samples that the names stand in; empty = its id
    NameRule match_rule = NameRule::exact;
    bool has_samples = false;
    bool samples_from_matrix = false;  ///< the table of samples is what the matrix file says about them
    Table samples;
    std::string sample_id = "sample_id";
    std::string tissue;  ///< column; empty = unknown
    std::string group;   ///< column; empty = the id
    NameRule group_rule = NameRule::exact;
    std::vector<Step> steps;
    std::vector<Response> responses;
    std::optional<PerturbationRule> perturbation;
  };
  std::vector<Domain> domains;

  /// [perturbations]: treated profiles that are ready, as a table, a matrix and lists of genes.
  struct Profiles {
    Table table;
    Table matrix;
    std::string matrix_id;          ///< csv, tsv: column with the names of the profiles; empty = the first
    bool sparse = false;            ///< how the data set stores them
    std::optional<Table> controls;  ///< samples that are controls of a context though no profile points at them
    std::optional<Table> genes;
    std::int64_t gene_count = 0;  ///< length of a list
    std::string gene_rule;        ///< how the lists were made, in words
  };
  std::optional<Profiles> profiles;
};

/// Reads a recipe strictly: an unknown key is an error that names the known ones.
/// \throws UsageError naming file and line; IoError if the file cannot be read.
[[nodiscard]] Recipe load_recipe(const std::filesystem::path& path);

/// The same from text; \p path is for messages.
[[nodiscard]] Recipe parse_recipe(const std::string& text, const std::filesystem::path& path);

}  // namespace cdrzoo
