// SPDX-License-Identifier: Apache-2.0
// The worker as a process: what the runner sees of it.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <set>
#include <thread>

#include "base/hash.hpp"
#include "base/random.hpp"
#include "data/hdf5_file.hpp"
#include "host/run/run_fixture.hpp"
#include "plugin/process.hpp"
#include "run/bundle.hpp"
#include "support/catch.hpp"
#include "worker/host_services.hpp"
#include "worker/memory.hpp"
#include "worker/state_file.hpp"
#include "worker/task.hpp"

using namespace cdrzoo;
using cdrzoo::test::contains;
using cdrzoo::test::RunFixture;
using nlohmann::json;

namespace {

const std::string kWorker = CDRZOO_BIN_DIR "/cdrzoo-worker";

struct Ran {
  ProcessResult process;
  json status;
  std::vector<json> events;
  std::filesystem::path out;

  [[nodiscard]] std::string text(const char* member) const {
    return status.is_object() ? status.value(member, "") : "no status.json";
  }
};

/// Runs a task file; progress comes by the worker's standard output.
Ran run_worker_on(const std::filesystem::path& task, const std::filesystem::path& out) {
  Ran ran;
  ran.out = out;
  ran.process = run_process({kWorker, "run", task.string(), "--out", out.string(), "--progress-fd", "1"}, 60,
                            {"LC_ALL=C", "ASAN_OPTIONS=detect_leaks=0"});
  std::ifstream file(out / "status.json");
  if (file) ran.status = json::parse(file);
  std::istringstream lines(ran.process.out);
  for (std::string line; std::getline(lines, line);) ran.events.push_back(json::parse(line));
  return ran;
}

/// The fixture plugin on the small data set, with some mode.
struct EchoCell {
  RunFixture fixture;
  Plan plan;
  std::filesystem::path cell;

  explicit EchoCell(const json& params = json::object(), const std::function<void(RunFixture&)>& change = {})
      : fixture(test::echo_card_text(), CDRZOO_ECHO_PLUGIN) {
    fixture.experiment.models[0].params = params;
    if (change) change(fixture);
    plan = fixture.plan();
    cell = fixture.folder / "cell 0";
    BundleWriter(plan, fixture.folder / "bundle").write_cell(plan.cells[0], cell);
  }
  [[nodiscard]] Ran run() const { return run_worker_on(cell / "task.json", fixture.folder / "out"); }
};

/// The process has become the worker and catches SIGTERM.
bool worker_listens(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  std::string name;
  std::ifstream(folder + "/comm") >> name;
  std::ifstream status(folder + "/status");
  for (std::string word; status >> word;) {
    if (word != "SigCgt:") continue;
    std::uint64_t caught = 0;
    status >> std::hex >> caught;
    return name == "cdrzoo-worker" && ((caught >> (SIGTERM - 1U)) & 1U) != 0;
  }
  return false;
}

}  // namespace

TEST_CASE("What a model predicts for other samples does not depend on the expression of the test samples") {
  const auto validation = [](float shift) {
    const EchoCell cell(json::object(), [&](RunFixture& f) {
      auto content = test::small_content();
      content.fitted_steps = {{FittedStep::Kind::fill_minimum, "", FittedStep::From::own_domain, 0},
                              {FittedStep::Kind::variable_genes, "", FittedStep::From::own_domain, 3},
                              {FittedStep::Kind::zscore, "", FittedStep::From::own_domain, 0}};
      for (std::size_t g = 0; g < test::kGenes; ++g) content.expression[5 * test::kGenes + g] += shift;  // l5 is tested
      write_dataset(content, f.folder / "fitted.h5");
      f.dataset = Dataset::open(f.folder / "fitted.h5");
    });
    const auto ran = cell.run();
    INFO(ran.process.err);
    REQUIRE(ran.process.ok());
    const Hdf5File file(ran.out / "predictions.h5");
    const auto mean = file.matrix<float>("/validation/mean"), test = file.matrix<float>("/test/mean");
    CHECK((std::abs(test.data[0]) > 1e5F) == (shift > 0));
    return std::vector<float>(mean.data, mean.data + mean.rows);
  };
  const auto shown = validation(0);
  // Echo predicts the first gene; l4 has 1 there, and the training lines without l3 (early stopping) have 0, 0.25, 0.5.
  const double sd = std::sqrt((0.0625 + 0 + 0.0625) / 3);
  CHECK(shown == std::vector<float>(3, static_cast<float>((1 - 0.25) * (1 / sd))));
  CHECK(validation(1e6F) == shown);
}

TEST_CASE("A cell runs end to end: what the plugin gets, what comes back") {
  const EchoCell cell({{"scale", 2.0}}, [](RunFixture& f) { f.experiment.run.save_models = true; });
  const auto ran = cell.run();
  INFO(ran.process.err);
  REQUIRE(ran.process.ok());
  CHECK(ran.text("status") == "ok");
  CHECK(ran.status["n_parameters"] == 7);
  for (const auto* entry : {"load_s", "create_s", "fit_s", "predict_s", "total_s"})
    CHECK(ran.status["timing"][entry].get<double>() >= 0);
  CHECK(ran.status["peak_rss_mb"].get<double>() > 1);

  SECTION("predictions stand in query order") {
    const Hdf5File file(ran.out / "predictions.h5");
    const auto query = query_rows(cell.plan.cells[0], cell.fixture.split.folds[0]);
    const auto mean = file.matrix<float>("/test/mean", static_cast<std::int64_t>(query.test.size()), 1);
    const auto& responses = cell.fixture.dataset.responses;
    for (std::size_t i = 0; i < query.test.size(); ++i) {
      const auto sample = responses.sample[static_cast<std::size_t>(query.test[i])];
      CHECK(mean.data[i] == 2.0F * test::expression_value(sample, 0));
    }
    CHECK(file.array<std::int32_t>("/validation/row_status", static_cast<std::int64_t>(query.validation.size()))[0] ==
          0);
  }
  SECTION("the plugin got the parameters of its card in order, and the blocks and columns that it asked for") {
    CHECK_THAT(ran.process.err, contains("[info] params: mode(4) scale(3) widths(5) note(4) loud(1) task=1 n_targets=1 "
                                         "unit=ln_ic50_um schema=2 columns=3 threads=1"));
    CHECK_THAT(ran.process.err, contains("view train: n_obs=9 labelled=1 target=yes axis1=3,expression,tissue "
                                         "axis2=3,smiles columns=1.2.8. nan=0 aligned=1"));
    CHECK_THAT(ran.process.err, contains("view valid: n_obs=3 labelled=1"));
    CHECK_THAT(ran.process.err, contains("view unlabelled: none"));
    CHECK_THAT(ran.process.err, contains("view query: n_obs=3 labelled=0 target=no axis1=1"));
  }
  SECTION("stages and progress are told while it runs") {
    std::vector<std::string> stages;
    bool progressed = false;
    for (const auto& event : ran.events) {
      if (event.contains("phase")) {
        progressed = true;
        CHECK(event ==
              json({{"stage", "fit"}, {"phase", "epoch"}, {"done", 1}, {"total", 1}, {"metrics", {{"loss", 0.5}}}}));
      } else {
        stages.push_back(event.at("stage"));
      }
    }
    CHECK(progressed);
    CHECK(stages == std::vector<std::string>{"load", "create", "fit", "predict", "predict", "info", "write", "save"});
  }
  SECTION("the model is a safetensors file that says what it belongs to") {
    const auto archive = safetensors::Archive::open(ran.out / "model.safetensors");
    double mean = 0;
    for (int s = 0; s < 3; ++s)
      for (int d = 0; d < test::kDrugs; ++d)
        mean += static_cast<double>(static_cast<float>(test::response_value(s, d)));
    CHECK(archive.at("mean").copy<float>() == std::vector<float>{static_cast<float>(mean / 9)});
    CHECK(archive.text("revision") == "1");
    CHECK(archive.text("cdrzoo.model") == "fixture.echo");
    CHECK(archive.text("cdrzoo.cell") == cell.plan.cells[0].key);
  }
  SECTION("the same task gives the same bytes") {
    const auto again = run_worker_on(cell.cell / "task.json", cell.fixture.folder / "again");
    CHECK(sha256_file_hex(again.out / "predictions.h5") == sha256_file_hex(ran.out / "predictions.h5"));
    CHECK(sha256_file_hex(again.out / "model.safetensors") == sha256_file_hex(ran.out / "model.safetensors"));
  }
  SECTION("a query in several calls gives the same bytes as in one") {
    auto task = json::parse(std::ifstream(cell.cell / "task.json"));
    CHECK(task["predict_rows"] == 16777216);  // 64 MiB of float32
    for (const int rows : {0, 1, 2, 3}) {
      task["predict_rows"] = rows;
      std::ofstream(cell.cell / "task.json") << task.dump();
      const auto pieces = run_worker_on(cell.cell / "task.json", cell.fixture.folder / std::to_string(rows));
      INFO(rows << ": " << pieces.process.err);
      REQUIRE(pieces.process.ok());
      CHECK(sha256_file_hex(pieces.out / "predictions.h5") == sha256_file_hex(ran.out / "predictions.h5"));
      const auto shown = "view query: n_obs=" + std::to_string(rows == 0 ? 3 : rows);
      CHECK_THAT(pieces.process.err, contains(shown));
    }
    task["predict_rows"] = -1;
    std::ofstream(cell.cell / "task.json") << task.dump();
    CHECK_THAT(run_worker_on(cell.cell / "task.json", cell.fixture.folder / "none").process.err,
               contains("predict_rows is -1, expected at least 0"));
  }
  SECTION("nothing else is left behind") {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(ran.out)) names.insert(entry.path().filename());
    CHECK(names == std::set<std::string>{"status.json", "predictions.h5", "model.safetensors"});
  }
}

TEST_CASE("Every broken rule becomes a status with a sentence") {
  struct Case {
    const char* mode;
    const char* status;
    const char* stage;
    const char* message;
  };
  const auto c =
      GENERATE(Case{"unwritten", "contract_violation", "predict", "left 1 of 3 rows of the validation query unwritten"},
               Case{"nan", "numeric", "predict", "returned NaN for row 2 of the validation query without a row status"},
               Case{"overrun_near", "contract_violation", "predict", "wrote beyond its output buffers"},
               Case{"overrun_far", "contract_violation", "predict", "past the end of an output buffer"},
               Case{"write_view", "contract_violation", "fit", "wrote to a view; views are read-only"},
               Case{"positive", "contract_violation", "fit", "fit returned 3, and positive values are not allowed"},
               Case{"fail", "error", "fit", "one class only; and one drug only"},
               Case{"silent", "error", "fit", "fit returned E_DATA (-8) without a reason"},
               Case{"cancel_lie", "contract_violation", "fit", "nobody asked"}, Case{"oom", "oom", "fit", "E_MEMORY"},
               Case{"no_model", "contract_violation", "create", "returned success and no model"});
  const EchoCell cell(json{{"mode", c.mode}});
  const auto ran = cell.run();
  INFO(c.mode << ": " << ran.process.err << ran.status.dump());
  CHECK(ran.process.exit_code == 1);
  CHECK(ran.text("status") == c.status);
  CHECK(ran.text("stage") == c.stage);
  CHECK_THAT(ran.text("message"), contains(c.message));
  CHECK_FALSE(std::filesystem::exists(ran.out / "predictions.h5"));
  if (std::string(c.mode) == "fail") CHECK(ran.text("where") == "fit: labels");
}

TEST_CASE("A plugin that ends the process leaves no status, which the runner takes for what it is") {
  const EchoCell cell(json{{"mode", "exit"}});
  const auto ran = cell.run();
  CHECK(ran.process.exit_code == 0);
  CHECK(ran.status.is_null());
  CHECK_FALSE(std::filesystem::exists(ran.out / "predictions.h5"));
}

TEST_CASE("A rule that is broken in one of several calls is found, and its row named") {
  const EchoCell cell(json{{"mode", GENERATE("unwritten", "nan", "overrun_near", "overrun_far")}});
  auto task = json::parse(std::ifstream(cell.cell / "task.json"));
  task["predict_rows"] = 2;
  std::ofstream(cell.cell / "task.json") << task.dump();
  const auto ran = cell.run();
  INFO(ran.process.err << ran.status.dump());
  CHECK(ran.text("stage") == "predict");
  CHECK_THAT(ran.text("message"), contains("left 1 of 2 rows of the validation query unwritten") ||
                                      contains("NaN for row 1 of the validation query") ||
                                      contains("wrote beyond its output buffers") ||
                                      contains("past the end of an output buffer"));
  CHECK_FALSE(std::filesystem::exists(ran.out / "predictions.h5"));
}

TEST_CASE("A row status replaces a prediction") {
  const EchoCell cell(json{{"mode", "row_status"}});
  const auto ran = cell.run();
  REQUIRE(ran.process.ok());
  const Hdf5File file(ran.out / "predictions.h5");
  CHECK(file.array<std::int32_t>("/test/row_status", 3)[0] == CDRZOO_ROW_UNSUPPORTED_ENTITY);
  CHECK(std::isnan(file.matrix<float>("/test/mean", 3, 1).data[0]));
  CHECK(std::isfinite(file.matrix<float>("/test/mean", 3, 1).data[1]));
}

TEST_CASE("Cancelling ends a fit in time") {
  SECTION("by SIGTERM") {
    const EchoCell cell(json{{"mode", "wait"}});
    const auto out = cell.fixture.folder / "out";
    const auto task = (cell.cell / "task.json").string();
    const auto out_text = out.string();
    const pid_t child = ::fork();
    if (child == 0) {
      const char* argv[] = {kWorker.c_str(), "run", task.c_str(), "--out", out_text.c_str(), nullptr};
      ::execv(kWorker.c_str(), const_cast<char* const*>(argv));
      ::_exit(127);
    }
    for (int i = 0; i < 6000 && !worker_listens(child); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    ::kill(child, SIGTERM);
    int wait_status = 0;
    ::waitpid(child, &wait_status, 0);
    CHECK(WIFEXITED(wait_status));
    std::ifstream file(out / "status.json");
    REQUIRE(file);
    CHECK(json::parse(file)["status"] == "cancelled");
  }
  SECTION("by its deadline") {
    const auto ran = EchoCell(json{{"mode", "wait"}}, [](RunFixture& f) { f.experiment.run.timeout_s = 0.2; }).run();
    CHECK(ran.text("status") == "timeout");
    CHECK(ran.status["timing"]["total_s"].get<double>() < 60);
  }
}

TEST_CASE("Refit fits twice and predicts the test rows with the second model") {
  const auto ran = EchoCell(json::object(), [](RunFixture& f) { f.experiment.refit = "train+val"; }).run();
  REQUIRE(ran.process.ok());
  CHECK_THAT(ran.process.err, contains("view train: n_obs=9"));
  CHECK_THAT(ran.process.err, contains("view train: n_obs=12"));
}

TEST_CASE("An expression-valued task goes round: control, dose, time, second drug, a target per gene") {
  const test::TemporaryFolder folder;
  const std::vector<float> expression = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  FeatureBlock block;
  block.name = "expression";
  block.kind = CDRZOO_BLOCK_DENSE;
  block.rows = 3;
  block.width = 3;
  block.parts.push_back({CDRZOO_PART_VALUES, CDRZOO_F32, {3, 3}, expression.data(), expression.size() * 4, false});
  EntitiesContent content;
  content.n_samples = 3;
  content.n_drugs = 2;
  content.n_genes = 3;
  content.sample_blocks = {block};
  content.hash = "aa";
  write_entities(folder, content);

  const auto view = [&](const std::string& name, const std::vector<std::int32_t>& control, bool labelled) {
    BundleView v;
    v.name = name;
    v.n_obs = static_cast<std::int64_t>(control.size());
    v.control = control;
    for (std::size_t i = 0; i < control.size(); ++i) {
      v.drug.push_back(0);
      v.drug_b.push_back(i % 2 == 0 ? -1 : 1);
      v.dose.push_back(-6.0F + static_cast<float>(i));
      v.time.push_back(24.0F);
      for (int g = 0; labelled && g < 3; ++g) v.target.push_back(static_cast<float>(g));
    }
    return v;
  };
  std::filesystem::create_directories(folder / "cell");
  write_views(folder / "cell" / "views.h5",
              {view("train", {0, 1}, true), view("validation", {1}, false), view("test", {2, 0}, false)}, 3, {}, "aa");
  const json task = {{"format", "cdrzoo-task"},
                     {"version", 1},
                     {"key", "k"},
                     {"plugin", CDRZOO_ECHO_PLUGIN},
                     {"plugin_hash", sha256_file_hex(CDRZOO_ECHO_PLUGIN)},
                     {"model", "fixture.echo"},
                     {"params",
                      {{{"key", "mode"}, {"type", "str"}, {"value", "echo"}},
                       {{"key", "scale"}, {"type", "real"}, {"value", 1.0}},
                       {{"key", "loud"}, {"type", "bool"}, {"value", true}}}},
                     {"problem", {{"task", "expression"}, {"n_targets", 3}, {"target_unit", "z"}}},
                     {"entities", "../entities-aa.h5"},
                     {"views", "views.h5"},
                     {"sample_blocks", {"expression"}},
                     {"drug_blocks", json::array()},
                     {"columns", {"drug", "drug_b", "control", "dose", "time"}},
                     {"feature_names", false},
                     {"seed", 1},
                     {"threads", 1},
                     {"device", "cpu"},
                     {"deadline_s", 0},
                     {"memory_mb", 0},
                     {"determinism", true},
                     {"assets", json::object()},
                     {"output", {{"save_model", false}}}};
  std::ofstream(folder / "cell" / "task.json") << task.dump();
  const auto ran = run_worker_on(folder / "cell" / "task.json", folder / "out");
  INFO(ran.process.err);
  REQUIRE(ran.process.ok());
  CHECK_THAT(ran.process.err, contains("task=3 n_targets=3 unit=z schema=3 columns=5"));
  CHECK_THAT(ran.process.err, contains("view train: n_obs=2 labelled=1 target=yes axis1=2,expression axis2=2 axis3=3"));
  const Hdf5File file(ran.out / "predictions.h5");
  const auto mean = file.matrix<float>("/test/mean", 2, 3);
  const std::vector<float> expected = {7 - 6, 8 - 6, 9 - 6, 1 - 5, 2 - 5, 3 - 5};
  CHECK(std::vector<float>(mean.data, mean.data + 6) == expected);
}

TEST_CASE("What cannot be run says why") {
  const EchoCell cell;
  SECTION("a plugin that changed after the plan") {
    auto task = json::parse(std::ifstream(cell.cell / "task.json"));
    task["plugin_hash"] = std::string(64, '0');
    std::ofstream(cell.cell / "task.json") << task.dump();
    const auto ran = cell.run();
    CHECK(ran.text("status") == "error");
    CHECK_THAT(ran.text("message"), contains("has changed since the plan was made"));
  }
  SECTION("no task file") {
    const auto ran = run_worker_on(cell.cell / "nothing.json", cell.fixture.folder / "out");
    CHECK(ran.process.exit_code == 1);
    CHECK_THAT(ran.text("message"), contains("cannot open"));
  }
  SECTION("a damaged task file") {
    std::ofstream(cell.cell / "task.json") << R"({"format":"cdrzoo-task","version":1)";
    CHECK_THAT(cell.run().text("message"), contains("is not a task file"));
  }
  SECTION("a truncated views file") {
    const auto views = cell.cell / "views.h5";
    std::filesystem::resize_file(views, std::filesystem::file_size(views) / 2);
    const auto ran = cell.run();
    CHECK(ran.text("status") == "error");
    CHECK_THAT(ran.text("message"), contains("views.h5"));
  }
  SECTION("bad arguments") {
    CHECK(run_process({kWorker}, 10).exit_code == 2);
    CHECK(run_process({kWorker, "fly"}, 10).exit_code == 2);
    CHECK_THAT(run_process({kWorker, "run", "a", "b"}, 10).err, contains("unexpected argument \"b\""));
    CHECK_THAT(run_process({kWorker, "run", "a", "--progress-fd", "77"}, 10).err,
               contains("not an open file descriptor"));
    CHECK(run_process({kWorker, "--help"}, 10).exit_code == 0);
  }
}

TEST_CASE("Host services keep their contracts") {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "a.txt") << "abc";
  safetensors::Writer model;
  model.add<float>("w", {2}, {1, 2});
  model.write(folder / "m.safetensors");
  worker::CallSettings settings;
  settings.seed = 3;
  settings.scratch = folder / "scratch";
  settings.assets = {{"text", folder / "a.txt"}, {"model", folder / "m.safetensors"}, {"gone", folder / "none"}};
  std::atomic<bool> cancel{false};
  settings.cancel = &cancel;
  worker::EventSink events(-1);
  worker::Operation operation(settings, events, "fit");
  auto* call = operation.call();
  const auto str = [](const char* text) { return cdrzoo_str{text, std::strlen(text)}; };

  SECTION("memory is aligned; nonsense gives NULL") {
    for (const std::uint64_t align : {1U, 8U, 64U, 4096U}) {
      void* memory = call->host->alloc(call, 10, align);
      REQUIRE(memory != nullptr);
      CHECK(reinterpret_cast<std::uintptr_t>(memory) % align == 0);
      std::memset(memory, 1, 10);
    }
    CHECK(call->host->alloc(call, 0, 8) != nullptr);
    CHECK(call->host->alloc(call, 8, 3) == nullptr);
    CHECK(call->host->alloc(call, 1ULL << 60U, 64) == nullptr);
  }
  SECTION("the first failure wins, later ones are context") {
    call->host->fail(call, CDRZOO_E_DATA, str("first"), str("here"));
    call->host->fail(call, CDRZOO_E_IO, str("second"), str("there"));
    CHECK(operation.failure().code == CDRZOO_E_DATA);
    CHECK(operation.failure().message == "first; second");
    CHECK(operation.failure().where == "here");
  }
  SECTION("cancelled follows the flag and the deadline") {
    CHECK(call->host->cancelled(call) == 0);
    cancel = true;
    CHECK(call->host->cancelled(call) == 1);
    cancel = false;
    settings.deadline_ns = 1;
    CHECK(call->host->cancelled(call) == 1);
  }
  SECTION("assets come as bytes, and as tensors where the file is one") {
    cdrzoo_asset asset{};
    asset.size = sizeof asset;
    REQUIRE(call->host->asset(call, str("text"), &asset) == CDRZOO_OK);
    CHECK(std::string(static_cast<const char*>(asset.bytes.data), asset.bytes.bytes) == "abc");
    CHECK(asset.tensors == nullptr);
    REQUIRE(call->host->asset(call, str("model"), &asset) == CDRZOO_OK);
    REQUIRE(asset.tensors != nullptr);
    CHECK(asset.tensors->count == 1);
    cdrzoo_array w{};
    REQUIRE(asset.tensors->tensor(asset.tensors->ctx, str("w"), &w) == CDRZOO_OK);
    CHECK(static_cast<const float*>(w.data)[1] == 2);
    CHECK(asset.tensors->tensor(asset.tensors->ctx, str("v"), &w) == CDRZOO_E_CORRUPT);
    CHECK(call->host->asset(call, str("unknown"), &asset) == CDRZOO_E_ASSET);
    CHECK(call->host->asset(call, str("gone"), &asset) == CDRZOO_E_ASSET);
    CHECK_THAT(operation.failure().message, contains("cannot open asset"));
  }
  SECTION("a plugin built against a shorter struct gets no more than it has room for") {
    std::vector<unsigned char> small(sizeof(cdrzoo_asset), 0xEE);
    auto* asset = reinterpret_cast<cdrzoo_asset*>(small.data());
    asset->size = offsetof(cdrzoo_asset, path);
    REQUIRE(call->host->asset(call, str("text"), asset) == CDRZOO_OK);
    CHECK(asset->size == offsetof(cdrzoo_asset, path));
    CHECK(small[offsetof(cdrzoo_asset, path)] == 0xEE);
  }
  SECTION("there are no extensions yet, and the scratch folder is there") {
    CHECK(call->host->extension(call, str("org.example/x/1")) == nullptr);
    CHECK(std::filesystem::is_directory(worker::to_string(call->scratch_dir)));
  }
}

TEST_CASE("Saved state keeps strided arrays and refuses broken ones") {
  worker::ArchiveWriter writer;
  const auto* abi = writer.abi();
  const auto str = [](const char* text) { return cdrzoo_str{text, std::strlen(text)}; };
  const std::vector<float> data = {1, 2, 3, 4, 5, 6};
  cdrzoo_array transposed{};
  transposed.dtype = CDRZOO_F32;
  transposed.rank = 2;
  transposed.data = data.data();
  transposed.bytes = data.size() * 4;
  transposed.shape[0] = 3, transposed.shape[1] = 2;
  transposed.stride[0] = 1, transposed.stride[1] = 3;
  CHECK(abi->tensor(abi->ctx, str("t"), &transposed) == CDRZOO_OK);
  CHECK(abi->tensor(abi->ctx, str("t"), &transposed) == CDRZOO_E_ARGUMENT);  // the name again
  CHECK_THAT(writer.problem(), contains("added twice"));
  auto broken = transposed;
  broken.bytes = 20;
  CHECK(abi->tensor(abi->ctx, str("short"), &broken) == CDRZOO_E_ARGUMENT);
  broken = transposed;
  broken.rank = 5;
  CHECK(abi->tensor(abi->ctx, str("rank"), &broken) == CDRZOO_E_ARGUMENT);
  broken = transposed;
  broken.dtype = 99;
  CHECK(abi->tensor(abi->ctx, str("dtype"), &broken) == CDRZOO_E_ARGUMENT);
  broken = transposed;
  broken.shape[0] = -1;
  CHECK(abi->tensor(abi->ctx, str("negative"), &broken) == CDRZOO_E_ARGUMENT);
  CHECK(abi->tensor(abi->ctx, str("null"), nullptr) == CDRZOO_E_ARGUMENT);
  CHECK(abi->text(abi->ctx, str("cdrzoo.model"), str("mine")) == CDRZOO_E_ARGUMENT);
  CHECK(abi->text(abi->ctx, str("vocabulary"), str("abc")) == CDRZOO_OK);

  const auto bytes = writer.archive().bytes();
  worker::ArchiveReader reader(safetensors::Archive::parse(bytes.data(), bytes.size(), "test"));
  const auto* in = reader.abi();
  cdrzoo_array back{};
  REQUIRE(in->tensor(in->ctx, str("t"), &back) == CDRZOO_OK);
  CHECK(std::vector<float>(static_cast<const float*>(back.data), static_cast<const float*>(back.data) + 6) ==
        std::vector<float>{1, 4, 2, 5, 3, 6});
  cdrzoo_str text{};
  CHECK(in->text(in->ctx, str("vocabulary"), &text) == CDRZOO_OK);
  CHECK(worker::to_string(text) == "abc");
  CHECK(in->text(in->ctx, str("other"), &text) == CDRZOO_E_CORRUPT);
}

TEST_CASE("A guarded buffer knows when somebody wrote beside it") {
  worker::GuardedBuffer buffer(10 * sizeof(float));
  auto* data = static_cast<float*>(buffer.data());
  CHECK(reinterpret_cast<std::uintptr_t>(data) % 64 == 0);
  for (int i = 0; i < 10; ++i) data[i] = 1;
  CHECK(buffer.intact());
  SECTION("behind") { data[10] = 1; }
  SECTION("before") { data[-1] = 1; }
  CHECK_FALSE(buffer.intact());
}
