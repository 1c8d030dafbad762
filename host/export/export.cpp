// SPDX-License-Identifier: Apache-2.0
#include "export/export.hpp"

#include <cdrzoo/abi.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/error.hpp"
#include "base/files.hpp"
#include "export/layouts.hpp"
#include "export/text_file.hpp"

namespace cdrzoo {
namespace fs = std::filesystem;
namespace {

/// A folder beside the target that takes its name when all is well and disappears otherwise.
class FolderInProgress {
 public:
  explicit FolderInProgress(fs::path target) : target_(std::move(target)) {
    if (!target_.has_filename()) target_ = target_.parent_path();  // "out/"
    std::error_code error;
    if (fs::exists(target_, error) && !(fs::is_directory(target_, error) && fs::is_empty(target_, error))) {
      throw UsageError("cannot write " + target_.string() + ": it exists and is " +
                       (fs::is_directory(target_) ? "not empty" : "no folder"));
    }
    if (target_.has_parent_path()) create_folders(target_.parent_path());
    std::string pattern = target_.string() + ".XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr)
      throw IoError("cannot write " + target_.string() + ": " + std::strerror(errno));
    path_ = pattern;
    const mode_t mask = ::umask(0);
    ::umask(mask);
    ::chmod(path_.c_str(), 0777 & ~mask);
  }
  FolderInProgress(const FolderInProgress&) = delete;
  FolderInProgress& operator=(const FolderInProgress&) = delete;
  ~FolderInProgress() {
    if (!finished_) remove_quietly(path_);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

  void finish() {
    sync_tree(path_);
    if (::rename(path_.c_str(), target_.c_str()) != 0)
      throw IoError("cannot write " + target_.string() + ": " + std::strerror(errno));
    finished_ = true;
  }
  /// The user knows the target, not the folder in progress.
  [[nodiscard]] std::string in_terms_of_target(std::string words) const {
    for (auto at = words.find(path_.string()); at != std::string::npos; at = words.find(path_.string()))
      words.replace(at, path_.string().size(), target_.string());
    return words;
  }

 private:
  fs::path target_, path_;
  bool finished_ = false;
};

void write_splits(const Dataset& dataset, const std::vector<NamedSplit>& splits, const fs::path& folder,
                  Sentences& said) {
  if (splits.empty()) return;
  create_folders(folder / "splits");
  for (const auto& split : splits) {
    write_split_csv(dataset, split.split, folder / "splits" / (split.name + ".csv"));
    write_split(split.split, folder / "splits" / (split.name + ".json"));
    said.push_back("split " + split.name + ": " + counted(split.split.folds.size(), "fold", "folds"));
  }
}

}  // namespace

ExportFormat export_format_of(const std::string& name) {
  if (name == "csv") return ExportFormat::csv;
  if (name == "h5ad") return ExportFormat::h5ad;
  if (name == "drevalpy") return ExportFormat::drevalpy;
  if (name == "improve") return ExportFormat::improve;
  throw UsageError("unknown format '" + name + "'; known: csv, h5ad, drevalpy, improve");
}

std::vector<std::string> export_dataset(const Dataset& dataset, ExportFormat format,
                                        const std::vector<NamedSplit>& splits, const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& split : splits) {
    if (!names.insert(split.name).second) throw UsageError("two splits are named '" + split.name + "'");
    if (split.split.of_perturbations) {
      throw UsageError("the split '" + split.name +
                       "' divides perturbation profiles, and the layouts of other programs divide records");
    }
    if (split.split.data_hash != dataset.data_hash()) {
      throw UsageError("the split '" + split.name + "' was made for another data set than " + dataset.path.string());
    }
  }
  FolderInProgress work(folder);
  Sentences said;
  try {
    switch (format) {
      case ExportFormat::csv: write_csv_layout(dataset, work.path(), said); break;
      case ExportFormat::h5ad: write_h5ad_layout(dataset, work.path(), said); break;
      case ExportFormat::drevalpy: write_drevalpy_layout(dataset, splits, work.path(), said); break;
      case ExportFormat::improve: write_improve_layout(dataset, splits, work.path(), said); break;
    }
    if (format == ExportFormat::csv || format == ExportFormat::h5ad) write_splits(dataset, splits, work.path(), said);
    work.finish();
  } catch (const IoError& e) {
    throw IoError(work.in_terms_of_target(e.what()));
  }
  for (auto& sentence : said) sentence = work.in_terms_of_target(sentence);
  return said;
}

std::string counted(std::size_t n, const std::string& one, const std::string& many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

std::vector<std::vector<std::size_t>> samples_by_domain(const Dataset& dataset) {
  std::vector<std::vector<std::size_t>> rows(dataset.domains.name.size());
  for (std::size_t i = 0; i < dataset.samples.id.size(); ++i)
    rows[static_cast<std::size_t>(dataset.samples.domain[i])].push_back(i);
  return rows;
}

std::size_t domain_of_record(const Dataset& dataset, std::size_t row) {
  return static_cast<std::size_t>(dataset.samples.domain[static_cast<std::size_t>(dataset.responses.sample[row])]);
}

const std::string& tissue_of(const Dataset& dataset, std::size_t sample) {
  static const std::string kUnknown;
  const auto tissue = dataset.samples.tissue[sample];
  return tissue < 0 ? kUnknown : dataset.tissues[static_cast<std::size_t>(tissue)];
}

std::string id_column(const Dataset& dataset, std::string wanted) {
  while (std::find(dataset.genes.begin(), dataset.genes.end(), wanted) != dataset.genes.end()) wanted += '_';
  return wanted;
}

std::vector<std::vector<bool>> folded_fingerprints(const Dataset& dataset, std::int64_t bits) {
  const FeatureBlock* morgan = dataset.drug_block("morgan");
  if (morgan == nullptr || morgan->kind != CDRZOO_BLOCK_DENSE || morgan->parts.front().dtype != CDRZOO_U8) return {};
  if (bits > morgan->width || morgan->width % bits != 0) return {};
  const auto* stored = static_cast<const std::uint8_t*>(morgan->parts.front().data);
  std::vector<std::vector<bool>> out(dataset.drugs.id.size());
  for (std::size_t j = 0; j < out.size(); ++j) {
    if (dataset.drugs.smiles[j].empty()) continue;
    out[j].assign(static_cast<std::size_t>(bits), false);
    for (std::int64_t i = 0; i < morgan->width; ++i) {
      if (stored[static_cast<std::int64_t>(j) * morgan->width + i] != 0)
        out[j][static_cast<std::size_t>(i % bits)] = true;
    }
  }
  return out;
}

void say_what_is_left_out(const Dataset& dataset, const std::string& layout, Sentences& said) {
  const std::string no_place = ": " + layout + " has no place for them";
  if (dataset.perturbations) {
    said.push_back(counted(static_cast<std::size_t>(dataset.perturbations->size()), "perturbation profile is",
                           "perturbation profiles are") +
                   " not written" + no_place);
  }
  if (!dataset.fitted_steps.empty()) {
    said.push_back("expression is written as stored; " +
                   counted(dataset.fitted_steps.size(), "step that cdrzoo fits in each fold is",
                           "steps that cdrzoo fits in each fold are") +
                   " not applied");
  }
  if (dataset.samples.group != dataset.samples.id) {
    said.push_back("groups of samples (patients with several samples) are not written" + no_place);
  }
  for (const auto& caveat : dataset.caveats) said.push_back("caveat: " + caveat);
}

}  // namespace cdrzoo
