// SPDX-License-Identifier: Apache-2.0
#include "run/bundle.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include "base/error.hpp"
#include "base/random.hpp"
#include "data/feature_block.hpp"
#include "data/hdf5_file.hpp"
#include "host/run/run_fixture.hpp"
#include "support/catch.hpp"
#include "worker/bundle_reader.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::RunFixture;
using Rows = std::vector<std::int32_t>;

namespace {

std::string card(const std::string& needs = R"("samples":["expression"])", const std::string& traits = "") {
  return R"({"card":1,"id":"test.model","version":"1.0.0","title":"t","licence":"Apache-2.0",
    "tasks":["regression","binary"],"needs":{)" +
         needs + R"(},"traits":{)" + traits + "}}";
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

template <typename T>
bool has_bytes_of(const std::string& haystack, T value) {
  return haystack.find(std::string(reinterpret_cast<const char*>(&value), sizeof value)) != std::string::npos;
}

/// A plan of one cell written as a bundle, and the reader of it.
struct Written {
  RunFixture fixture;
  Plan plan;
  BundleWriter writer;
  std::filesystem::path cell;

  explicit Written(const std::string& card_json, const std::function<void(RunFixture&)>& change = {})
      : fixture(card_json), plan(changed(change)), writer(plan, fixture.folder / "bundle"), cell(write()) {}

  [[nodiscard]] worker::Task task() const { return worker::Task::read(cell / "task.json"); }

 private:
  Plan changed(const std::function<void(RunFixture&)>& change) {
    if (change) change(fixture);
    return fixture.plan();
  }
  std::filesystem::path write() const {
    writer.write_cell(plan.cells[0], fixture.folder / "bundle" / "cell");
    return fixture.folder / "bundle" / "cell";
  }
};

const cdrzoo_entities* entities_of(const cdrzoo_view& view, std::int32_t axis) {
  for (std::uint64_t i = 0; i < view.entities.count; ++i) {
    const auto* entities = CDRZOO_AT(view.entities, cdrzoo_entities, i);
    if (entities->axis == axis) return entities;
  }
  return nullptr;
}

const cdrzoo_array& part_of(const cdrzoo_entities& entities, const std::string& block_name, std::int32_t role) {
  for (std::uint64_t b = 0; b < entities.blocks.count; ++b) {
    const auto* block = CDRZOO_AT(entities.blocks, cdrzoo_block, b);
    if (worker::to_string(block->name) != block_name) continue;
    for (std::uint64_t p = 0; p < block->parts.count; ++p) {
      const auto* part = CDRZOO_AT(block->parts, cdrzoo_part, p);
      if (part->role == role) return part->array;
    }
  }
  throw std::logic_error("no part " + std::to_string(role) + " of " + block_name);
}

const cdrzoo_array& column_of(const cdrzoo_view& view, std::int32_t role) {
  for (std::uint64_t i = 0; i < view.columns.count; ++i) {
    const auto* column = CDRZOO_AT(view.columns, cdrzoo_column, i);
    if (column->role == role) return column->array;
  }
  throw std::logic_error("no column " + std::to_string(role));
}

template <typename T>
std::vector<T> values(const cdrzoo_array& array) {
  std::vector<T> out(array.bytes / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), array.data, array.bytes);
  return out;
}

}  // namespace

TEST_CASE("SplitMix64 gives its published sequence") {
  CHECK(splitmix64(1234567, 0) == 6457827717110365317ULL);
  CHECK(splitmix64(1234567, 1) == 3203168211198807973ULL);
  CHECK(splitmix64(1234567, 4) == 16408922859458223821ULL);
}

TEST_CASE("Queries come in a seeded order that names every row once") {
  std::vector<std::int32_t> rows(1000);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(3 * i);
  const auto order = query_order(rows, 7);
  CHECK(order == query_order(rows, 7));
  CHECK(order != query_order(rows, 8));
  CHECK(std::set<std::int32_t>(order.begin(), order.end()).size() == rows.size());
  CHECK(!std::is_sorted(order.begin(), order.end()));

  RunFixture fixture(card());
  const auto plan = fixture.plan();
  const auto query = query_rows(plan.cells[0], fixture.split.folds[0]);
  auto again = query.test;
  std::sort(again.begin(), again.end());
  CHECK(again == fixture.split.folds[0].test);
}

TEST_CASE("The bundle holds training targets and no target of validation or test rows") {
  const std::string needs =
      GENERATE(R"("samples":["expression"])", R"("samples":["expression","tissue","domain"],"early_stopping":true)");
  const Written bundle(card(needs));
  std::string all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(bundle.fixture.folder / "bundle"))
    if (entry.is_regular_file()) all += read_text(entry.path());
  for (int d = 0; d < test::kDrugs; ++d) {
    for (const int hidden : {4, 5}) {
      CHECK_FALSE(has_bytes_of(all, test::response_value(hidden, d)));
      CHECK_FALSE(has_bytes_of(all, static_cast<float>(test::response_value(hidden, d))));
    }
    for (const int shown : {0, 1, 2, 3}) CHECK(has_bytes_of(all, static_cast<float>(test::response_value(shown, d))));
  }

  SECTION("and views of query rows are unlabelled") {
    const auto task = bundle.task();
    const worker::Bundle reader(task);
    for (const std::string name : {"validation", "test"}) {
      const auto view = reader.view(name);
      CHECK((view->abi().flags & CDRZOO_VIEW_LABELLED) == 0U);
      CHECK(view->abi().target.data == nullptr);
    }
    CHECK(reader.view("train")->abi().target.data != nullptr);
  }
}

TEST_CASE("Changing a hidden value changes no byte of views and entities") {
  const auto views = [](double shift) {
    const Written bundle(card(), [&](RunFixture& f) {
      auto content = test::small_content();
      for (auto& response : content.responses)
        if (response.sample == 4 || response.sample == 5) response.value += shift;
      write_dataset(content, f.folder / "other.h5");
      f.experiment.task = "binary";
      f.experiment.label.kind = "per_drug_median";
      f.dataset = Dataset::open(f.folder / "other.h5");
    });
    // Keys and row order are salted by the data set's hash; what remains must be equal.
    const auto task = bundle.task();
    const worker::Bundle reader(task);
    const auto view = reader.view("train");
    return std::pair(values<float>(view->abi().target),
                     values<float>(part_of(*entities_of(view->abi(), CDRZOO_AXIS_SAMPLE), "expression", 1)));
  };
  CHECK(views(0) == views(-100));
}

TEST_CASE("The same plan gives the same bytes") {
  const Written a(card()), b(card());
  CHECK(a.writer.entities().filename() == b.writer.entities().filename());
  CHECK(read_text(a.writer.entities()) == read_text(b.writer.entities()));
  CHECK(read_text(a.cell / "views.h5") == read_text(b.cell / "views.h5"));
  CHECK(read_text(a.cell / "task.json") == read_text(b.cell / "task.json"));
  const Written other(card(), [](RunFixture& f) { f.experiment.seeds = {9}; });
  CHECK(read_text(a.cell / "task.json") != read_text(other.cell / "task.json"));
}

TEST_CASE("A view's tables hold exactly the entities that its observations refer to") {
  const Written bundle(card(R"("samples":["expression","tissue"],"early_stopping":true,"columns":["domain"])",
                            R"("accepts_missing":true)"));
  const auto task = bundle.task();
  const worker::Bundle reader(task);
  const auto train = reader.view("train"), valid = reader.view("valid"), test = reader.view("test");
  const auto& samples = *entities_of(train->abi(), CDRZOO_AXIS_SAMPLE);
  CHECK(samples.count == 3);  // l0, l1, l2: l3 is for early stopping
  CHECK(entities_of(valid->abi(), CDRZOO_AXIS_SAMPLE)->count == 1);
  CHECK(entities_of(test->abi(), CDRZOO_AXIS_SAMPLE)->count == 1);
  CHECK(train->n_obs() == 9);
  CHECK(values<float>(train->abi().target).size() == 9);
  CHECK(column_of(train->abi(), CDRZOO_COLUMN_DOMAIN).shape[0] == 9);
  for (const auto d : values<std::int32_t>(column_of(train->abi(), CDRZOO_COLUMN_DOMAIN))) CHECK(d == 0);

  const auto expression = values<float>(part_of(samples, "expression", CDRZOO_PART_VALUES));
  const auto sample = values<std::int32_t>(column_of(train->abi(), CDRZOO_COLUMN_SAMPLE));
  const auto drug = values<std::int32_t>(column_of(train->abi(), CDRZOO_COLUMN_DRUG));
  const auto target = values<float>(train->abi().target);
  for (std::size_t i = 0; i < target.size(); ++i) {
    // Samples and drugs stand in canonical order, so the local index is the number in the name.
    CHECK(expression[std::size_t(sample[i]) * test::kGenes] == test::expression_value(sample[i], 0));
    CHECK(target[i] == static_cast<float>(test::response_value(sample[i], drug[i])));
  }
  CHECK(part_of(samples, "expression", CDRZOO_PART_VALUES).flags == CDRZOO_ARRAY_HAS_NAN);
  CHECK(std::isnan(expression[std::size_t(1 * test::kGenes + 2)]));
  const auto tissue = values<std::int32_t>(part_of(samples, "tissue", CDRZOO_PART_VALUES));
  CHECK(tissue == std::vector<std::int32_t>{-1, 0, 1});

  SECTION("keys name the same entity in every view and are salted by the run") {
    const auto drugs = [](const worker::View& view) {
      return values<std::int64_t>(entities_of(view.abi(), CDRZOO_AXIS_DRUG)->key);
    };
    CHECK(drugs(*train) == drugs(*test));
    const Written other(card(R"("samples":["expression"])"), [](RunFixture& f) { f.experiment.name = "other"; });
    const auto other_task = other.task();
    const worker::Bundle other_reader(other_task);
    CHECK(drugs(*train) != drugs(*other_reader.view("test")));
  }
  SECTION("every array is aligned to 64 bytes") {
    for (const auto* view : {&train->abi(), &valid->abi(), &test->abi()}) {
      for (std::uint64_t i = 0; i < view->columns.count; ++i)
        CHECK(reinterpret_cast<std::uintptr_t>(CDRZOO_AT(view->columns, cdrzoo_column, i)->array.data) % 64 == 0);
      const auto& matrix = part_of(*entities_of(*view, CDRZOO_AXIS_SAMPLE), "expression", CDRZOO_PART_VALUES);
      CHECK(reinterpret_cast<std::uintptr_t>(matrix.data) % 64 == 0);
    }
  }
}

TEST_CASE("A view over all entities is the mapping itself, a subset is a copy") {
  const Written bundle(
      card(R"("samples":["expression"],"drugs":["smiles"])", R"("accepts_missing":true)"), [](RunFixture& f) {
        f.split.folds[0].train = test::rows_of(f.dataset, {"l0", "l1", "l2", "l3", "l4", "l5", "p0", "p1", "p2"});
        f.split.folds[0].early_stop.clear();
        f.split.folds[0].validation.clear();
        f.experiment.task = "binary";
        f.experiment.label.kind = "per_drug_median";
      });
  const auto task = bundle.task();
  const worker::Bundle reader(task);
  const auto data_of = [](const worker::View& view, std::int32_t axis, const char* block, std::int32_t role) {
    return part_of(*entities_of(view.abi(), axis), block, role).data;
  };
  const auto once = reader.view("train"), again = reader.view("train"), test = reader.view("test");
  CHECK(data_of(*once, CDRZOO_AXIS_SAMPLE, "expression", CDRZOO_PART_VALUES) ==
        data_of(*again, CDRZOO_AXIS_SAMPLE, "expression", CDRZOO_PART_VALUES));
  CHECK(data_of(*once, CDRZOO_AXIS_SAMPLE, "expression", CDRZOO_PART_VALUES) !=
        data_of(*test, CDRZOO_AXIS_SAMPLE, "expression", CDRZOO_PART_VALUES));
  // All three drugs are in the test rows as well: no copy there either.
  CHECK(data_of(*once, CDRZOO_AXIS_DRUG, "smiles", CDRZOO_PART_BYTES) ==
        data_of(*test, CDRZOO_AXIS_DRUG, "smiles", CDRZOO_PART_BYTES));
  CHECK(once->abi().fingerprint[0] == again->abi().fingerprint[0]);
  CHECK(once->abi().fingerprint[0] != test->abi().fingerprint[0]);
}

TEST_CASE("Training means are taken per domain over training entities only") {
  const float nan = std::nanf("");
  // Rows 0 to 3 in domain 1, row 4 in domain 0, row 5 in domain 2.
  const std::vector<float> data = {1, nan, nan, 3, 5, nan, 100, 100, 100, nan, 7, nan, 9, nan, 50, nan, nan, nan};
  FeatureBlock block;
  block.name = "expression";
  block.kind = CDRZOO_BLOCK_DENSE;
  block.rows = 6;
  block.width = 3;
  block.parts.push_back({CDRZOO_PART_VALUES, CDRZOO_F32, {6, 3}, data.data(), data.size() * 4, true});
  const auto means = training_means(block, {1, 1, 1, 1, 0, 2}, {0, 1, 3, 4});
  REQUIRE(means.means.size() == 9);
  const auto table = [&](int row) {
    const auto* at = means.means.data() + 3 * means.table_of[static_cast<std::size_t>(row)];
    return std::vector<float>{at[0], at[1], at[2]};
  };
  CHECK(table(0) == std::vector<float>{2, 6, 50});  // gene 2 is never observed in domain 1: all training rows
  CHECK(table(2) == table(0));                      // a test entity of the domain
  CHECK(table(4) == std::vector<float>{9, 6, 50});
  CHECK(table(5) == std::vector<float>{13.0F / 3.0F, 6, 50});  // a domain without training entities

  const auto none = training_means(block, {0, 0, 0, 0, 0, 0}, {0, 5});
  CHECK(none.means == std::vector<float>{1, 0, 0, 1, 0, 0});  // never observed in training: 0
}

TEST_CASE("Missing values become training means where the card does not accept them") {
  const Written bundle(card());
  const auto task = bundle.task();
  const worker::Bundle reader(task);
  const auto train = reader.view("train");
  const auto& array = part_of(*entities_of(train->abi(), CDRZOO_AXIS_SAMPLE), "expression", CDRZOO_PART_VALUES);
  const auto expression = values<float>(array);
  CHECK(array.flags == 0U);
  // l1 lacks gene 2; of the training lines l0, l2, l3 have it.
  const float expected =
      (test::expression_value(0, 2) + test::expression_value(2, 2) + test::expression_value(3, 2)) / 3;
  CHECK(expression[1 * test::kGenes + 2] == expected);
  CHECK(expression[0] == test::expression_value(0, 0));
}

namespace {

using Steps = std::vector<FittedStep>;

/// The fixture's data with fitted steps, and changed expression.
std::function<void(RunFixture&)> with_steps(const Steps& steps,
                                            const std::function<void(std::vector<float>&)>& change = {}) {
  return [=](RunFixture& f) {
    auto content = test::small_content();
    content.fitted_steps = steps;
    if (change) change(content.expression);
    write_dataset(content, f.folder / "fitted.h5");
    f.dataset = Dataset::open(f.folder / "fitted.h5");
  };
}
FittedStep zscore(const std::string& domain = "", FittedStep::From from = FittedStep::From::own_domain) {
  return {FittedStep::Kind::zscore, domain, from, 0};
}
FittedStep variable(std::int64_t genes) {
  return {FittedStep::Kind::variable_genes, "", FittedStep::From::own_domain, genes};
}

const cdrzoo_block& expression_of(const cdrzoo_entities& entities) {
  for (std::uint64_t b = 0; b < entities.blocks.count; ++b) {
    const auto* block = CDRZOO_AT(entities.blocks, cdrzoo_block, b);
    if (worker::to_string(block->name) == "expression") return *block;
  }
  throw std::logic_error("no expression");
}

/// Expression of a view as the plugin gets it, [samples, width].
std::vector<float> shown_expression(const worker::View& view) {
  return values<float>(part_of(*entities_of(view.abi(), CDRZOO_AXIS_SAMPLE), "expression", CDRZOO_PART_VALUES));
}

}  // namespace

TEST_CASE("A z-scored training view has mean 0 and standard deviation 1 in each gene and domain") {
  // A pool gives the patients statistics of their own.
  const Written bundle(card(R"("samples":["expression"],"unlabelled_target":"optional")"), [](RunFixture& f) {
    with_steps({zscore()})(f);
    f.split.folds[0].unlabelled_samples = {6, 7, 8};
  });
  const auto task = bundle.task();
  const worker::Bundle reader(task);
  for (const auto& [name, n] : {std::pair("train", std::size_t{4}), {"unlabelled", std::size_t{3}}}) {
    const auto view = reader.view(name);
    const auto x = shown_expression(*view);
    REQUIRE(x.size() == n * test::kGenes);
    for (std::size_t g = 0; g < test::kGenes; ++g) {
      double sum = 0, squares = 0;
      for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i * test::kGenes + g]);
      for (std::size_t i = 0; i < n; ++i) squares += std::pow(static_cast<double>(x[i * test::kGenes + g]), 2);
      INFO(name << ", gene " << g);
      CHECK(std::abs(sum) < (g == 2 ? 1e-5 : 1e-6));  // the filled value is the mean as a float32
      // A filled value of gene 2 is the mean, which adds nothing to the squares of the others.
      CHECK(std::abs(squares / static_cast<double>(g == 2 ? n - 1 : n) - 1) < 1e-6);
    }
  }
}

TEST_CASE("Query rows are scaled by what the training rows say") {
  const Written bundle(card(), with_steps({zscore()}));
  const auto task = bundle.task();
  const auto x = shown_expression(*worker::Bundle(task).view("test"));
  // Gene 0 of the training lines: 0, 0.25, 0.5, 0.75; the test line has 1.25.
  const double sd = std::sqrt((9 + 1 + 1 + 9) / 64.0 / 4);
  CHECK(x[0] == static_cast<float>((1.25 - 0.375) * (1 / sd)));
}

TEST_CASE("Missing values stay missing where the card accepts them, and are scaled by what is observed") {
  const Written bundle(card(R"("samples":["expression"])", R"("accepts_missing":true)"), with_steps({zscore()}));
  const auto task = bundle.task();
  const worker::Bundle reader(task);
  const auto train = reader.view("train"), test = reader.view("test");
  const auto x = shown_expression(*train);
  CHECK(std::isnan(x[1 * test::kGenes + 2]));
  CHECK(std::count_if(x.begin(), x.end(), [](float v) { return std::isnan(v); }) == 1);
  const double mean = (0.0 + 0.5 + 0.75) / 3 + 20;
  const double sd = std::sqrt((std::pow(20 - mean, 2) + std::pow(20.5 - mean, 2) + std::pow(20.75 - mean, 2)) / 3);
  CHECK(std::abs(static_cast<double>(x[0 * test::kGenes + 2]) - (20 - mean) / sd) < 1e-6);
  const auto& flags = [](const worker::View& view) {
    return part_of(*entities_of(view.abi(), CDRZOO_AXIS_SAMPLE), "expression", CDRZOO_PART_VALUES).flags;
  };
  CHECK(flags(*train) == CDRZOO_ARRAY_HAS_NAN);
  CHECK(flags(*test) == 0U);
}

TEST_CASE("A selection of genes is what width, space, names and schema say") {
  const auto choose = [](std::vector<float>& x) {  // genes 1 and 3 vary most in training
    for (std::size_t s = 0; s < 9; ++s) x[s * test::kGenes + 1] *= static_cast<float>(1 + s);
    for (std::size_t s = 0; s < 9; ++s) x[s * test::kGenes + 3] *= static_cast<float>(1 + s % 2);
  };
  auto text = card(R"("samples":["expression"],"feature_names":true)");
  const Written bundle(text, with_steps({variable(2), zscore()}, choose));
  const auto task = bundle.task();
  const worker::Bundle reader(task);
  const auto train = reader.view("train");
  const auto& block = expression_of(*entities_of(train->abi(), CDRZOO_AXIS_SAMPLE));
  CHECK(block.width == 2);
  CHECK(worker::to_string(block.space) == space_of({"B", "D"}));
  CHECK(values<std::int64_t>(block.feature_name_offsets) == std::vector<std::int64_t>{0, 1, 2});
  CHECK(values<std::uint8_t>(block.feature_name_bytes) == std::vector<std::uint8_t>{'B', 'D'});
  const auto& array = CDRZOO_AT(block.parts, cdrzoo_part, 0)->array;
  CHECK(array.shape[0] == 4);
  CHECK(array.shape[1] == 2);
  CHECK(array.stride[0] == 2);
  const auto& schema = expression_of(*CDRZOO_AT(reader.problem().schema, cdrzoo_entities, 0));
  CHECK(schema.width == 2);
  CHECK(worker::to_string(schema.space) == space_of({"B", "D"}));
  CHECK(CDRZOO_AT(schema.parts, cdrzoo_part, 0)->array.shape[1] == 2);

  // The same columns as without a selection.
  const Written all(text, with_steps({zscore()}, choose));
  const auto all_task = all.task();
  const auto x = shown_expression(*train), y = shown_expression(*worker::Bundle(all_task).view("train"));
  REQUIRE(x.size() == 8);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(x[2 * i] == y[i * test::kGenes + 1]);
    CHECK(x[2 * i + 1] == y[i * test::kGenes + 3]);
  }
}

TEST_CASE("Changing the expression of test samples changes no byte of scaling, selection or training view") {
  const Steps steps = {{FittedStep::Kind::fill_minimum, "", FittedStep::From::own_domain, 0}, variable(3), zscore()};
  const Written a(card(), with_steps(steps));
  const Written b(card(), with_steps(steps, [](std::vector<float>& all) {
                    for (const std::size_t s : {4U, 5U})  // validation and test
                      for (std::size_t g = 0; g < test::kGenes; ++g)
                        all[s * test::kGenes + g] = 1000.0F * static_cast<float>(s + g);
                  }));
  const Hdf5File x(a.cell / "views.h5"), y(b.cell / "views.h5");
  const auto numbers = [](const Hdf5File& file, const std::string& name) {
    const auto all = file.matrix<double>("/scaling/sample/expression/" + name);
    return std::vector<double>(all.data, all.data + all.rows * all.cols);
  };
  CHECK(numbers(x, "offset") == numbers(y, "offset"));
  CHECK(numbers(x, "factor") == numbers(y, "factor"));
  const auto columns = [](const Hdf5File& file) {
    const auto all = file.array<std::int32_t>("/selection/sample/expression/columns");
    return Rows(all.begin(), all.end());
  };
  CHECK(columns(x) == columns(y));
  const auto task_a = a.task(), task_b = b.task();
  const worker::Bundle read_a(task_a), read_b(task_b);
  CHECK(shown_expression(*read_a.view("train")) == shown_expression(*read_b.view("train")));
  CHECK(shown_expression(*read_a.view("test")) != shown_expression(*read_b.view("test")));

  // The fingerprints are salted by the whole data set by way of the entities' hash; without that they are equal.
  const auto fingerprint = [&](const Written& bundle) {
    const auto& fold = bundle.fixture.split.folds[0];
    const auto& dataset = bundle.fixture.dataset;
    auto fit = fit_expression(dataset, fit_samples(dataset, fold, fold.train), "lines");
    BundleView view;
    view.name = "train";
    view.n_obs = 1;
    view.sample = view.drug = {0};
    view.target = {1};
    write_views(bundle.fixture.folder / "again.h5", {view}, 1, {{*fit.imputation}, fit.scaling, fit.selection}, "0123");
    return Hdf5File(bundle.fixture.folder / "again.h5").text_attribute("/train", "fingerprint");
  };
  CHECK(fingerprint(a) == fingerprint(b));
  const Written c(card(), with_steps(steps, [](std::vector<float>& all) { all[0] += 1; }));  // a training sample
  CHECK(fingerprint(a) != fingerprint(c));
}

TEST_CASE("Views with fitted steps are version 2, those without stay as they were") {
  const Written plain(card()), scaled(card(), with_steps({zscore()}));
  const auto version = [](const Written& bundle) {
    return Hdf5File(bundle.cell / "views.h5").int_attribute("/", "version");
  };
  CHECK(version(plain) == 1);
  CHECK(version(scaled) == 2);
  CHECK_FALSE(Hdf5File(plain.cell / "views.h5").has("/scaling"));
  CHECK_FALSE(Hdf5File(plain.cell / "views.h5").has("/selection"));
  // A model that gets no expression is not touched.
  const Written other(card(R"("samples":["tissue"])"), with_steps({zscore()}));
  CHECK(version(other) == 1);
}

TEST_CASE("The fingerprint of a view without fitted steps is what it was before there were any") {
  const test::TemporaryFolder folder;
  BundleView view;
  view.name = "train";
  view.n_obs = 2;
  view.sample = {1, 0};
  view.drug = {2, 2};
  view.target = {0.5F, -1};
  Imputation means{"sample", "expression", 2, {1, 2, 3, 4}, {0, 1}};
  write_views(folder / "views.h5", {view}, 1, {{means}, {}, {}}, "0123");
  // Computed by a few lines of Python from share/doc/bundle.md.
  CHECK(Hdf5File(folder / "views.h5").text_attribute("/train", "fingerprint") == "fe24882f16021d55f10f172f953f6cf8");
}

TEST_CASE("Scaling and selection that do not fit the block are refused") {
  const Written bundle(card(), with_steps({variable(2), zscore()}));
  const auto complaint = [&](const std::function<void(Transforms&)>& damage) {
    const auto& fold = bundle.fixture.split.folds[0];
    const auto& dataset = bundle.fixture.dataset;
    auto fit = fit_expression(dataset, fit_samples(dataset, fold, fold.train), "lines");
    Transforms transforms{{}, fit.scaling, fit.selection};
    damage(transforms);
    auto task = bundle.task();
    const auto hash = Hdf5File(task.entities).text_attribute("/", "hash");
    task.views = bundle.fixture.folder / "damaged.h5";
    write_views(task.views, {}, 1, transforms, hash);
    try {
      const worker::Bundle reader(task);
    } catch (const DataError& e) {
      return std::string(e.what());
    }
    return std::string("no complaint");
  };
  CHECK(complaint([](Transforms&) {}) == "no complaint");
  CHECK_THAT(complaint([](Transforms& t) { t.selection->columns = {0, 4}; }), contains("out of range"));
  CHECK_THAT(complaint([](Transforms& t) { t.selection->columns = {1, 1}; }), contains("do not rise"));
  CHECK_THAT(complaint([](Transforms& t) { t.selection->columns = {}; }), contains("columns"));
  CHECK_THAT(complaint([](Transforms& t) { t.selection->block = "mutation"; }), contains("is for no block"));
  CHECK_THAT(complaint([](Transforms& t) { t.scaling->table_of[0] = 2; }), contains("table_of is out of range"));
  CHECK_THAT(complaint([](Transforms& t) { t.scaling->table_of.pop_back(); }), contains("table_of"));
  CHECK_THAT(complaint([](Transforms& t) {
               t.scaling->width = 2;
               t.scaling->offset.resize(4);
               t.scaling->factor.resize(4);
             }),
             contains("offset has shape"));
}

TEST_CASE("Ragged blocks keep each entity's own part when a view takes a subset") {
  const test::TemporaryFolder folder;
  // Three graphs of 2, 0 and 3 nodes; texts; a sparse matrix.
  const std::vector<std::int64_t> nodeptr = {0, 2, 2, 5}, edgeptr = {0, 2, 2, 4}, pairptr = {0, 4, 4, 13};
  const std::vector<float> nodefeat = {0, 1, 10, 11, 12}, edgefeat = {.1F, .2F, .3F, .4F};
  const std::vector<std::int32_t> src = {0, 1, 0, 2}, dst = {1, 0, 2, 0};
  std::vector<float> pairs(13);
  for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = static_cast<float>(i);
  BlockContent graph;
  graph.name = "graph";
  graph.kind = CDRZOO_BLOCK_GRAPHS;
  graph.rows = 3;
  graph.width = 1;
  graph.add(CDRZOO_PART_NODEPTR, {4}, nodeptr);
  graph.add(CDRZOO_PART_NODEFEAT, {5, 1}, nodefeat);
  graph.add(CDRZOO_PART_EDGEPTR, {4}, edgeptr);
  graph.add(CDRZOO_PART_EDGESRC, {4}, src);
  graph.add(CDRZOO_PART_EDGEDST, {4}, dst);
  graph.add(CDRZOO_PART_EDGEFEAT, {4, 1}, edgefeat);
  graph.add(CDRZOO_PART_PAIRPTR, {4}, pairptr);
  graph.add(CDRZOO_PART_PAIRFEAT, {13, 1}, pairs);
  BlockContent sparse;
  sparse.name = "sparse";
  sparse.kind = CDRZOO_BLOCK_CSR;
  sparse.rows = 3;
  sparse.width = 9;
  sparse.add(CDRZOO_PART_ROWPTR, {4}, std::vector<std::int64_t>{0, 1, 3, 4});
  sparse.add(CDRZOO_PART_COLIDX, {4}, std::vector<std::int32_t>{8, 0, 1, 7});
  sparse.add(CDRZOO_PART_VALUES, {4}, std::vector<float>{8, 1, 2, 7});

  EntitiesContent content;
  content.n_samples = 2;
  content.n_drugs = 3;
  content.drug_blocks = {graph.view(), sparse.view()};
  content.hash = "0123";
  const auto entities = write_entities(folder, content);
  BundleView view;
  view.name = "train";
  view.n_obs = 3;
  view.sample = {0, 1, 0};
  view.drug = {2, 0, 2};
  view.target = {1, 2, 3};
  write_views(folder / "views.h5", {view}, 1, {}, content.hash);

  worker::Task task;
  task.entities = entities;
  task.views = folder / "views.h5";
  task.task = CDRZOO_TASK_REGRESSION;
  task.drug_blocks = {"graph", "sparse"};
  task.columns = {"sample", "drug"};
  const worker::Bundle reader(task);
  const auto train = reader.view("train");
  const auto& drugs = *entities_of(train->abi(), CDRZOO_AXIS_DRUG);
  const auto i64 = [&](const char* block, std::int32_t role) {
    return values<std::int64_t>(part_of(drugs, block, role));
  };
  const auto i32 = [&](const char* block, std::int32_t role) {
    return values<std::int32_t>(part_of(drugs, block, role));
  };
  const auto f32 = [&](const char* block, std::int32_t role) { return values<float>(part_of(drugs, block, role)); };
  CHECK(drugs.count == 2);
  CHECK(values<std::int32_t>(column_of(train->abi(), CDRZOO_COLUMN_DRUG)) == std::vector<std::int32_t>{1, 0, 1});
  CHECK(i64("graph", CDRZOO_PART_NODEPTR) == std::vector<std::int64_t>{0, 2, 5});
  CHECK(f32("graph", CDRZOO_PART_NODEFEAT) == nodefeat);
  CHECK(i64("graph", CDRZOO_PART_EDGEPTR) == std::vector<std::int64_t>{0, 2, 4});
  CHECK(i32("graph", CDRZOO_PART_EDGESRC) == src);
  CHECK(i32("graph", CDRZOO_PART_EDGEDST) == dst);
  CHECK(f32("graph", CDRZOO_PART_EDGEFEAT) == edgefeat);
  CHECK(i64("graph", CDRZOO_PART_PAIRPTR) == std::vector<std::int64_t>{0, 4, 13});
  CHECK(f32("graph", CDRZOO_PART_PAIRFEAT) == pairs);
  CHECK(i64("sparse", CDRZOO_PART_ROWPTR) == std::vector<std::int64_t>{0, 1, 2});
  CHECK(i32("sparse", CDRZOO_PART_COLIDX) == std::vector<std::int32_t>{8, 7});
  CHECK(f32("sparse", CDRZOO_PART_VALUES) == std::vector<float>{8, 7});
}

TEST_CASE("Blocks that the card does not name are not handed out") {
  const Written bundle(card(R"("samples":["tissue"])"));
  const auto task = bundle.task();
  const worker::Bundle reader(task);
  const auto train = reader.view("train");
  const auto* samples = entities_of(train->abi(), CDRZOO_AXIS_SAMPLE);
  REQUIRE(samples->blocks.count == 1);
  CHECK(worker::to_string(CDRZOO_AT(samples->blocks, cdrzoo_block, 0)->name) == "tissue");
  CHECK(entities_of(train->abi(), CDRZOO_AXIS_DRUG)->blocks.count == 0);
  CHECK(train->abi().columns.count == 2);
}

TEST_CASE("Refit adds a training view over train and validation rows, and nothing of the test rows") {
  const Written bundle(card(), [](RunFixture& f) { f.experiment.refit = "train+val"; });
  const auto task = bundle.task();
  const worker::Bundle reader(task);
  REQUIRE(reader.has_view("refit"));
  CHECK(reader.view("train")->n_obs() == 12);
  CHECK(reader.view("refit")->n_obs() == 15);
  const auto all = read_text(bundle.cell / "views.h5");
  CHECK(has_bytes_of(all, static_cast<float>(test::response_value(4, 0))));
  CHECK_FALSE(has_bytes_of(all, static_cast<float>(test::response_value(5, 0))));
}

TEST_CASE("The unlabelled pool is handed out to models that ask for it") {
  const auto with_pool = [](RunFixture& f) { f.split.folds[0].unlabelled_samples = {6, 7, 8}; };
  const Written asked(card(R"("samples":["expression"],"unlabelled_target":"required")"), with_pool);
  const auto task = asked.task();
  const worker::Bundle reader(task);
  const auto pool = reader.view("unlabelled");
  CHECK(pool->n_obs() == 3);
  CHECK(entities_of(pool->abi(), CDRZOO_AXIS_DRUG) == nullptr);
  CHECK(pool->abi().columns.count == 1);
  const Written not_asked(card(), with_pool);
  const auto other = not_asked.task();
  CHECK_FALSE(worker::Bundle(other).has_view("unlabelled"));
}

TEST_CASE("Domain codes begin with the split's source, in the block as in the column") {
  const Written bundle(card(R"("samples":["domain"],"unlabelled_target":"optional","columns":["domain"])"),
                       [](RunFixture& f) {
                         f.split.folds[0].unlabelled_samples = {6, 7};
                       });
  const auto task = bundle.task();
  const worker::Bundle reader(task);
  for (const auto& [name, code] : {std::pair{"train", 0}, {"unlabelled", 1}}) {
    const auto view = reader.view(name);
    const auto& samples = *entities_of(view->abi(), CDRZOO_AXIS_SAMPLE);
    for (const auto d : values<std::int32_t>(part_of(samples, "domain", CDRZOO_PART_VALUES))) CHECK(d == code);
    for (const auto d : values<std::int32_t>(column_of(view->abi(), CDRZOO_COLUMN_DOMAIN))) CHECK(d == code);
  }
}

TEST_CASE("A training row without a value stops the writing with its number") {
  RunFixture fixture(card());
  fixture.split.folds[0].train = test::rows_of(fixture.dataset, {"p0"});
  const auto plan = fixture.plan();
  const BundleWriter writer(plan, fixture.folder / "b");
  CHECK_THROWS_WITH(writer.write_cell(plan.cells[0], fixture.folder / "b" / "c"),
                    contains("has no value for this task"));
}

TEST_CASE("Files that do not belong together are refused") {
  const Written a(card()), b(card(), [](RunFixture&f) { f.experiment.name = "other"; });
  auto task = a.task();
  task.entities = b.writer.entities();
  CHECK_THROWS_WITH(worker::Bundle(task), contains("does not belong to"));
  task = a.task();
  task.n_targets = 2;
  CHECK_THROWS_WITH(worker::Bundle(task), contains("number of targets"));
  task = a.task();
  task.sample_blocks = {"mutation"};
  CHECK_THROWS_WITH(worker::Bundle(task), contains("has no sample block \"mutation\""));
  task = a.task();
  std::filesystem::resize_file(task.views, std::filesystem::file_size(task.views) / 2);
  CHECK_THROWS_AS(worker::Bundle(task), DataError);
}
