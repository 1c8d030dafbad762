// SPDX-License-Identifier: Apache-2.0
#include "data/dataset_writer.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "data/dataset_format.hpp"
#include "data/hdf5_file.hpp"

namespace cdrzoo {
namespace {

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

void write_responses(Hdf5Writer& writer, const DatasetContent& content) {
  std::vector<DatasetContent::Response> rows = content.responses;
  const auto at = [](const std::vector<std::string>& names, std::int32_t i) -> const std::string& {
    return names.at(static_cast<std::size_t>(i));
  };
  const auto key = [&](const DatasetContent::Response& r) {
    const std::int32_t domain = content.sample_domain.at(static_cast<std::size_t>(r.sample));
    return std::tuple<const std::string&, const std::string&, const std::string&, std::int32_t>(
        at(content.domains.name, domain), at(content.sample_id, r.sample), at(content.drug_id, r.drug), r.replicate);
  };
  std::stable_sort(rows.begin(), rows.end(), [&key](const auto& a, const auto& b) { return key(a) < key(b); });

  std::vector<std::int32_t> sample;
  std::vector<std::int32_t> drug;
  std::vector<std::int32_t> replicate;
  std::vector<double> value;
  std::vector<std::int8_t> label;
  for (const auto& r : rows) {
    sample.push_back(r.sample);
    drug.push_back(r.drug);
    replicate.push_back(r.replicate);
    value.push_back(r.value);
    label.push_back(r.label);
  }
  writer.write("/responses/sample", sample);
  writer.write("/responses/drug", drug);
  writer.write("/responses/value", value);
  writer.write("/responses/label", label);
  writer.write("/responses/replicate", replicate);
  writer.attribute("/responses", "value_unit", content.value_unit);
}

/// Context of each row: as given, or the control where the content names no contexts.
std::vector<std::int32_t> contexts_of(const DatasetContent& content) {
  std::vector<std::int32_t> context;
  for (const auto& p : content.perturbations) {
    context.push_back(content.perturbation_contexts.empty() ? p.control : p.context);
  }
  return context;
}

/// A+B and B+A are one: the drug whose id sorts first comes first. The second is -1 for a single drug.
std::pair<std::int32_t, std::int32_t> drugs_of(const DatasetContent& content, const DatasetContent::Perturbation& p) {
  if (p.drug_b >= 0 && content.drug_id.at(at(p.drug_b)) < content.drug_id.at(at(p.drug))) return {p.drug_b, p.drug};
  return {p.drug, p.drug_b};
}

/// The columns of perturbation rows, in the order of \p rows.
struct PerturbationColumns {
  std::vector<std::int32_t> control, drug, drug_b, context, replicates;
  std::vector<float> dose, time;

  PerturbationColumns(const DatasetContent& content, const std::vector<std::size_t>& rows) {
    const std::vector<std::int32_t> context_of = contexts_of(content);
    for (const std::size_t i : rows) {
      const auto& p = content.perturbations[i];
      control.push_back(p.control);
      const auto [first, second] = drugs_of(content, p);
      drug.push_back(first);
      drug_b.push_back(second);
      context.push_back(context_of[i]);
      replicates.push_back(p.replicates);
      dose.push_back(p.dose_log10_molar);
      time.push_back(p.time_h);
    }
  }
  [[nodiscard]] std::vector<std::int32_t> conditions() const {
    return number_conditions({context, drug, drug_b, dose, time});
  }
};

/// Does the dense row \p a come before \p b, bytewise?
bool bytes_before(const RowMatrix& matrix, std::size_t a, std::size_t b) {
  if (!matrix.is_sparse()) {
    return compare_bytes(matrix.dense().row(static_cast<std::int64_t>(a)),
                         matrix.dense().row(static_cast<std::int64_t>(b)), static_cast<std::size_t>(matrix.cols)) < 0;
  }
  const SparseRowsView& rows = matrix.sparse();
  const auto place = [&rows](std::size_t row) { return static_cast<std::size_t>(rows.begin[row]); };
  const auto zero = [](float x) { return x == 0.0F && !std::signbit(x); };
  std::size_t i = place(a);
  std::size_t j = place(b);
  for (;;) {  // to the first column in which they differ
    while (i < place(a + 1) && zero(rows.value[i])) ++i;
    while (j < place(b + 1) && zero(rows.value[j])) ++j;
    const bool more_a = i < place(a + 1);
    const bool more_b = j < place(b + 1);
    if (!more_a || !more_b) return more_b;  // bytes of 0 come first
    if (rows.column[i] != rows.column[j]) return rows.column[j] < rows.column[i];
    const int order = compare_bytes(&rows.value[i], &rows.value[j]);
    if (order != 0) return order < 0;
    ++i;
    ++j;
  }
}

/// Rows in canonical order. Replicates that differ in nothing else are ordered by the bits of their profiles, so that
/// the order of the content does not matter.
std::vector<std::size_t> canonical_rows(const DatasetContent& content, const std::vector<std::string>& contexts) {
  const std::vector<std::int32_t> context_of = contexts_of(content);
  const auto name = [](const std::vector<std::string>& names, std::int32_t i) -> const std::string& {
    return names.at(at(i));
  };
  static const std::string none;
  const auto key = [&](std::size_t i) {
    const auto& p = content.perturbations[i];
    const auto [first, second] = drugs_of(content, p);
    // Unknown sorts first.
    const auto number = [](float x) { return std::isnan(x) ? -std::numeric_limits<float>::infinity() : x; };
    return std::tuple<const std::string&, const std::string&, const std::string&, const std::string&, float, float,
                      const std::string&>(name(content.domains.name, content.sample_domain.at(at(p.control))),
                                          name(contexts, context_of[i]), name(content.drug_id, first),
                                          second < 0 ? none : name(content.drug_id, second), number(p.dose_log10_molar),
                                          number(p.time_h), name(content.sample_id, p.control));
  };
  const RowMatrix profiles = content.profiles();
  std::vector<std::size_t> rows(content.perturbations.size());
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  std::stable_sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) {
    const auto key_a = key(a);
    const auto key_b = key(b);
    return key_a < key_b || (!(key_b < key_a) && bytes_before(profiles, a, b));
  });
  return rows;
}

/// The column control_context; empty where rows point at all controls. \param number  new numbers of contexts
std::vector<std::int32_t> control_contexts(const DatasetContent& content, const PerturbationColumns& columns,
                                           const std::vector<std::int32_t>& number) {
  std::vector<std::int32_t> pointed_at(content.sample_id.size(), -1);
  for (std::size_t i = 0; i < columns.control.size(); ++i) pointed_at.at(at(columns.control[i])) = columns.context[i];
  auto all = pointed_at;
  for (std::size_t i = 0; i < content.control_context.size(); ++i) {
    const auto context = content.control_context[i];
    if (context >= 0 && all.at(i) < 0) all[i] = number.at(at(context));
  }
  return all == pointed_at ? std::vector<std::int32_t>{} : all;
}

void write_perturbations(Hdf5Writer& writer, const DatasetContent& content) {
  if (content.perturbations.empty()) return;
  const std::vector<std::string>& contexts =
      content.perturbation_contexts.empty() ? content.sample_id : content.perturbation_contexts;
  std::vector<std::size_t> rows(content.perturbations.size());
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  const std::vector<std::int32_t> condition_given = PerturbationColumns(content, rows).conditions();
  rows = canonical_rows(content, contexts);
  PerturbationColumns columns(content, rows);
  const std::vector<std::int32_t> condition = columns.conditions();

  const char* const object = "/perturbations/profile";
  const RowMatrix profiles = content.profiles();
  const std::vector<std::int32_t> order(rows.begin(), rows.end());
  if (profiles.is_sparse()) {
    write_sparse_rows(writer, object, profiles, order, space_of(content.genes));
  } else {
    auto profile = writer.create(object, Hdf5Type::f32, {profiles.rows, profiles.cols});
    append_rows(profile, profiles.dense(), order);
  }
  // Contexts are numbered in order of the first row; only those that have one.
  std::vector<std::int32_t> number(contexts.size(), -1);
  std::vector<std::string> names;
  for (auto& context : columns.context) {
    auto& mine = number.at(at(context));
    if (mine < 0) {
      mine = static_cast<std::int32_t>(names.size());
      names.push_back(contexts[at(context)]);
    }
    context = mine;
  }
  writer.strings("/perturbations/context_name", names);
  writer.write("/perturbations/context", columns.context);
  if (const auto all = control_contexts(content, columns, number); !all.empty())
    writer.write("/perturbations/control_context", all);
  writer.write("/perturbations/condition", condition);
  writer.write("/perturbations/control", columns.control);
  writer.write("/perturbations/drug", columns.drug);
  writer.write("/perturbations/drug_b", columns.drug_b);
  writer.write("/perturbations/dose_log10_molar", columns.dose);
  writer.write("/perturbations/time_h", columns.time);
  writer.write("/perturbations/replicates", columns.replicates);
  if (content.deg.empty()) return;
  const auto width = static_cast<std::size_t>(content.deg_genes);
  std::vector<std::int32_t> deg(content.deg.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto from = content.deg.begin() + static_cast<std::ptrdiff_t>(at(condition_given[rows[r]]) * width);
    std::copy_n(from, width, deg.begin() + static_cast<std::ptrdiff_t>(at(condition[r]) * width));
  }
  writer.write("/perturbations/deg", MatrixView<std::int32_t>{deg.data(), condition.back() + 1, content.deg_genes});
  writer.attribute("/perturbations", "deg_rule", content.deg_rule);
}

void write_content(const DatasetContent& content, const std::filesystem::path& path) {
  const auto samples = static_cast<std::int64_t>(content.sample_id.size());
  const auto genes = static_cast<std::int64_t>(content.genes.size());
  Hdf5Writer writer(path);
  writer.attribute("/", "format", kDatasetFormat);
  writer.attribute("/", "format_version",
                   format_version(content.fitted_steps.size(), content.sparse_profile.has_value()));
  writer.attribute("/", "name", content.name);
  writer.text("/provenance", content.provenance_json);
  writer.strings("/caveats", content.caveats);
  if (!content.fitted_steps.empty()) writer.text("/fitted_steps", to_json(content.fitted_steps).dump());
  writer.strings("/genes/symbol", content.genes);
  writer.strings("/tissues/name", content.tissues);
  writer.strings("/domains/name", content.domains.name);
  writer.strings("/domains/expression_unit", content.domains.expression_unit);
  writer.strings("/domains/caveat", content.domains.caveat);

  writer.strings("/samples/id", content.sample_id);
  writer.strings("/samples/group", content.sample_group);
  writer.write("/samples/domain", content.sample_domain);
  writer.write("/samples/tissue", content.sample_tissue);
  FeatureBlock expression;
  expression.kind = CDRZOO_BLOCK_DENSE;
  expression.width = genes;
  expression.space = space_of(content.genes);
  FeatureBlock::Part values;
  values.role = CDRZOO_PART_VALUES;
  values.dtype = CDRZOO_F32;
  values.shape = {samples, genes};
  values.data = content.expression.data();
  values.has_nan = any_nan(content.expression.data(), content.expression.size());
  expression.parts.push_back(values);
  write_block(writer, "/samples/blocks/expression", expression);
  for (const auto& block : content.sample_blocks) write_block(writer, "/samples/blocks/" + block.name, block.view());

  writer.strings("/drugs/id", content.drug_id);
  writer.strings("/drugs/name", content.drug_name);
  writer.strings("/drugs/smiles", content.drug_smiles);
  writer.strings("/drugs/group", content.drug_group);
  writer.strings("/drugs/scaffold", content.drug_scaffold);
  for (const auto& block : content.drug_blocks) write_block(writer, "/drugs/blocks/" + block.name, block.view());

  write_responses(writer, content);
  write_perturbations(writer, content);
  writer.commit();
}

void check_sizes(const DatasetContent& c) {
  const std::size_t samples = c.sample_id.size();
  const std::size_t drugs = c.drug_id.size();
  const bool agree =
      c.sample_group.size() == samples && c.sample_domain.size() == samples && c.sample_tissue.size() == samples &&
      c.expression.size() == samples * c.genes.size() && c.drug_name.size() == drugs && c.drug_smiles.size() == drugs &&
      c.drug_group.size() == drugs && c.drug_scaffold.size() == drugs &&
      (c.sparse_profile ? c.sparse_profile->rows() == static_cast<std::int64_t>(c.perturbations.size()) &&
                              c.perturbation_profile.empty()
                        : c.perturbation_profile.size() == c.perturbations.size() * c.genes.size());
  if (!agree) throw std::logic_error("write_dataset: columns of one table differ in length");
  if (c.sparse_profile && any_nan(c.sparse_profile->value.data(), c.sparse_profile->value.size()))
    throw std::logic_error("write_dataset: sparse profiles have missing values");
  if (c.deg.empty()) return;
  std::vector<std::size_t> rows(c.perturbations.size());
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  const std::vector<std::int32_t> condition = PerturbationColumns(c, rows).conditions();
  const std::size_t conditions = condition.empty() ? 0 : at(*std::max_element(condition.begin(), condition.end())) + 1;
  if (c.deg.size() != conditions * static_cast<std::size_t>(c.deg_genes)) {
    throw std::logic_error("write_dataset: there are not as many DEG lists as conditions");
  }
}

}  // namespace

namespace {

std::vector<BlockContent> copies_of(const std::vector<FeatureBlock>& blocks,
                                    std::initializer_list<const char*> made_at_open) {
  std::vector<BlockContent> out;
  for (const auto& block : blocks) {
    if (std::any_of(made_at_open.begin(), made_at_open.end(), [&block](const char* n) { return block.name == n; }))
      continue;
    BlockContent copy;
    copy.name = block.name;
    copy.kind = block.kind;
    copy.rows = block.rows;
    copy.width = block.width;
    copy.space = block.space;
    copy.feature_names = block.feature_names;
    for (const auto& part : block.parts) {
      const auto* bytes = static_cast<const std::uint8_t*>(part.data);
      copy.parts.push_back({part.role, part.dtype, part.shape, {bytes, bytes + part.bytes}});
    }
    out.push_back(std::move(copy));
  }
  return out;
}

}  // namespace

RowMatrix DatasetContent::profiles() const {
  const auto width = static_cast<std::int64_t>(genes.size());
  if (sparse_profile) return {sparse_profile->view(), width};
  return MatrixView<float>{perturbation_profile.data(), static_cast<std::int64_t>(perturbations.size()), width};
}

DatasetContent content_of(const Dataset& dataset) {
  DatasetContent c;
  c.name = dataset.name;
  c.provenance_json = dataset.provenance_json;
  c.caveats = dataset.caveats;
  c.fitted_steps = dataset.fitted_steps;
  c.genes = dataset.genes;
  c.tissues = dataset.tissues;
  c.domains = dataset.domains;
  c.sample_id = dataset.samples.id;
  c.sample_group = dataset.samples.group;
  c.sample_domain = dataset.samples.domain;
  c.sample_tissue = dataset.samples.tissue;
  const MatrixView<float> x = dataset.expression();
  c.expression.assign(x.data, x.data + x.rows * x.cols);
  c.sample_blocks = copies_of(dataset.samples.blocks, {"expression", "tissue", "domain"});
  c.drug_id = dataset.drugs.id;
  c.drug_name = dataset.drugs.name;
  c.drug_smiles = dataset.drugs.smiles;
  c.drug_group = dataset.drugs.group;
  c.drug_scaffold = dataset.drugs.scaffold;
  c.drug_blocks = copies_of(dataset.drugs.blocks, {"smiles"});
  const auto& r = dataset.responses;
  c.value_unit = r.value_unit;
  for (std::size_t i = 0; i < r.sample.size(); ++i) {
    c.responses.push_back({r.sample[i], r.drug[i], r.replicate[i], r.label[i], r.value[i]});
  }
  if (dataset.perturbations) {
    const auto& p = *dataset.perturbations;
    for (std::size_t i = 0; i < p.control.size(); ++i) {
      c.perturbations.push_back(
          {p.control[i], p.drug[i], p.drug_b[i], p.dose_log10_molar[i], p.time_h[i], p.context[i], p.replicates[i]});
    }
    c.perturbation_contexts = p.contexts;
    c.control_context = {p.control_context.begin(), p.control_context.end()};
    c.deg.assign(p.deg.data, p.deg.data + p.deg.rows * p.deg.cols);
    c.deg_genes = p.deg.cols;
    c.deg_rule = p.deg_rule;
    if (p.profile.is_sparse()) {
      const auto& rows = p.profile.sparse();
      c.sparse_profile = SparseRows{{rows.begin.begin(), rows.begin.end()},
                                    {rows.column.begin(), rows.column.end()},
                                    {rows.value.begin(), rows.value.end()}};
    } else {
      const auto& dense = p.profile.dense();
      c.perturbation_profile.assign(dense.data, dense.data + dense.rows * dense.cols);
    }
  }
  return c;
}

void write_dataset(const DatasetContent& content, const std::filesystem::path& path) {
  check_sizes(content);
  if (std::filesystem::is_directory(path)) throw IoError("cannot write " + path.string() + ": it is a folder");
  // Not under its final name before it has been read back.
  struct Draft {
    std::filesystem::path path;
    ~Draft() { ::unlink(path.c_str()); }
  } draft{path.string() + ".draft-" + std::to_string(::getpid())};
  // The user knows the target, not the draft.
  const auto renamed = [&](std::string words) {
    const auto found = words.find(draft.path.string());
    if (found != std::string::npos) words.replace(found, draft.path.string().size(), path.string());
    return words;
  };
  try {
    write_content(content, draft.path);
    static_cast<void>(Dataset::open(draft.path));
  } catch (const IoError& e) {
    throw IoError(renamed(e.what()));
  } catch (const DataError& e) {
    throw DataError(renamed(e.what()));
  }
  if (::rename(draft.path.c_str(), path.c_str()) != 0) {
    throw IoError("cannot write " + path.string() + ": " + std::strerror(errno));
  }
}

}  // namespace cdrzoo
