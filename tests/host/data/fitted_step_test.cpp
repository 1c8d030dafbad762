// SPDX-License-Identifier: Apache-2.0
#include "data/fitted_step.hpp"

#include "base/error.hpp"
#include "data/dataset_info.hpp"
#include "data/dataset_writer.hpp"
#include "data/hdf5_file.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using Kind = FittedStep::Kind;
using From = FittedStep::From;
using Steps = std::vector<FittedStep>;

namespace {

const Steps kAll = {{Kind::fill_minimum, "", From::own_domain, 0},
                    {Kind::variable_genes, "lines", From::own_domain, 1},
                    {Kind::zscore, "lines", From::own_domain, 0},
                    {Kind::zscore, "patients", From::source, 0}};

DatasetContent content_with(const Steps& steps) {
  DatasetContent c;
  c.name = "two samples";
  c.fitted_steps = steps;
  c.genes = {"G1", "G2"};
  c.domains = {{"lines", "patients"}, {"log2", "log2"}, {"", ""}};
  c.sample_id = c.sample_group = {"l", "p"};
  c.sample_domain = {0, 1};
  c.sample_tissue = {-1, -1};
  c.expression = {1, 2, 3, 4};
  return c;
}

std::string complaint(const Steps& steps) {
  try {
    check_fitted_steps(steps, {"lines", "patients"}, 2);
  } catch (const DataError& e) {
    return e.what();
  }
  return "no complaint";
}

std::string parse_complaint(const std::string& json) {
  try {
    static_cast<void>(fitted_steps_from_json(nlohmann::json::parse(json)));
  } catch (const DataError& e) {
    return e.what();
  }
  return "no complaint";
}

}  // namespace

TEST_CASE("Fitted steps come back from a data set as they were given, and through a copy of it") {
  const test::TemporaryFolder folder;
  write_dataset(content_with(kAll), folder / "a.h5");
  const auto a = Dataset::open(folder / "a.h5");
  CHECK(to_json(a.fitted_steps) == to_json(kAll));
  CHECK(a.fitted_steps.at(1).genes == 1);
  CHECK(a.fitted_steps.at(3).from == From::source);
  write_dataset(content_of(a), folder / "b.h5");
  CHECK(Dataset::open(folder / "b.h5").file_hash() == a.file_hash());
  CHECK(validate_dataset(folder / "a.h5").errors.empty());
}

TEST_CASE("A data set without fitted steps is a file of version 1, one with them of version 2") {
  const test::TemporaryFolder folder;
  for (const auto& steps : {Steps(), kAll}) {
    const auto path = folder / (steps.empty() ? "without.h5" : "with.h5");
    write_dataset(content_with(steps), path);
    const Hdf5File file(path);
    CHECK(file.has("/fitted_steps") == !steps.empty());
    CHECK(file.int_attribute("/", "format_version") == (steps.empty() ? 1 : 2));
    CHECK(describe_dataset(Dataset::open(path))["format_version"] == (steps.empty() ? 1 : 2));
  }
}

TEST_CASE("Data info says in words what is fitted in each fold") {
  const test::TemporaryFolder folder;
  write_dataset(content_with(kAll), folder / "a.h5");
  const auto info = describe_dataset(Dataset::open(folder / "a.h5"));
  CHECK(info["fitted_steps"].size() == 4);
  const auto text = info_text(info, false);
  CHECK_THAT(text, contains("fitted in each fold, not applied in this file") &&
                       contains("The gene of largest variance over the training samples of domain lines") &&
                       contains("of domain patients was z-scored by the training samples of the source domain"));
  write_dataset(content_with({}), folder / "b.h5");
  CHECK_THAT(info_text(describe_dataset(Dataset::open(folder / "b.h5")), false), !contains("fitted in each fold"));
}

TEST_CASE("Steps that cannot be are refused with a sentence that names the step") {
  CHECK(complaint(kAll) == "no complaint");
  CHECK_THAT(complaint({{Kind::zscore, "mice", From::own_domain, 0}}),
             contains("fitted step 1 (zscore) is for the domain 'mice', which the data set does not have"));
  CHECK_THAT(complaint({{Kind::variable_genes, "", From::own_domain, 3}}), contains("keeps 3 genes; expected 1 to 2"));
  CHECK_THAT(complaint({{Kind::variable_genes, "", From::own_domain, 0}}), contains("keeps 0 genes"));
  CHECK_THAT(complaint({{Kind::fill_minimum, "", From::source, 0}}), contains("only zscore can"));
  // The variance after z-scoring is 1.
  CHECK_THAT(complaint({{Kind::zscore, "", From::own_domain, 0}, {Kind::variable_genes, "", From::own_domain, 1}}),
             contains("fitted step 2 (variable_genes) stands after zscore"));
  CHECK_THAT(complaint({{Kind::zscore, "", From::own_domain, 0}, {Kind::zscore, "lines", From::source, 0}}),
             contains("fitted step 2 (zscore) repeats fitted step 1"));
  CHECK_THAT(complaint({{Kind::variable_genes, "lines", From::own_domain, 1},
                        {Kind::variable_genes, "patients", From::own_domain, 1}}),
             contains("repeats fitted step 1"));
}

TEST_CASE("What a program does not know of fitted steps, it refuses") {
  CHECK(parse_complaint("[]") == "no complaint");
  CHECK_THAT(parse_complaint("{}"), contains("not a list"));
  CHECK_THAT(parse_complaint(R"([{"step":"quantile"}])"),
             contains("the kind 'quantile' of a fitted step is not known to this program") && contains("zscore"));
  CHECK_THAT(parse_complaint(R"([{"step":"zscore","from":"moon"}])"), contains("the origin 'moon'"));
  CHECK_THAT(parse_complaint(R"([{"step":"zscore","genes":4}])"), contains("the member 'genes'"));
  CHECK_THAT(parse_complaint(R"([{"step":"variable_genes","genes":1.5}])"), contains("not a whole number"));
  CHECK_THAT(parse_complaint(R"([{"domain":""}])"), contains("a fitted step cannot be read"));
  CHECK_THAT(parse_complaint(R"([3])"), contains("a fitted step cannot be read"));
}

TEST_CASE("A data set file with wrong fitted steps does not open, and none is left by the writer") {
  const test::TemporaryFolder folder;
  CHECK_THROWS_WITH(write_dataset(content_with({{Kind::zscore, "mice", From::own_domain, 0}}), folder / "a.h5"),
                    contains("/fitted_steps:") && contains("mice"));
  CHECK_FALSE(std::filesystem::exists(folder / "a.h5"));
}
