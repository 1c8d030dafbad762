// SPDX-License-Identifier: Apache-2.0
#include "import/drug_table.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "base/error.hpp"
#include "chem/inchikey.hpp"
#include "chem/molecule.hpp"
#include "import/drug_structures.hpp"

namespace cdrzoo {
namespace {

std::vector<std::string> parts_of(const std::string& list, char separator) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(separator, at), list.size());
    const std::size_t first = list.find_first_not_of(' ', at);
    if (first < end) parts.push_back(list.substr(first, end - first));
    at = end + 1;
  }
  return parts;
}

/// What a name of this kind is compared by; empty = it is none of this kind.
std::string key_of(const std::string& match, const std::string& name) {
  std::string reason;
  if (match == "pubchem") return name_key(NameRule::number, name);
  if (match == "inchikey") return connectivity_of_inchikey(name, &reason).value_or("");
  if (match == "structure") {
    const auto molecule = read_molecule(name, &reason);
    return molecule ? molecule->identity : "";
  }
  return name;
}

}  // namespace

void DrugTable::add(const std::string& id, const std::string& name, const std::string& smiles, Names names) {
  out_->drug_id.push_back(id);
  out_->drug_name.push_back(name);
  out_->drug_smiles.push_back(smiles);
  names_.push_back(std::move(names));
}

void DrugTable::read() {
  const Recipe::Drugs& rule = recipe_->drugs;
  if (rule.file.empty()) return;
  FilteredTable source = files_->open(rule);
  Table& table = source.table();
  const std::size_t id = table.column(rule.id);
  const std::size_t name = rule.name.empty() ? id : table.column(rule.name);
  const std::size_t smiles = source.optional_column(rule.smiles);
  const std::size_t inchikey = source.optional_column(rule.inchikey);
  const std::size_t pubchem = source.optional_column(rule.pubchem);
  const std::size_t synonyms = source.optional_column(rule.synonyms);
  const std::size_t group = source.optional_column(rule.group);
  std::unordered_map<std::string, std::int64_t> line_of;
  while (source.next()) {
    const auto [known, fresh] = line_of.emplace(source.id(id), table.line());
    if (!fresh)
      table.wrong(id, "'" + known->first + "' is there twice, first on line " + std::to_string(known->second));
    Names names;
    if (const std::string& key = source.clean(inchikey); !key.empty()) {
      std::string reason;
      const auto block = connectivity_of_inchikey(key, &reason);
      if (!block) table.wrong(inchikey, excerpt(key) + " is no InChIKey: " + reason);
      names.inchikey = *block;
    }
    if (const std::string& number = source.clean(pubchem); !number.empty()) {
      names.pubchem = name_key(NameRule::number, number);
      if (names.pubchem.empty()) report_->lose(rule.file, "PubChem id", number, "not a number");
    }
    names.synonyms = parts_of(source.clean(synonyms), '|');
    if (group != FilteredTable::kNone) names.group = source.id(group);
    add(table.field(id), source.clean(name), source.clean(smiles), std::move(names));
  }
  if (names_.empty()) throw DataError(table.path().string() + " has no row of a drug");
  report_->say("drugs: " + std::to_string(names_.size()) + " from " + rule.file +
               (source.filtered() > 0 ? ", the recipe's filter left out " + std::to_string(source.filtered()) : ""));
}

std::unordered_map<std::string, NameMatcher::Match> DrugTable::match(const std::string& match,
                                                                     const std::vector<std::string>& asked) {
  NameMatcher matcher(match == "name" ? NameRule::name : NameRule::exact);
  const auto know = [&](std::size_t i) {
    const auto index = static_cast<std::int32_t>(i);
    if (match == "pubchem") return matcher.know(names_[i].pubchem, index);
    if (match == "inchikey") return matcher.know(names_[i].inchikey, index);
    if (match == "structure") return matcher.know(key_of(match, out_->drug_smiles[i]), index);
    matcher.know(out_->drug_id[i], index);
    if (match == "id") return;
    matcher.know(out_->drug_name[i], index);
    for (const auto& synonym : names_[i].synonyms) matcher.know(synonym, index);
  };
  for (std::size_t i = 0; i < names_.size(); ++i) know(i);

  std::unordered_map<std::string, std::string> key;  // of each name asked for
  std::vector<std::string> keys;
  for (const auto& name : asked) {
    key[name] = key_of(match, name);
    if (!key[name].empty()) keys.push_back(key[name]);
  }
  if (recipe_->drugs.from_responses) {
    const auto known = matcher.match(keys);
    std::set<std::string> added;
    for (const auto& name : asked) {
      const std::string& own = key[name];
      if (own.empty() || known.at(own).outcome != NameMatcher::Outcome::unknown || !added.insert(own).second) continue;
      Names names;
      if (match == "pubchem") names.pubchem = own;
      if (match == "inchikey") names.inchikey = own;
      add(own, name, match == "structure" ? name : "", std::move(names));
      matcher.know(own, static_cast<std::int32_t>(names_.size() - 1));
    }
  }
  const auto by_key = matcher.match(keys);
  std::unordered_map<std::string, NameMatcher::Match> out;
  for (const auto& name : asked) {
    const auto found = by_key.find(key[name]);
    out[name] = found == by_key.end() ? NameMatcher::Match{} : found->second;
  }
  return out;
}

std::string DrugTable::id_by_name(const std::string& name) {
  const auto found = match("name", {name}).at(name);
  return found.index < 0 ? name : out_->drug_id[static_cast<std::size_t>(found.index)];
}

void DrugTable::finish() {
  // Perturbations have added drugs of their own.
  names_.resize(out_->drug_id.size());
  if (out_->drug_id.empty()) return;
  if (!recipe_->drugs.keep_unused) drop_unused();
  derive();
  unite();
}

void DrugTable::drop_unused() {
  const std::size_t drugs = out_->drug_id.size();
  std::vector<bool> used(drugs, false);
  const auto use = [&used](std::int32_t drug) {
    if (drug >= 0) used[static_cast<std::size_t>(drug)] = true;
  };
  for (const auto& r : out_->responses) use(r.drug);
  for (const auto& p : out_->perturbations) {
    use(p.drug);
    use(p.drug_b);
  }
  std::vector<std::int32_t> place(drugs, -1);
  std::size_t kept = 0;
  for (std::size_t j = 0; j < drugs; ++j) {
    if (!used[j]) {
      report_->lose(recipe_->drugs.file, "drug", out_->drug_id[j], "no record");
      continue;
    }
    place[j] = static_cast<std::int32_t>(kept);
    if (kept != j) {
      out_->drug_id[kept] = std::move(out_->drug_id[j]);
      out_->drug_name[kept] = std::move(out_->drug_name[j]);
      out_->drug_smiles[kept] = std::move(out_->drug_smiles[j]);
      names_[kept] = std::move(names_[j]);
    }
    ++kept;
  }
  if (kept == drugs) return;
  report_->say("drugs: dropped " + std::to_string(drugs - kept) + " without a record, " + std::to_string(kept) +
               " stay");
  out_->drug_id.resize(kept);
  out_->drug_name.resize(kept);
  out_->drug_smiles.resize(kept);
  names_.resize(kept);
  for (auto& r : out_->responses) r.drug = place[static_cast<std::size_t>(r.drug)];
  for (auto& p : out_->perturbations) {
    p.drug = place[static_cast<std::size_t>(p.drug)];
    if (p.drug_b >= 0) p.drug_b = place[static_cast<std::size_t>(p.drug_b)];
  }
}

void DrugTable::derive() {
  StructureOptions options;
  if (!recipe_->drugs.features.empty()) options.features = recipe_->drugs.features;
  const StructureReport report = derive_structures(*out_, options);
  std::string sentence =
      "structures: " + std::to_string(report.known) + " of " + std::to_string(out_->drug_id.size()) + " drugs";
  if (report.absent > 0) sentence += ", " + std::to_string(report.absent) + " have no SMILES";
  if (report.synonyms > 0) {
    sentence += ", " + count_of(static_cast<std::size_t>(report.synonyms), "drug shares", "drugs share") +
                " the structure and so the group of an earlier one";
  }
  report_->say(sentence);
  for (const auto& form : report.salt_forms) {
    report_->say("structures: " + form.drug + " and " + form.other +
                 " share their largest fragment (a salt and its base, say) and stay different groups");
  }
  for (const auto& drug : report.without_conformer) {
    report_->say("structures: the distances of " + drug.drug + " are not those of a conformer (" + drug.reason +
                 "): " + drug.smiles);
  }
  for (const auto& invalid : report.invalid) {
    report_->say("structures: the SMILES of " + invalid.drug + " is not used (" + invalid.reason +
                 "): " + invalid.smiles);
    report_->lose(recipe_->drugs.file, "structure", invalid.drug, invalid.reason);
  }
}

void DrugTable::unite() {
  const std::size_t drugs = out_->drug_id.size();
  std::vector<std::size_t> root(drugs);
  std::iota(root.begin(), root.end(), std::size_t{0});
  const std::function<std::size_t(std::size_t)> find = [&](std::size_t i) {
    return root[i] == i ? i : root[i] = find(root[i]);
  };
  std::size_t united = 0;
  std::map<std::string, std::size_t> first;
  const auto unite_by = [&](const std::string& key, std::size_t i) {
    const auto [known, fresh] = first.emplace(key, i);
    if (fresh) return;
    const std::size_t a = find(known->second);
    const std::size_t b = find(i);
    if (a == b) return;
    root[std::max(a, b)] = std::min(a, b);
    ++united;
  };
  for (std::size_t i = 0; i < drugs; ++i) unite_by("structure " + out_->drug_group[i], i);
  united = 0;  // derive() has said that
  for (std::size_t i = 0; i < drugs; ++i) {
    if (!names_[i].inchikey.empty()) unite_by("inchikey " + names_[i].inchikey, i);
    if (!names_[i].pubchem.empty()) unite_by("pubchem " + names_[i].pubchem, i);
  }
  for (std::size_t i = 0; i < drugs; ++i) out_->drug_group[i] = out_->drug_group[find(i)];
  for (std::size_t i = 0; i < drugs; ++i) {
    if (!names_[i].group.empty()) out_->drug_group[i] = names_[i].group;
  }
  if (united > 0) {
    report_->say("drugs: " + count_of(united, "drug is", "drugs are") +
                 " in the group of another with the same InChIKey connectivity or PubChem id");
  }
}

}  // namespace cdrzoo
