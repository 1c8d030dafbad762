// SPDX-License-Identifier: Apache-2.0
#include "run/profiles.hpp"

#include <algorithm>
#include <cdrzoo/plugin.hpp>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>

#include "base/error.hpp"
#include "host/run/profiles_fixture.hpp"
#include "run/bundle.hpp"
#include "run/runner.hpp"
#include "support/catch.hpp"
#include "worker/bundle_reader.hpp"

using namespace cdrzoo;
using namespace cdrzoo::test;
using Rows = std::vector<std::int32_t>;

namespace {

const std::string kAllColumns =
    R"("control","drug_b","dose","time","context","reference","reference_control","reference_b","reference_b_control",)"
    R"("reference_context","reference_b_context")";

std::string card(const std::string& columns, const std::string& more_needs = "", const std::string& traits = "",
                 const std::string& id = "test.model") {
  return R"({"card":1,"id":")" + id + R"(","version":"1.0.0","title":"t","licence":"Apache-2.0",
    "tasks":["expression"],"needs":{"samples":["expression"],"columns":[)" +
         columns + "]" + more_needs + R"(},"traits":{)" + traits + "}}";
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string bytes_below(const std::filesystem::path& folder) {
  std::string all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) all += read_text(entry.path());
  return all;
}

std::string bytes_of(const float* values, std::int64_t count) {
  return {reinterpret_cast<const char*>(values), static_cast<std::size_t>(count) * sizeof(float)};
}

const cdrzoo_entities* entities_of(const cdrzoo_view& view, std::int32_t axis) {
  for (std::uint64_t i = 0; i < view.entities.count; ++i) {
    const auto* entities = CDRZOO_AT(view.entities, cdrzoo_entities, i);
    if (entities->axis == axis) return entities;
  }
  return nullptr;
}

template <typename T>
std::vector<T> values(const cdrzoo_array& array) {
  std::vector<T> out(array.bytes / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), array.data, array.bytes);
  return out;
}

/// Empty if the view has no such column.
Rows column_of(const cdrzoo_view& view, std::int32_t role) {
  for (std::uint64_t i = 0; i < view.columns.count; ++i) {
    const auto* column = CDRZOO_AT(view.columns, cdrzoo_column, i);
    if (column->role == role) return values<std::int32_t>(column->array);
  }
  return {};
}

/// Rows of the block "expression" of the samples.
std::vector<std::vector<float>> expression_of(const cdrzoo_view& view) {
  const auto* samples = entities_of(view, CDRZOO_AXIS_SAMPLE);
  REQUIRE(samples != nullptr);
  const auto& array = CDRZOO_AT(CDRZOO_AT(samples->blocks, cdrzoo_block, 0)->parts, cdrzoo_part, 0)->array;
  const auto all = values<float>(array);
  std::vector<std::vector<float>> rows;
  for (std::int64_t s = 0; s < samples->count; ++s)
    rows.emplace_back(all.begin() + s * array.shape[1], all.begin() + (s + 1) * array.shape[1]);
  return rows;
}

/// Every second value is 0, and the file stores what is not.
DatasetContent sparse_content(int cells) {
  auto content = screen_content(cells);
  content.sparse_profile.emplace();
  std::vector<float> row(kScreenGenes);
  for (std::size_t i = 0; i * kScreenGenes < content.perturbation_profile.size(); ++i) {
    for (std::size_t g = 0; g < kScreenGenes; ++g)
      row[g] = (i + g) % 2 == 0 ? 0 : content.perturbation_profile[i * kScreenGenes + g];
    content.sparse_profile->append(row.data(), kScreenGenes);
  }
  content.perturbation_profile.clear();
  return content;
}

/// The targets of a labelled view, however they are stored.
std::multiset<std::vector<float>> shown_rows(const cdrzoo_view& view) {
  const sdk::TargetRows rows = sdk::View(&view).target_rows();
  std::multiset<std::vector<float>> shown;
  std::vector<float> row(static_cast<std::size_t>(rows.cols()));
  for (std::int64_t i = 0; i < rows.rows(); ++i) {
    rows.copy_row(i, row.data());
    shown.insert(row);
  }
  return shown;
}

/// The first cell of a plan as a bundle, and its reader.
struct Written {
  const Screen& screen;
  Plan plan;
  BundleWriter writer;
  worker::Task task;
  worker::Bundle reader;

  explicit Written(const Screen& s)
      : screen(s), plan(s.plan()), writer(plan, s.folder / "bundle"), task(write()), reader(task) {}

  [[nodiscard]] const Fold& fold() const { return screen.split.at(plan.cells[0].repeat, plan.cells[0].fold); }
  [[nodiscard]] std::vector<float> profile(std::int32_t row) const {
    const auto& matrix = screen.dataset.perturbations->profile.dense();
    return {matrix.row(row), matrix.row(row) + matrix.cols};
  }

 private:
  worker::Task write() const {
    writer.write_cell(plan.cells[0], screen.folder / "bundle" / "cell");
    return worker::Task::read(screen.folder / "bundle" / "cell" / "task.json");
  }
};

}  // namespace

TEST_CASE("Predictions of a row are averaged over its references, without those that were declined") {
  const std::vector<float> mean = {1, 2, 5, 6, 100, 200, 7, 8, 9, 9};
  ProfileQuery query;
  query.row = {4, 4, 4, 1, 3};
  Reference here, elsewhere, none;
  here.row_a = 0;
  here.in_context = true;
  elsewhere.row_a = 2;
  query.reference = {elsewhere, elsewhere, here, none, elsewhere};
  const auto prediction = [](const AveragedProfiles& of, std::size_t i) {
    std::vector<float> scratch;
    const float* values = of.prediction(i, scratch);
    return std::vector<float>(values, values + 2);
  };
  const RawProfilePart answers{{mean.data(), 5, 2}, {0, 0, 1, 0, 2}};
  const AveragedProfiles averaged(query, answers);
  CHECK(averaged.row == Rows{1, 3, 4});
  CHECK(averaged.status == Rows{0, 2, 0});
  CHECK(averaged.n_references == Rows{0, 1, 3});
  CHECK(averaged.in_context == Rows{0, 0, 1});
  CHECK(prediction(averaged, 0) == std::vector<float>{7, 8});
  CHECK(prediction(averaged, 2) == std::vector<float>{3, 4});

  SECTION("and a model without references has one answer per row") {
    query.reference.clear();
    query.row = {4, 2, 0, 1, 3};
    const RawProfilePart all{{mean.data(), 5, 2}, {0, 0, 0, 0, 0}};
    const AveragedProfiles alone(query, all);
    CHECK(alone.row == Rows{0, 1, 2, 3, 4});
    CHECK(alone.n_references.empty());
    std::vector<float> rows;
    for (std::size_t i = 0; i < 5; ++i) {
      for (const float value : prediction(alone, i)) rows.push_back(value);
    }
    CHECK(rows == std::vector<float>{100, 200, 7, 8, 5, 6, 9, 9, 1, 2});
  }
}

TEST_CASE("The bundle of a perturbation cell holds no profile of a test or validation row") {
  const std::string kind = GENERATE("unseen_context", "unseen_perturbation", "unseen_pair");
  CAPTURE(kind);
  Screen screen(screen_content(3), kind);
  screen.add(card(kAllColumns, R"(,"early_stopping":true)"));
  const Written bundle(screen);
  const auto all = bytes_below(screen.folder / "bundle");
  const auto& profile = screen.dataset.perturbations->profile.dense();
  const auto is_there = [&](std::int32_t row) {
    return all.find(bytes_of(profile.row(row), profile.cols)) != std::string::npos;
  };
  for (const auto row : bundle.fold().test) CHECK_FALSE(is_there(row));
  for (const auto row : bundle.fold().validation) CHECK_FALSE(is_there(row));
  for (const auto row : bundle.fold().train) CHECK(is_there(row));
  for (const auto name : {"validation", "test"}) {
    if (bundle.reader.view(name)->n_obs() == 0) continue;
    CHECK((bundle.reader.view(name)->abi().flags & CDRZOO_VIEW_LABELLED) == 0U);
    CHECK(bundle.reader.view(name)->abi().target.data == nullptr);
  }
}

TEST_CASE("Training views show measured profiles with what was done, and no references") {
  Screen screen(screen_content(2));
  screen.add(card(kAllColumns, R"(,"early_stopping":true)"));
  const Written bundle(screen);
  const auto& p = *screen.dataset.perturbations;
  const auto& fold = bundle.fold();
  std::multiset<std::vector<float>> shown, expected;
  std::int64_t n_obs = 0;
  for (const std::string name : {"train", "valid"}) {
    if (!bundle.reader.has_view(name)) continue;
    const auto view = bundle.reader.view(name);
    const auto& abi = view->abi();
    n_obs += view->n_obs();
    CHECK((abi.flags & CDRZOO_VIEW_LABELLED) != 0U);
    REQUIRE(abi.target.shape[1] == kScreenGenes);
    CHECK(column_of(abi, CDRZOO_COLUMN_SAMPLE).empty());
    CHECK(column_of(abi, CDRZOO_COLUMN_REFERENCE).empty());
    const auto control = column_of(abi, CDRZOO_COLUMN_CONTROL);
    const auto context = column_of(abi, CDRZOO_COLUMN_CONTEXT);
    const auto samples = expression_of(abi);
    const auto target = values<float>(abi.target);
    for (std::int64_t i = 0; i < view->n_obs(); ++i) {
      const auto row = static_cast<std::size_t>(i);
      shown.insert({target.begin() + i * kScreenGenes, target.begin() + (i + 1) * kScreenGenes});
      CHECK(samples[static_cast<std::size_t>(control[row])][0] == control_value(context[row], 0));
      CHECK(target[static_cast<std::size_t>(i * kScreenGenes)] >= control_value(context[row], 0));
    }
    CHECK(entities_of(abi, CDRZOO_AXIS_GENE)->count == kScreenGenes);
  }
  for (const auto row : fold.train) expected.insert(bundle.profile(row));
  CHECK(n_obs == static_cast<std::int64_t>(fold.train.size()));
  CHECK(shown == expected);
  CHECK(bundle.reader.problem().n_targets == kScreenGenes);
  CHECK(bundle.reader.problem().task == CDRZOO_TASK_EXPRESSION);
  CHECK(p.size() == 40);
}

TEST_CASE("Queries hold one observation per reference, which is a measured profile of the same perturbation") {
  Screen screen(screen_content(1, true));
  screen.experiment.split.references = 3;
  screen.split = make_split(screen.dataset, screen.experiment.split, usable_rows(screen.experiment, screen.dataset));
  screen.add(card(kAllColumns));
  const Written bundle(screen);
  const auto view = bundle.reader.view("test");
  const auto& abi = view->abi();
  const auto& p = *screen.dataset.perturbations;
  const auto query =
      profile_queries(bundle.plan.cells[0], bundle.fold(), *bundle.writer.profiles(bundle.plan.cells[0]));
  REQUIRE(view->n_obs() == static_cast<std::int64_t>(query.test.row.size()));
  CHECK(query.test.row.size() > bundle.fold().test.size());
  const auto samples = expression_of(abi);
  const auto drug = column_of(abi, CDRZOO_COLUMN_DRUG);
  const auto reference = column_of(abi, CDRZOO_COLUMN_REFERENCE);
  const auto of_reference = column_of(abi, CDRZOO_COLUMN_REFERENCE_CONTROL);
  const auto reference_b = column_of(abi, CDRZOO_COLUMN_REFERENCE_B);
  const auto context = column_of(abi, CDRZOO_COLUMN_CONTEXT);
  const auto reference_context = column_of(abi, CDRZOO_COLUMN_REFERENCE_CONTEXT);
  const auto reference_b_context = column_of(abi, CDRZOO_COLUMN_REFERENCE_B_CONTEXT);
  const auto control = column_of(abi, CDRZOO_COLUMN_CONTROL);
  for (std::size_t i = 0; i < query.test.row.size(); ++i) {
    const auto row = static_cast<std::size_t>(query.test.row[i]);
    CHECK(context[i] == p.context[row]);
    CHECK(samples[static_cast<std::size_t>(control[i])][1] == control_value(p.context[row], 1));
    const auto& expected = query.test.reference[i];
    REQUIRE(expected.row_a >= 0);
    CHECK(samples[static_cast<std::size_t>(reference[i])] == bundle.profile(expected.row_a));
    CHECK(p.drug[static_cast<std::size_t>(expected.row_a)] == p.drug[row]);
    CHECK(samples[static_cast<std::size_t>(of_reference[i])][0] ==
          control_value(p.context[static_cast<std::size_t>(expected.row_a)], 0));
    CHECK(reference_context[i] == p.context[static_cast<std::size_t>(expected.row_a)]);
    CHECK((reference_b[i] >= 0) == (p.drug_b[row] >= 0));
    CHECK(reference_b_context[i] == (expected.row_b < 0 ? -1 : p.context[static_cast<std::size_t>(expected.row_b)]));
    if (reference_b[i] >= 0) {
      CHECK(samples[static_cast<std::size_t>(reference_b[i])] == bundle.profile(expected.row_b));
    }
    const auto& train = bundle.fold().train;
    CHECK(std::binary_search(train.begin(), train.end(), expected.row_a));
  }
}

TEST_CASE("Targets of a fold are one file for all its models, mapped where they lie") {
  Screen screen(screen_content(2));
  screen.add(card(kAllColumns));
  screen.add(card(R"("control","drug_b")", R"(,"early_stopping":true)", "", "test.other"));
  screen.experiment.refit = GENERATE("train", "train+val");
  const auto plan = screen.plan();
  const BundleWriter writer(plan, screen.folder / "bundle");
  std::set<std::filesystem::path> targets;
  for (const auto& cell : plan.cells) {
    if (cell.fold != 0) continue;
    const auto folder = screen.folder / "bundle" / cell.key;
    writer.write_cell(cell, folder);
    const auto task = worker::Task::read(folder / "task.json");
    targets.insert(task.targets);
    const worker::Bundle reader(task);
    const auto& fold = screen.split.at(0, 0);
    std::multiset<std::vector<float>> expected;
    const auto rows = cell.model->card.early_stopping ? training_rows(cell.model->card, fold) : fold.train;
    const auto& profile = screen.dataset.perturbations->profile.dense();
    for (const auto row : rows) expected.insert({profile.row(row), profile.row(row) + profile.cols});
    const auto shown_in = [&](const std::string& view) {
      const auto made = reader.view(view);
      const auto all = values<float>(made->abi().target);
      std::multiset<std::vector<float>> shown;
      for (std::size_t i = 0; i < all.size(); i += kScreenGenes)
        shown.insert({all.begin() + static_cast<std::ptrdiff_t>(i),
                      all.begin() + static_cast<std::ptrdiff_t>(i) + kScreenGenes});
      return shown;
    };
    CHECK(shown_in("train") == expected);
    CHECK(reader.has_view("refit") == (screen.experiment.refit == "train+val" && !fold.validation.empty()));
    if (!reader.has_view("refit")) continue;
    for (const auto row : fold.validation) expected.insert({profile.row(row), profile.row(row) + profile.cols});
    CHECK(shown_in("refit") == expected);
  }
  CHECK(targets.size() == 1);
  CHECK(std::filesystem::exists(*targets.begin()));
  writer.drop_fold(0, 0);
  CHECK_FALSE(std::filesystem::exists(*targets.begin()));
}

TEST_CASE("Sparse profiles stay sparse for the models that read them so, and others get dense ones") {
  Screen screen(sparse_content(2), "unseen_pair");
  REQUIRE(screen.dataset.perturbations->profile.is_sparse());
  screen.add(card(kAllColumns, R"(,"early_stopping":true)", R"("accepts_sparse_targets":true)", "test.sparse"));
  screen.add(card(kAllColumns, R"(,"early_stopping":true)", "", "test.dense"));
  screen.experiment.refit = "train+val";
  const auto plan = screen.plan();
  const BundleWriter writer(plan, screen.folder / "bundle");
  const auto& fold = screen.split.at(0, 0);
  const auto of = [&](const Rows& rows) {
    std::multiset<std::vector<float>> expected;
    std::vector<float> scratch(kScreenGenes);
    for (const auto row : rows) {
      screen.dataset.perturbations->profile.copy_row(row, scratch.data());
      expected.insert(scratch);
    }
    return expected;
  };
  std::map<std::string, std::filesystem::path> targets;
  for (const auto& cell : plan.cells) {
    if (cell.fold != 0) continue;
    const auto& id = cell.model->card.id;
    const auto folder = screen.folder / "bundle" / id;
    writer.write_cell(cell, folder);
    const auto task = worker::Task::read(folder / "task.json");
    targets[id] = task.targets;
    const worker::Bundle reader(task);
    for (const std::string name : {"train", "valid", "refit"}) {
      CAPTURE(id, name);
      if (!reader.has_view(name)) continue;
      const auto view = reader.view(name);
      CHECK((view->abi().flags & CDRZOO_VIEW_LABELLED) != 0U);
      CHECK((view->abi().target.data == nullptr) == (id == "test.sparse"));
      CHECK(sdk::View(&view->abi()).target_rows().is_sparse() == (id == "test.sparse"));
    }
    auto all = of(training_rows(cell.model->card, fold));
    CHECK(shown_rows(reader.view("train")->abi()) == all);
    if (reader.has_view("valid")) CHECK(shown_rows(reader.view("valid")->abi()) == of(fold.early_stop));
    REQUIRE(reader.has_view("refit"));
    all.merge(of(fold.validation));
    CHECK(shown_rows(reader.view("refit")->abi()) == all);
  }
  REQUIRE(targets.size() == 2);
  CHECK(targets["test.sparse"] != targets["test.dense"]);

  SECTION("the same plan gives the same bytes, and only what a cell needs is written") {
    const BundleWriter again(plan, screen.folder / "again");
    const auto& cell = *std::find_if(plan.cells.begin(), plan.cells.end(),
                                     [](const auto& c) { return c.model->card.id == "test.sparse" && c.fold == 0; });
    again.write_cell(cell, screen.folder / "again" / "cell");
    const auto path = screen.folder / "again" / targets["test.sparse"].filename();
    REQUIRE(std::filesystem::exists(path));
    CHECK(read_text(path) == read_text(targets["test.sparse"]));
    CHECK_FALSE(std::filesystem::exists(screen.folder / "again" / targets["test.dense"].filename()));
  }
  SECTION("after the fold both files go") {
    writer.drop_fold(0, 0);
    for (const auto& [id, path] : targets) CHECK_FALSE(std::filesystem::exists(path));
  }
  SECTION("a targets file of which a view names more rows than there are is refused") {
    auto fewer = *writer.profiles(plan.cells[0]);
    fewer.shown.pop_back();
    auto task = worker::Task::read(screen.folder / "bundle" / "test.sparse" / "task.json");
    const auto hash = task.targets.stem().string().substr(std::strlen("targets-"));
    task.targets = screen.folder / "bundle" / "fewer.h5";
    write_targets(task.targets, screen.dataset, fewer, hash, true);
    CHECK_THROWS_WITH(worker::Bundle(task).view("refit"), contains("are not in the targets file"));
  }
}

TEST_CASE("A query in pieces shows what the whole query shows, with the entities that each piece refers to") {
  Screen screen(screen_content(2, true));
  screen.experiment.split.references = 3;
  screen.split = make_split(screen.dataset, screen.experiment.split, usable_rows(screen.experiment, screen.dataset));
  screen.add(card(kAllColumns));
  const Written bundle(screen);
  constexpr std::int32_t kOfSamples[] = {CDRZOO_COLUMN_CONTROL, CDRZOO_COLUMN_REFERENCE,
                                         CDRZOO_COLUMN_REFERENCE_CONTROL, CDRZOO_COLUMN_REFERENCE_B,
                                         CDRZOO_COLUMN_REFERENCE_B_CONTROL};
  // What each observation is, told by what it refers to and not by indices.
  const auto told = [&](const cdrzoo_view& view) {
    std::vector<std::vector<double>> rows(static_cast<std::size_t>(view.n_obs));
    const auto samples = expression_of(view);
    const auto keys = values<std::int64_t>(entities_of(view, CDRZOO_AXIS_SAMPLE)->key);
    const auto drugs = values<std::int64_t>(entities_of(view, CDRZOO_AXIS_DRUG)->key);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      for (const auto role : kOfSamples) {
        const auto index = column_of(view, role)[i];
        rows[i].push_back(index < 0 ? -1.0 : static_cast<double>(keys[static_cast<std::size_t>(index)]));
        if (index < 0) continue;
        for (const float x : samples[static_cast<std::size_t>(index)]) rows[i].push_back(static_cast<double>(x));
      }
      for (const auto role : {CDRZOO_COLUMN_DRUG, CDRZOO_COLUMN_DRUG_B}) {
        const auto index = column_of(view, role)[i];
        rows[i].push_back(index < 0 ? -1.0 : static_cast<double>(drugs[static_cast<std::size_t>(index)]));
      }
      rows[i].push_back(static_cast<double>(column_of(view, CDRZOO_COLUMN_CONTEXT)[i]));
    }
    return rows;
  };
  const auto whole = bundle.reader.view("test");
  const auto n = whole->n_obs();
  const auto expected = told(whole->abi());
  for (const std::int64_t step : {std::int64_t{1}, std::int64_t{7}, n}) {
    std::vector<std::vector<double>> rows;
    std::set<std::uint64_t> fingerprints;
    for (std::int64_t first = 0; first < n; first += step) {
      const auto piece = bundle.reader.piece("test", first, std::min(step, n - first));
      const auto part = told(piece->abi());
      rows.insert(rows.end(), part.begin(), part.end());
      fingerprints.insert(piece->abi().fingerprint[0]);
      CHECK(piece->abi().target.data == nullptr);
      if (step == 1) CHECK(entities_of(piece->abi(), CDRZOO_AXIS_SAMPLE)->count <= 5);
    }
    CHECK(rows == expected);
    CHECK(static_cast<std::int64_t>(fingerprints.size()) == (n + step - 1) / step);
    CHECK((fingerprints.count(whole->abi().fingerprint[0]) == 1) == (step == n));
  }
}

TEST_CASE("One predict call gets rows for 64 MiB of predictions, in blocks of 1,024, or all for a transductive model") {
  Screen screen;
  const bool transductive = GENERATE(false, true);
  screen.add(card(kAllColumns, "", transductive ? R"("transductive":true)" : ""));
  CHECK(Written(screen).task.predict_rows == (transductive ? 0 : (64 << 20) / (kScreenGenes * 4) / 1024 * 1024));
}

TEST_CASE("Targets of another fold, and fewer of them than a view names, are refused") {
  Screen screen(screen_content(2));
  screen.add(card(kAllColumns));
  const Written bundle(screen);
  const auto other = screen.folder / "bundle" / "other";
  bundle.writer.write_cell(bundle.plan.cells[1], other);
  auto task = bundle.task;
  task.targets = worker::Task::read(other / "task.json").targets;
  REQUIRE(task.targets != bundle.task.targets);
  CHECK_THROWS_WITH(worker::Bundle(task), contains("does not belong to"));

  auto fewer = *bundle.writer.profiles(bundle.plan.cells[0]);
  fewer.shown.pop_back();
  task.targets = screen.folder / "bundle" / "fewer.h5";
  write_targets(task.targets, screen.dataset, fewer,
                bundle.task.targets.stem().string().substr(std::strlen("targets-")));
  CHECK_THROWS_WITH(worker::Bundle(task).view("train"), contains("are not in the targets file"));
}

TEST_CASE("Shuffled targets are the same profiles in other rows, and references show what is shown there") {
  Screen screen(screen_content(2));
  screen.add(card(kAllColumns));
  screen.experiment.shuffle_labels = true;
  const Written bundle(screen);
  const auto fold = bundle.writer.profiles(bundle.plan.cells[0]);
  CHECK(fold->shown != fold->targets);
  CHECK(std::is_permutation(fold->shown.begin(), fold->shown.end(), fold->targets.begin()));
  const auto query = profile_queries(bundle.plan.cells[0], bundle.fold(), *fold);
  const auto samples = expression_of(bundle.reader.view("test")->abi());
  const auto reference = column_of(bundle.reader.view("test")->abi(), CDRZOO_COLUMN_REFERENCE);
  // Training and references tell one story, or a model would find in the references what was shuffled away.
  std::map<std::int32_t, std::int32_t> shown;
  for (std::size_t i = 0; i < fold->targets.size(); ++i) shown[fold->targets[i]] = fold->shown[i];
  std::size_t moved = 0;
  for (std::size_t i = 0; i < query.test.reference.size(); ++i) {
    const auto row = query.test.reference[i].row_a;
    CHECK(samples[static_cast<std::size_t>(reference[i])] == bundle.profile(shown.at(row)));
    moved += shown.at(row) != row ? 1U : 0U;
  }
  CHECK(moved > query.test.reference.size() / 2);
}

TEST_CASE("References that nobody trains on are shuffled among themselves") {
  Screen screen(screen_content(2), "unseen_perturbation");
  screen.add(card(kAllColumns));
  screen.experiment.shuffle_labels = true;
  const Written bundle(screen);
  const auto fold = bundle.writer.profiles(bundle.plan.cells[0]);
  const auto& references = bundle.fold().references;
  std::set<std::int32_t> shown;
  std::size_t moved = 0;
  for (std::size_t i = 0; i < fold->entities.size(); ++i) {
    if (!std::binary_search(references.begin(), references.end(), fold->entities[i])) continue;
    CHECK(std::binary_search(references.begin(), references.end(), fold->entities_shown[i]));
    shown.insert(fold->entities_shown[i]);
    moved += fold->entities_shown[i] != fold->entities[i] ? 1U : 0U;
  }
  CHECK(moved > 0);
  CHECK(shown.size() > 1);
}

TEST_CASE("Genes without a value are masked for models that accept that, and others are refused") {
  auto content = screen_content(2);
  for (std::size_t i = 1; i < content.perturbation_profile.size(); i += kScreenGenes)
    content.perturbation_profile[i] = std::numeric_limits<float>::quiet_NaN();
  Screen screen(content);
  SECTION("accepted") {
    screen.add(card(kAllColumns, "", R"("accepts_missing":true)"));
    const Written bundle(screen);
    const auto view = bundle.reader.view("train");
    const auto mask = values<std::uint8_t>(view->abi().target_mask);
    const auto target = values<float>(view->abi().target);
    REQUIRE(mask.size() == target.size());
    for (std::size_t i = 0; i < mask.size(); ++i) {
      CHECK(mask[i] == (i % kScreenGenes == 1 ? 0 : 1));
      CHECK(std::isfinite(target[i]));
    }
  }
  SECTION("refused") {
    screen.add(card(kAllColumns));
    CHECK_THROWS_WITH((void)screen.plan(),
                      "model test.model does not accept missing values, and 40 of the profiles of data set screen "
                      "that the split uses, or their controls, have some");
  }
}

TEST_CASE("A plan of profiles refuses what does not fit, in one sentence") {
  SECTION("two perturbations for a model that sees one") {
    Screen screen(screen_content(1, true));
    screen.add(card(R"("control")"));
    CHECK_THROWS_WITH((void)screen.plan(),
                      "model test.model cannot see a second perturbation (its card lacks the column \"drug_b\"), and 5 "
                      "of the profiles of data set screen that the split uses have two");
  }
  SECTION("a block that profiles do not have") {
    Screen screen;
    screen.add(R"({"card":1,"id":"test.model","version":"1.0.0","title":"t","licence":"Apache-2.0",
      "tasks":["expression"],"needs":{"samples":["mutation"]}})");
    CHECK_THROWS_WITH((void)screen.plan(), contains("needs the sample block \"mutation\""));
  }
  SECTION("profiles of two units") {
    auto content = screen_content();
    content.domains = {{"screen", "counts"}, {"log counts", "counts"}, {"", ""}};
    content.sample_domain[4] = 1;
    Screen screen(content);
    screen.add(card(kAllColumns));
    CHECK_THROWS_WITH((void)screen.plan(),
                      "the split has profiles of two units, \"log counts\" of domain screen and \"counts\" of domain "
                      "counts; name one domain as source in [split]");
  }
  SECTION("a split of records") {
    Screen screen;
    screen.add(card(kAllColumns));
    screen.split.of_perturbations = false;
    CHECK_THROWS_WITH((void)screen.plan(),
                      "the split is of response records, and task \"expression\" needs one of perturbation profiles");
  }
}

TEST_CASE("The key of a cell of profiles knows their level and the number of references") {
  Screen wells, cells(screen_content(2));
  wells.add(card(kAllColumns));
  cells.add(card(kAllColumns));
  CHECK(wells.plan().cells[0].key_inputs.at("profiles") == nlohmann::json({{"level", "condition"}, {"references", 8}}));
  CHECK(cells.plan().cells[0].key_inputs.at("profiles") == nlohmann::json({{"level", "cell"}, {"references", 1}}));
}

TEST_CASE("The perturbation baselines run end to end, and their means are those of the data set") {
  const int cells = GENERATE(1, 3);
  CAPTURE(cells);
  Screen screen(screen_content(cells));
  screen.registry = scan_plugins({CDRZOO_PERTURBATION_PLUGIN});
  for (const std::string id : {"perturbation.control_mean", "perturbation.mean_shift"}) {
    ModelRequest request;
    request.id = request.name = id;
    screen.experiment.models.push_back(request);
  }
  const auto plan = screen.plan();
  auto store = Store::open(screen.experiment.store);
  RunOptions options;
  options.progress = "none";
  const auto summary = run_plan(plan, store, options);
  REQUIRE(summary.ok == 4);
  for (const auto& cell : plan.cells) {
    const auto record = store.record(cell.key);
    CHECK(record.status == "ok");
    CHECK(record.message.empty());
    const auto table = store.predictions(cell.key).conditions;
    REQUIRE(table.has_value());
    const auto& p = *screen.dataset.perturbations;
    const auto& fold = screen.split.at(cell.repeat, cell.fold);
    const auto tested = static_cast<std::size_t>(std::count(table->part.begin(), table->part.end(), "test"));
    CHECK(tested * static_cast<std::size_t>(cells) == fold.test.size());
    double error = 0, change = 0;
    for (std::size_t c = 0; c < table->size(); ++c) {
      if (table->part[c] != "test") continue;
      CHECK(table->n_rows[c] == cells);
      CHECK(table->n_predicted[c] == cells);
      CHECK(table->in_context[c] == 0);
      std::int32_t first = 0;
      while (p.condition[static_cast<std::size_t>(first)] != table->condition[c]) ++first;
      for (int g = 0; g < kScreenGenes; ++g) {
        double truth = 0;
        for (int i = 0; i < cells; ++i) truth += static_cast<double>(p.profile.dense().row(first + i)[g]) / cells;
        const auto at = c * kScreenGenes + static_cast<std::size_t>(g);
        CHECK_THAT(static_cast<double>(table->truth[at]), WithinRel(truth, 1e-6));
        const auto control = static_cast<double>(control_value(p.context[static_cast<std::size_t>(first)], g));
        error = std::max(error, std::abs(static_cast<double>(table->prediction[at]) - truth));
        change = std::max(change, std::abs(truth - control));
        if (cell.request.id == "perturbation.control_mean") {
          CHECK_THAT(static_cast<double>(table->prediction[at]), WithinRel(control, 1e-6));
        }
      }
    }
    // The effects are the same in every context but for a few thousandths.
    CHECK((error < 0.5 * change) == (cell.request.id == "perturbation.mean_shift"));
  }
}
