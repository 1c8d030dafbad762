// SPDX-License-Identifier: Apache-2.0
#include "run/bundle.hpp"

#include <cdrzoo/abi.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>
#include <utility>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/random.hpp"
#include "data/feature_block.hpp"
#include "data/hdf5_file.hpp"
#include "run/bundle_format.hpp"
#include "run/features.hpp"

namespace cdrzoo {
namespace {

using Rows = std::vector<std::int32_t>;

// ---- entities file ----

/// SplitMix64's output is a bijection of its counter, so keys are unique.
std::vector<std::int64_t> entity_keys(std::int64_t count, std::uint64_t salt, const std::string& axis) {
  const auto seed = derive_seed(salt, axis);
  std::vector<std::int64_t> keys(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<std::int64_t>(splitmix64(seed, i));
  return keys;
}

/// The block "expression" followed by profiles; categories followed by -1.
void write_with_profiles(Hdf5Writer& file, const std::string& group, const FeatureBlock& block,
                         const EntitiesContent& content) {
  if (block.kind == CDRZOO_BLOCK_DENSE) {
    write_extended_block(file, group, block, content.profiles, content.profile_rows);
    return;
  }
  auto longer = block;
  longer.rows += static_cast<std::int64_t>(content.profile_rows.size());
  Rows codes;
  for (auto& part : longer.parts) {
    if (part.role != CDRZOO_PART_VALUES) continue;
    const auto* known = static_cast<const std::int32_t*>(part.data);
    codes.assign(known, known + block.rows);
    codes.resize(static_cast<std::size_t>(longer.rows), -1);
    part.shape = {longer.rows};
    part.data = codes.data();
    part.bytes = codes.size() * sizeof(std::int32_t);
  }
  write_block(file, group, longer);
}

void write_axis(Hdf5Writer& file, const std::string& axis, std::int64_t count, std::uint64_t salt,
                const std::vector<FeatureBlock>& blocks, const EntitiesContent* extended = nullptr) {
  file.group(axis);
  const auto n_profiles = extended == nullptr ? 0 : static_cast<std::int64_t>(extended->profile_rows.size());
  file.write(axis + "/key", entity_keys(count + n_profiles, salt, axis));
  for (const auto& block : blocks) {
    if (block.rows != count) {
      throw std::logic_error("block " + block.name + " has " + std::to_string(block.rows) + " rows for " +
                             std::to_string(count) + " entities");
    }
    if (block.name.empty() || block.name.find('/') != std::string::npos)
      throw DataError("the name \"" + block.name + "\" of a feature block is empty or has a slash in it");
    const auto group = std::string(axis).append("/blocks/").append(block.name);
    if (n_profiles > 0)
      write_with_profiles(file, group, block, *extended);
    else
      write_block(file, group, block);
  }
}

// ---- views file ----

/// The entities that index columns refer to, ascending, and the columns as indices into that list.
class Table {
 public:
  void add(const Rows& column) {
    for (const auto row : column)
      if (row >= 0) rows_.push_back(row);
  }
  void seal() {
    std::sort(rows_.begin(), rows_.end());
    rows_.erase(std::unique(rows_.begin(), rows_.end()), rows_.end());
  }
  [[nodiscard]] const Rows& rows() const { return rows_; }
  [[nodiscard]] Rows local(const Rows& column) const {
    Rows result(column.size());
    std::transform(column.begin(), column.end(), result.begin(), [&](std::int32_t row) {
      if (row < 0) return std::int32_t{-1};
      return static_cast<std::int32_t>(std::lower_bound(rows_.begin(), rows_.end(), row) - rows_.begin());
    });
    return result;
  }

 private:
  Rows rows_;
};

/// Writes the data sets of one view and hashes what it writes.
class ViewFile {
 public:
  ViewFile(Hdf5Writer& file, const BundleView& view, const std::string& seed_text)
      : file_(file), path_(view.name), n_(view.n_obs) {
    file_.group(path_);
    hash_.update(seed_text).update_le64(static_cast<std::uint64_t>(n_));
  }

  template <typename T>
  void data(const std::string& name, const std::vector<T>& values, std::vector<std::int64_t> shape) {
    file_.write(path_ + "/" + name, hdf5_type_of<T>(), shape, values.data());
    hash_.update(name).update_le64(values.size()).update(values.data(), values.size() * sizeof(T));
  }

  template <typename T>
  void column(const char* name, const std::vector<T>& values) {
    if (values.empty() && n_ > 0) return;
    if (static_cast<std::int64_t>(values.size()) != n_) {
      throw std::logic_error("column " + std::string(name) + " of view " + path_ + " has " +
                             std::to_string(values.size()) + " elements for " + std::to_string(n_) + " observations");
    }
    if (values.empty()) return;
    data(std::string("column_") + name, values, {n_});
  }

  /// Targets that stand in another file.
  void targets(std::int64_t first, const std::string& hash) {
    file_.attribute(path_, "target_first", first);
    hash_.update("target_first").update_le64(static_cast<std::uint64_t>(first)).update(hash);
  }

  void finish() {
    file_.attribute(path_, "n_obs", n_);
    file_.attribute(path_, "fingerprint", hash_.hex().substr(0, 32));
  }

 private:
  Hdf5Writer& file_;
  std::string path_;
  std::int64_t n_;
  Sha256 hash_;
};

void write_view(Hdf5Writer& file, const BundleView& view, std::int64_t n_targets, const std::string& seed_text,
                const std::string& targets_hash) {
  const std::pair<const char*, const Rows*> of_samples[] = {
      {"sample", &view.sample},           {"control", &view.control},
      {"reference", &view.reference},     {"reference_control", &view.reference_control},
      {"reference_b", &view.reference_b}, {"reference_b_control", &view.reference_b_control}};
  Table samples, drugs;
  for (const auto& [name, column] : of_samples) samples.add(*column);
  samples.seal();
  drugs.add(view.drug);
  drugs.add(view.drug_b);
  drugs.seal();

  ViewFile out(file, view, seed_text);
  if (std::any_of(std::begin(of_samples), std::end(of_samples), [](const auto& c) { return !c.second->empty(); }))
    out.data("sample_rows", samples.rows(), {static_cast<std::int64_t>(samples.rows().size())});
  if (!view.drug.empty() || !view.drug_b.empty())
    out.data("drug_rows", drugs.rows(), {static_cast<std::int64_t>(drugs.rows().size())});
  out.column("sample", samples.local(view.sample));
  out.column("drug", drugs.local(view.drug));
  out.column("drug_b", drugs.local(view.drug_b));
  for (const auto& [name, column] : of_samples)
    if (column != &view.sample) out.column(name, samples.local(*column));
  out.column("dose", view.dose);
  out.column("time", view.time);
  out.column("weight", view.weight);
  out.column("domain", view.domain);
  out.column("batch", view.batch);
  out.column("context", view.context);
  out.column("reference_context", view.reference_context);
  out.column("reference_b_context", view.reference_b_context);
  const auto cells = static_cast<std::size_t>(view.n_obs * n_targets);
  for (const auto& [name, size] : {std::pair{"target", view.target.size()}, {"target_mask", view.target_mask.size()}}) {
    if (size != 0 && size != cells) {
      throw std::logic_error(std::string(name) + " of view " + view.name + " has " + std::to_string(size) +
                             " elements, expected " + std::to_string(cells));
    }
  }
  if (view.target_first >= 0) out.targets(view.target_first, targets_hash);
  if (!view.target.empty()) out.data("target", view.target, {view.n_obs, n_targets});
  if (!view.target_mask.empty()) out.data("target_mask", view.target_mask, {view.n_obs, n_targets});
  out.finish();
}

// ---- one cell ----

Rows difference(const Rows& a, const Rows& b) {
  Rows out;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
  return out;
}

Rows united(const Rows& a, const Rows& b) {
  Rows out;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
  return out;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> known_of(const std::vector<std::string>& needed, const std::vector<std::string>& optional,
                                  const std::set<std::string>& present) {
  std::vector<std::string> names = needed;
  for (const auto& name : optional)
    if (present.count(name) > 0 && !contains(names, name)) names.push_back(name);
  return names;
}

/// Makes views of perturbation profiles, with the columns that the card asks for.
class ProfileSelector {
 public:
  ProfileSelector(const Plan& plan, const Card& card, const FoldProfiles& fold)
      : dataset_(*plan.dataset),
        p_(*plan.dataset->perturbations),
        domain_code_(domain_codes(*plan.dataset, plan.split->spec.source, plan.split->spec.target)),
        card_(card),
        fold_(fold) {}

  /// Rows [first, end) of the targets file.
  [[nodiscard]] BundleView labelled(const std::string& name, std::int64_t first, std::int64_t end) const {
    auto view = rows(name, Rows(fold_.targets.begin() + first, fold_.targets.begin() + end));
    view.target_first = first;
    return view;
  }

  [[nodiscard]] BundleView query(const std::string& name, const ProfileQuery& query) const {
    auto view = rows(name, query.row);
    const auto add = [&](const char* column, Rows& to, auto index) {
      if (!contains(card_.columns, column)) return;
      to.reserve(query.reference.size());
      for (const auto& reference : query.reference) to.push_back(index(reference));
    };
    add("reference", view.reference, [&](const Reference& r) { return entity(r.row_a); });
    add("reference_control", view.reference_control, [](const Reference& r) { return r.control_a; });
    add("reference_b", view.reference_b, [&](const Reference& r) { return entity(r.row_b); });
    add("reference_b_control", view.reference_b_control, [](const Reference& r) { return r.control_b; });
    const auto context = [&](std::int32_t row) { return row < 0 ? -1 : p_.context[static_cast<std::size_t>(row)]; };
    add("reference_context", view.reference_context, [&](const Reference& r) { return context(r.row_a); });
    add("reference_b_context", view.reference_b_context, [&](const Reference& r) { return context(r.row_b); });
    return view;
  }

 private:
  [[nodiscard]] BundleView rows(const std::string& name, const Rows& rows) const {
    BundleView view;
    view.name = name;
    view.n_obs = static_cast<std::int64_t>(rows.size());
    const auto add = [&](const char* column, auto& to, auto value) {
      if (!contains(card_.columns, column)) return;
      to.reserve(rows.size());
      for (const auto row : rows) to.push_back(value(static_cast<std::size_t>(row)));
    };
    for (const auto row : rows) view.drug.push_back(p_.drug[static_cast<std::size_t>(row)]);
    add("drug_b", view.drug_b, [&](std::size_t r) { return p_.drug_b[r]; });
    add("control", view.control, [&](std::size_t r) { return p_.control[r]; });
    add("dose", view.dose, [&](std::size_t r) { return p_.dose_log10_molar[r]; });
    add("time", view.time, [&](std::size_t r) { return p_.time_h[r]; });
    add("context", view.context, [&](std::size_t r) { return p_.context[r]; });
    add("domain", view.domain, [&](std::size_t r) {
      return domain_code_[static_cast<std::size_t>(dataset_.samples.domain[static_cast<std::size_t>(p_.control[r])])];
    });
    return view;
  }

  [[nodiscard]] std::int32_t entity(std::int32_t row) const {
    if (row < 0) return -1;
    const auto place = std::lower_bound(fold_.entities.begin(), fold_.entities.end(), row) - fold_.entities.begin();
    return static_cast<std::int32_t>(static_cast<std::int64_t>(dataset_.samples.id.size()) + place);
  }

  const Dataset& dataset_;
  const Dataset::Perturbations& p_;
  std::vector<std::int32_t> domain_code_;
  const Card& card_;
  const FoldProfiles& fold_;
};

/// Makes views of response rows.
class RowSelector {
 public:
  RowSelector(const Plan& plan, const Card& card)
      : dataset_(*plan.dataset),
        domain_code_(domain_codes(*plan.dataset, plan.split->spec.source, plan.split->spec.target)),
        with_domain_(contains(card.columns, "domain")) {}

  [[nodiscard]] BundleView rows(const std::string& name, const Rows& rows) const {
    BundleView view;
    view.name = name;
    view.n_obs = static_cast<std::int64_t>(rows.size());
    for (const auto row : rows) {
      const auto r = static_cast<std::size_t>(row);
      view.sample.push_back(dataset_.responses.sample[r]);
      view.drug.push_back(dataset_.responses.drug[r]);
      if (with_domain_) view.domain.push_back(domain_of(dataset_.responses.sample[r]));
    }
    return view;
  }

  [[nodiscard]] BundleView labelled(const std::string& name, const Rows& part, const std::vector<double>& y) const {
    auto view = rows(name, part);
    view.target.reserve(part.size());
    for (const auto row : part) {
      const double target = y[static_cast<std::size_t>(row)];
      if (!std::isfinite(target)) {
        throw DataError("record " + std::to_string(row) + " of data set " + dataset_.name +
                        " is a training row and has no value for this task");
      }
      view.target.push_back(static_cast<float>(target));
    }
    return view;
  }

  [[nodiscard]] BundleView pool(const Rows& samples) const {
    BundleView view;
    view.name = "unlabelled";
    view.n_obs = static_cast<std::int64_t>(samples.size());
    view.sample = samples;
    if (with_domain_)
      for (const auto sample : samples) view.domain.push_back(domain_of(sample));
    return view;
  }

 private:
  [[nodiscard]] std::int32_t domain_of(std::int32_t sample) const {
    return domain_code_[static_cast<std::size_t>(dataset_.samples.domain[static_cast<std::size_t>(sample)])];
  }

  const Dataset& dataset_;
  std::vector<std::int32_t> domain_code_;
  bool with_domain_;
};

Rows unique_of(Rows column) {
  std::sort(column.begin(), column.end());
  column.erase(std::unique(column.begin(), column.end()), column.end());
  return column;
}

bool has_missing(const FeatureBlock& block) {
  return block.kind == CDRZOO_BLOCK_DENSE &&
         std::any_of(block.parts.begin(), block.parts.end(), [](const auto& part) { return part.has_nan; });
}

Rows in_query_order(const Rows& rows, std::uint64_t seed) {
  Rows out;
  out.reserve(rows.size());
  for (const auto position : query_order(rows, seed)) out.push_back(rows[static_cast<std::size_t>(position)]);
  return out;
}

nlohmann::json typed_params(const std::vector<Param>& params) {
  static constexpr const char* kTypes[] = {"bool", "int", "real", "str", "int_list", "real_list"};
  nlohmann::json list = nlohmann::json::array();
  for (const auto& param : params)
    list.push_back({{"key", param.key}, {"type", kTypes[param.value.index()]}, {"value", to_json(param.value)}});
  return list;
}

/// How task.json names a file: relative to its folder where that is possible.
std::string path_from(const std::filesystem::path& folder, const std::filesystem::path& file) {
  const auto relative = file.lexically_relative(folder);
  return relative.empty() ? std::filesystem::absolute(file).string() : relative.string();
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw IoError("cannot write " + path.string() + ": " + std::strerror(errno));
}

/// Rows of one predict call; 0 = the whole query.
std::int64_t predict_rows(const Card& card, std::int64_t n_targets) {
  constexpr std::int64_t kOutputBytes = std::int64_t{64} << 20U;
  constexpr std::int64_t kBlock = 1024;  // what plugins batch by comes out whole
  if (card.transductive) return 0;
  const auto rows = kOutputBytes / (n_targets * static_cast<std::int64_t>(sizeof(float)));
  return std::max(rows / kBlock, std::int64_t{1}) * kBlock;
}

}  // namespace

std::filesystem::path write_entities(const std::filesystem::path& folder, const EntitiesContent& content) {
  auto path = folder / ("entities-" + content.hash + ".h5");
  if (std::filesystem::exists(path)) return path;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw IoError("cannot create " + folder.string() + ": " + error.message());
  Hdf5Writer file(path);
  file.attribute("/", "format", bundle::kEntitiesFormat);
  file.attribute("/", "version", bundle::kVersion);
  file.attribute("/", "hash", content.hash);
  write_axis(file, "/sample", content.n_samples, content.key_salt, content.sample_blocks, &content);
  write_axis(file, "/drug", content.n_drugs, content.key_salt, content.drug_blocks);
  if (content.n_genes > 0) write_axis(file, "/gene", content.n_genes, content.key_salt, {});
  file.commit(false);
  return path;
}

void write_views(const std::filesystem::path& path, const std::vector<BundleView>& views, std::int64_t n_targets,
                 const Transforms& transforms, const std::string& entities_hash, const std::string& targets_hash) {
  Hdf5Writer file(path);
  file.attribute("/", "format", bundle::kViewsFormat);
  const bool fitted = transforms.scaling || transforms.selection;
  file.attribute("/", "version",
                 !targets_hash.empty() ? bundle::kSharedTargetsVersion
                 : fitted              ? bundle::kFittedViewsVersion
                                       : bundle::kVersion);
  if (!targets_hash.empty()) file.attribute("/", "targets", targets_hash);
  file.attribute("/", "n_targets", n_targets);
  file.attribute("/", "entities", entities_hash);
  // What entity rows mean is part of what a view is: it seeds the fingerprints.
  Sha256 meaning;
  meaning.update(entities_hash);
  for (const auto& imputation : transforms.imputations) {
    const auto name = "/imputation/" + imputation.axis + "/" + imputation.block;
    const auto tables =
        static_cast<std::int64_t>(imputation.means.size()) / std::max<std::int64_t>(imputation.width, 1);
    file.group(name);
    file.write(name + "/means", Hdf5Type::f32, {tables, imputation.width}, imputation.means.data());
    file.write(name + "/table_of", imputation.table_of);
    meaning.update(name)
        .update(imputation.means.data(), imputation.means.size() * sizeof(float))
        .update(imputation.table_of.data(), imputation.table_of.size() * sizeof(std::int32_t));
  }
  const auto write = [&](const std::string& name, const auto& values, std::vector<std::int64_t> shape) {
    using T = typename std::decay_t<decltype(values)>::value_type;
    file.write(name, hdf5_type_of<T>(), shape, values.data());
    meaning.update(name).update(values.data(), values.size() * sizeof(T));
  };
  if (const auto& scaling = transforms.scaling) {
    const auto name = "/scaling/sample/" + scaling->block;
    const auto tables = static_cast<std::int64_t>(scaling->offset.size()) / std::max<std::int64_t>(scaling->width, 1);
    write(name + "/offset", scaling->offset, {tables, scaling->width});
    write(name + "/factor", scaling->factor, {tables, scaling->width});
    write(name + "/table_of", scaling->table_of, {static_cast<std::int64_t>(scaling->table_of.size())});
  }
  if (const auto& selection = transforms.selection) {
    write("/selection/sample/" + selection->block + "/columns", selection->columns,
          {static_cast<std::int64_t>(selection->columns.size())});
  }
  const auto seed_text = meaning.hex();
  for (const auto& view : views) write_view(file, view, n_targets, seed_text, targets_hash);
  file.commit(false);
}

BundleWriter::BundleWriter(const Plan& plan, const std::filesystem::path& folder) : plan_(&plan), folder_(folder) {
  if (plan.experiment->task != "expression") entities_ = make_entities({});
}

BundleWriter::File BundleWriter::make_entities(const std::vector<std::int32_t>& profile_rows) const {
  const auto& plan = *plan_;
  const auto& dataset = *plan.dataset;
  const bool expression = plan.experiment->task == "expression";
  const auto codes = domain_codes(dataset, plan.split->spec.source, plan.split->spec.target);
  const DomainBlock domain(dataset, codes);

  // Only what some model of the plan asks for.
  std::set<std::string> sample_names, drug_names;
  for (const auto& cell : plan.cells) {
    const auto& card = cell.model->card;
    for (const auto* names : {&card.sample_blocks, &card.optional_sample_blocks})
      sample_names.insert(names->begin(), names->end());
    for (const auto* names : {&card.drug_blocks, &card.optional_drug_blocks})
      drug_names.insert(names->begin(), names->end());
  }
  EntitiesContent content;
  content.n_samples = static_cast<std::int64_t>(dataset.samples.id.size());
  content.n_drugs = static_cast<std::int64_t>(dataset.drugs.id.size());
  // The run's id covers the plugin files, so no plugin can know its keys beforehand.
  content.key_salt = derive_seed(0, "keys/" + plan.run_id);
  Sha256 hash;
  hash.update(bundle::kEntitiesFormat).update_le64(static_cast<std::uint64_t>(bundle::kVersion));
  hash.update(dataset.file_hash()).update_le64(content.key_salt);
  for (const auto code : codes) hash.update_le64(static_cast<std::uint64_t>(code));
  if (expression) {
    content.n_genes = static_cast<std::int64_t>(dataset.genes.size());
    content.profiles = dataset.perturbations->profile;
    content.profile_rows = profile_rows;
    hash.update("profiles").update_le64(profile_rows.size());
    hash.update(profile_rows.data(), profile_rows.size() * sizeof(std::int32_t));
  }
  for (const auto& name : sample_names) {
    const auto* block = name == "domain" ? &domain.view() : dataset.sample_block(name);
    if (block == nullptr || (expression && !is_block_of_profiles(*block))) continue;
    content.sample_blocks.push_back(*block);
    hash.update("sample/" + name + "\n");
  }
  for (const auto& name : drug_names) {
    const auto* block = dataset.drug_block(name);
    if (block == nullptr) continue;
    content.drug_blocks.push_back(*block);
    hash.update("drug/" + name + "\n");
  }
  content.hash = hash.hex().substr(0, 16);
  return {write_entities(folder_, content), content.hash};
}

std::shared_ptr<const FoldProfiles> BundleWriter::profiles(const CellPlan& cell) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  auto& known = folds_[{cell.repeat, cell.fold}].profiles;
  if (!known) {
    known = std::make_shared<const FoldProfiles>(make_fold_profiles(*plan_, plan_->split->at(cell.repeat, cell.fold)));
  }
  return known;
}

BundleWriter::File BundleWriter::make_targets_file(const FoldProfiles& fold, bool sparse) const {
  Sha256 hash;
  hash.update(bundle::kTargetsFormat)
      .update_le64(static_cast<std::uint64_t>(sparse ? bundle::kSparseTargetsVersion : bundle::kVersion));
  hash.update(plan_->dataset->file_hash()).update(fold.shown.data(), fold.shown.size() * sizeof(std::int32_t));
  File file{{}, hash.hex().substr(0, 16)};
  file.path = folder_ / ("targets-" + file.hash + ".h5");
  if (!std::filesystem::exists(file.path)) write_targets(file.path, *plan_->dataset, fold, file.hash, sparse);
  return file;
}

BundleWriter::CellFiles BundleWriter::fold_files(const CellPlan& cell) const {
  const auto fold = profiles(cell);
  const bool sparse = gets_sparse_targets(cell.model->card, *plan_->dataset);
  const std::lock_guard<std::mutex> lock(mutex_);
  auto& files = folds_.at({cell.repeat, cell.fold});
  if (files.entities.path.empty()) files.entities = make_entities(fold->entities_shown);  // makes the folder
  auto& targets = sparse ? files.sparse_targets : files.targets;
  if (targets.path.empty()) targets = make_targets_file(*fold, sparse);
  return {fold, files.entities, targets};
}

void BundleWriter::drop_fold(int repeat, int fold) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = folds_.find({repeat, fold});
  if (found == folds_.end()) return;
  const auto used_elsewhere = [&](const File FoldFiles::*file) {
    return std::any_of(folds_.begin(), folds_.end(), [&](const auto& other) {
      return other.first != found->first && (other.second.*file).hash == (found->second.*file).hash;
    });
  };
  std::error_code ignored;  // what stays is removed with the folder
  for (const auto file : {&FoldFiles::entities, &FoldFiles::targets, &FoldFiles::sparse_targets}) {
    const auto& path = (found->second.*file).path;
    if (!path.empty() && !used_elsewhere(file)) std::filesystem::remove(path, ignored);
  }
  folds_.erase(found);
}

void BundleWriter::write_profiles_cell(const CellPlan& cell, const std::filesystem::path& cell_folder) const {
  const auto& dataset = *plan_->dataset;
  const auto& card = cell.model->card;
  const auto files = fold_files(cell);
  const auto& fold = *files.profiles;
  const ProfileSelector select(*plan_, card, fold);
  const auto end = static_cast<std::int64_t>(fold.targets.size());
  const bool stops_early = card.early_stopping && fold.n_early_stop > 0;
  const auto first = card.early_stopping ? fold.n_early_stop : 0;
  std::vector<BundleView> views = {select.labelled("train", first, fold.n_train)};
  if (stops_early) views.push_back(select.labelled("valid", 0, fold.n_early_stop));
  const auto query = profile_queries(cell, plan_->split->at(cell.repeat, cell.fold), fold);
  views.push_back(select.query("validation", query.validation));
  views.push_back(select.query("test", query.test));
  if (end > fold.n_train) views.push_back(select.labelled("refit", first, end));
  write_views(cell_folder / "views.h5", views, dataset.perturbations->profile.cols, {}, files.entities.hash,
              files.targets.hash);

  std::set<std::string> offered;
  for (const auto& block : dataset.samples.blocks)
    if (is_block_of_profiles(block)) offered.insert(block.name);
  std::vector<std::string> columns = {"drug"};
  columns.insert(columns.end(), card.columns.begin(), card.columns.end());
  write_task(cell, cell_folder, files.entities,
             {{"targets", path_from(cell_folder, files.targets.path)},
              {"problem",
               {{"task", "expression"},
                {"n_targets", dataset.perturbations->profile.cols},
                {"target_unit", target_unit_of(dataset, *plan_->split)}}},
              {"sample_blocks", known_of(card.sample_blocks, card.optional_sample_blocks, offered)},
              {"columns", columns}});
}

void BundleWriter::write_cell(const CellPlan& cell, const std::filesystem::path& cell_folder) const {
  const auto& experiment = *plan_->experiment;
  const auto& dataset = *plan_->dataset;
  const auto& card = cell.model->card;
  const auto& fold = plan_->split->at(cell.repeat, cell.fold);
  std::error_code error;
  std::filesystem::create_directories(cell_folder, error);
  if (error) throw IoError("cannot create " + cell_folder.string() + ": " + error.message());

  if (experiment.task == "expression") {
    write_profiles_cell(cell, cell_folder);
    return;
  }
  const auto y = shown_targets(experiment, *plan_->split, fold, make_targets(experiment, dataset, fold));
  const RowSelector select(*plan_, card);
  std::vector<BundleView> views;
  const bool stops_early = card.early_stopping && !fold.early_stop.empty();
  const auto train = training_rows(card, fold);
  views.push_back(select.labelled("train", train, y));
  const auto training_samples = unique_of(views.back().sample);
  const auto training_drugs = unique_of(views.back().drug);
  if (stops_early) views.push_back(select.labelled("valid", fold.early_stop, y));
  if (card.unlabelled_target != "no" && !fold.unlabelled_samples.empty())
    views.push_back(select.pool(fold.unlabelled_samples));
  const auto query = query_rows(cell, fold);
  views.push_back(select.rows("validation", query.validation));
  views.push_back(select.rows("test", query.test));
  if (experiment.refit == "train+val") {
    const auto all = difference(united(fold.train, fold.validation), stops_early ? fold.early_stop : Rows());
    if (all != train) views.push_back(select.labelled("refit", all, y));
  }

  const auto sample_blocks =
      known_of(card.sample_blocks, card.optional_sample_blocks, block_names(dataset.samples.blocks));
  Transforms transforms;
  auto& imputations = transforms.imputations;
  const bool fits = !dataset.fitted_steps.empty() && gets_expression(card);
  if (fits) {
    auto fitted = fit_expression(dataset, fit_samples(dataset, fold, train), plan_->split->spec.source);
    if (fitted.imputation && !card.accepts_missing) imputations.push_back(std::move(*fitted.imputation));
    transforms.scaling = std::move(fitted.scaling);
    transforms.selection = std::move(fitted.selection);
  }
  if (!card.accepts_missing) {
    for (const auto& name : sample_blocks) {
      const auto* block = dataset.sample_block(name);
      if (block == nullptr || !has_missing(*block) || (fits && name == "expression")) continue;
      imputations.push_back(training_means(*block, dataset.samples.domain, training_samples));
      imputations.back().axis = "sample";
    }
    for (const auto& name : known_of(card.drug_blocks, card.optional_drug_blocks, block_names(dataset.drugs.blocks))) {
      const auto* block = dataset.drug_block(name);
      if (block == nullptr || !has_missing(*block)) continue;
      imputations.push_back(training_means(*block, Rows(static_cast<std::size_t>(block->rows), 0), training_drugs));
      imputations.back().axis = "drug";
    }
  }
  write_views(cell_folder / "views.h5", views, 1, transforms, entities_.hash);
  std::vector<std::string> columns = {"sample", "drug"};
  if (contains(card.columns, "domain")) columns.emplace_back("domain");
  write_task(cell, cell_folder, entities_,
             {{"problem",
               {{"task", experiment.task},
                {"n_targets", 1},
                {"target_unit", experiment.task == "binary" ? "label" : dataset.responses.value_unit}}},
              {"sample_blocks", sample_blocks},
              {"columns", columns}});
}

void BundleWriter::write_task(const CellPlan& cell, const std::filesystem::path& cell_folder, const File& entities,
                              nlohmann::json task) const {
  const auto& experiment = *plan_->experiment;
  const auto& card = cell.model->card;
  nlohmann::json assets = nlohmann::json::object();
  for (const auto& asset : cell.assets) assets[asset.id] = {{"path", asset.path.string()}, {"sha256", asset.sha256}};
  task.update({{"format", bundle::kTaskFormat},
               {"version", bundle::kVersion},
               {"key", cell.key},
               {"plugin", cell.model->plugin.string()},
               {"plugin_hash", cell.model->plugin_hash},
               {"model", card.id},
               {"params", typed_params(cell.params)},
               {"entities", path_from(cell_folder, entities.path)},
               {"views", "views.h5"},
               {"drug_blocks",
                known_of(card.drug_blocks, card.optional_drug_blocks, block_names(plan_->dataset->drugs.blocks))},
               {"feature_names", card.feature_names},
               {"seed", operation_seed(cell)},
               {"threads", experiment.run.threads},
               {"device", cell.device},
               {"deadline_s", experiment.run.timeout_s},
               {"memory_mb", experiment.run.memory_mb},
               {"determinism", card.determinism == "bitwise"},
               {"predict_rows", predict_rows(card, task.at("problem").at("n_targets").get<std::int64_t>())},
               {"assets", assets},
               {"output", {{"save_model", experiment.run.save_models}}}});
  write_text(cell_folder / "task.json", task.dump(1) + "\n");
}

std::vector<std::int32_t> training_rows(const Card& card, const Fold& fold) {
  return card.early_stopping ? difference(fold.train, fold.early_stop) : fold.train;
}

bool gets_expression(const Card& card) {
  return contains(card.sample_blocks, "expression") || contains(card.optional_sample_blocks, "expression");
}

std::vector<std::int32_t> query_order(const std::vector<std::int32_t>& rows, std::uint64_t cell_seed) {
  return random_permutation(rows.size(), cell_seed);
}

QueryRows query_rows(const CellPlan& cell, const Fold& fold) {
  return {in_query_order(fold.validation, derive_seed(0, "query/validation/" + cell.key)),
          in_query_order(fold.test, derive_seed(0, "query/test/" + cell.key))};
}

}  // namespace cdrzoo
