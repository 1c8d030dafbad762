// SPDX-License-Identifier: Apache-2.0
#include "store/store.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <fstream>
#include <limits>
#include <sstream>

#include "base/error.hpp"
#include "store/prediction_file.hpp"
#include "support/catch.hpp"
#include "support/small_disk.hpp"
#include "support/temporary_folder.hpp"

using namespace cdrzoo;
namespace fs = std::filesystem;

namespace {

Record make_record(const std::string& key) {
  Record r;
  r.key = key;
  r.key_inputs = {{"model", "baseline.drug_mean"}};
  r.model = "baseline.drug_mean";
  r.model_name = "drug mean";
  r.model_version = "1.0.0";
  r.plugin_path = "/some where/naive.so";
  r.plugin_hash = "00";
  r.params = nlohmann::json::object();
  r.card = {{"id", "baseline.drug_mean"}};
  r.dataset = "demo";
  r.task = "regression";
  r.caveats = {"none is known"};
  r.label_rule = nullptr;
  r.split = {{"kind", "lco"}};
  r.fold = 2;
  r.seed = 18446744073709551615ULL;
  r.protocol = "1.0";
  r.n_train = 10;
  r.timing = {{"fit_s", 0.5}};
  r.host = nlohmann::json::object();
  r.finished_at = "2026-01-01T00:00:00Z";
  return r;
}

PredictionTable make_table(std::size_t n) {
  PredictionTable t;
  for (std::size_t i = 0; i < n; ++i) {
    t.part.emplace_back(i % 2 == 0 ? "test" : "validation");
    t.record.push_back(static_cast<std::int32_t>(i));
    t.sample.push_back("sample " + std::to_string(i % 7));
    t.drug.push_back("drug " + std::to_string(i % 5));
    t.tissue.emplace_back(i % 3 == 0 ? "" : "L\xC3\xBCnge");
    t.domain.emplace_back("gdsc");
    t.truth.push_back(std::sin(static_cast<double>(i)));
    t.prediction.push_back(i % 11 == 3 ? std::numeric_limits<double>::quiet_NaN() : 1.0 / static_cast<double>(i + 1));
    t.status.push_back(i % 11 == 3 ? 1 : 0);
  }
  return t;
}

/// Conditions whose every value is a function of its place.
ConditionTable make_conditions(std::size_t n, std::int64_t genes = 3) {
  ConditionTable t;
  t.genes = genes;
  t.deg_columns = 2;
  for (std::size_t i = 0; i < n; ++i) {
    const auto number = static_cast<std::int32_t>(i);
    t.part.emplace_back(i % 3 == 0 ? "validation" : "test");
    t.name.push_back("K562: p" + std::to_string(i));
    t.context.emplace_back("K562");
    t.perturbation.push_back("p" + std::to_string(i));
    t.second.emplace_back(i % 2 == 0 ? "" : "q");
    t.domain.emplace_back("\xC3\xA4");
    t.dose_log10_molar.push_back(i % 2 == 0 ? -6.5 : std::numeric_limits<double>::quiet_NaN());
    t.time_h.push_back(24);
    t.condition.push_back(number);
    t.n_rows.push_back(10 + number);
    t.n_predicted.push_back(number);
    t.n_references.push_back(2);
    t.in_context.push_back(number % 2);
    t.singles_seen.push_back(number % 4 - 1);
    t.status.push_back(1);
    t.control_row.push_back(number % 2);
    t.train_row.push_back(-1);
    for (std::int64_t g = 0; g < genes; ++g) {
      t.truth.push_back(static_cast<float>(number) + 0.5F * static_cast<float>(g));
      t.prediction.push_back(i == 1 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(g));
    }
    t.deg.insert(t.deg.end(), {2, -1});
  }
  t.control.assign(static_cast<std::size_t>(2 * genes), 0.25F);
  t.train_shifted.assign(static_cast<std::size_t>(2 * genes), 0.75F);
  t.metrics.push_back({"mmd", std::vector<double>(n, 0.125), std::vector<std::string>(n, "sampled")});
  t.metrics.push_back({"energy_distance", std::vector<double>(n, -1), std::vector<std::string>(n)});
  return t;
}

/// As bytes: NaN is not equal to itself.
template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// Random walk: it does not compress.
PredictionTable incompressible_table(std::size_t n) {
  PredictionTable t = make_table(n);
  std::uint64_t state = 1;
  for (auto& value : t.prediction) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    value = static_cast<double>(state) * 1e-19;
  }
  return t;
}

std::string file_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void put_cell(const Store& store, const std::string& key, std::size_t rows = 20) {
  const fs::path temporary = store.new_temporary(key);
  store.commit(temporary, make_record(key), make_table(rows));
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

/// What a call throws, as text, or "" when it does not.
template <typename Exception, typename F>
std::string message_of(F&& call) {
  try {
    call();
  } catch (const Exception& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("what was fitted is in the record of a cell, and not in that of a cell where nothing was") {
  auto r = make_record("k");
  CHECK_FALSE(r.to_json().contains("fitted"));
  CHECK(Record::from_json(r.to_json(), "here").fitted.is_null());
  r.fitted = {{"sentences", {"z-scored"}}};
  CHECK(Record::from_json(r.to_json(), "here").fitted == r.fitted);
}

TEST_CASE("a committed cell is read back as it was written") {
  const test::TemporaryFolder folder;
  const Store store = Store::open(folder / "s");
  const std::size_t n = GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{40000});
  const PredictionTable table = make_table(n);
  const fs::path temporary = store.new_temporary("abc");
  std::ofstream(temporary / "log.txt") << "a line\n";
  CHECK_FALSE(store.has("abc"));
  store.commit(temporary, make_record("abc"), table);
  REQUIRE(store.has("abc"));
  CHECK(store.keys() == std::vector<std::string>{"abc"});
  CHECK(store.record("abc").to_json() == make_record("abc").to_json());
  CHECK(store.check("abc").seed == 18446744073709551615ULL);
  const PredictionTable back = store.predictions("abc");
  CHECK(back.part == table.part);
  CHECK(back.record == table.record);
  CHECK(back.sample == table.sample);
  CHECK(back.drug == table.drug);
  CHECK(back.tissue == table.tissue);
  CHECK(back.domain == table.domain);
  CHECK(back.truth == table.truth);
  CHECK(back.status == table.status);
  REQUIRE(back.prediction.size() == n);
  for (std::size_t i = 0; i < n; ++i) {
    if (!(back.prediction[i] == table.prediction[i] || (std::isnan(back.prediction[i]) && table.status[i] != 0))) {
      FAIL("row " << i << " differs");
    }
  }
  CHECK(file_text(folder / "s/cells/abc/log.txt") == "a line\n");
  CHECK_FALSE(fs::exists(temporary));
}

TEST_CASE("a table of conditions is read back as it was written, and equal ones are equal bytes") {
  const std::size_t n = GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{700});
  PredictionTable table;
  table.conditions = make_conditions(n, n == 700 ? 200 : 3);
  const ConditionTable& t = *table.conditions;
  const std::string image = encode_predictions(table);
  CHECK(image == encode_predictions(table));
  const PredictionTable back = decode_predictions(image, "here");
  CHECK(back.size() == 0);
  REQUIRE(back.conditions);
  const ConditionTable& b = *back.conditions;
  CHECK(b.part == t.part);
  CHECK(b.name == t.name);
  CHECK(b.context == t.context);
  CHECK(b.perturbation == t.perturbation);
  CHECK(b.second == t.second);
  CHECK(b.domain == t.domain);
  CHECK(bytes_of(b.dose_log10_molar) == bytes_of(t.dose_log10_molar));
  CHECK(b.time_h == t.time_h);
  CHECK(b.condition == t.condition);
  CHECK(b.n_rows == t.n_rows);
  CHECK(b.n_predicted == t.n_predicted);
  CHECK(b.n_references == t.n_references);
  CHECK(b.in_context == t.in_context);
  CHECK(b.singles_seen == t.singles_seen);
  CHECK(b.status == t.status);
  CHECK(b.control_row == t.control_row);
  CHECK(b.train_row == t.train_row);
  CHECK(b.genes == t.genes);
  CHECK(b.truth == t.truth);
  CHECK(bytes_of(b.prediction) == bytes_of(t.prediction));
  CHECK(b.control == t.control);
  CHECK(b.train_perturbed.empty());
  CHECK(b.train_shifted == t.train_shifted);
  CHECK(b.deg_columns == 2);
  CHECK(b.deg == t.deg);
  REQUIRE(b.metrics.size() == 2);  // in their order
  CHECK(b.metrics[0].name == "mmd");
  CHECK(b.metrics[0].value == t.metrics[0].value);
  CHECK(b.metrics[0].flag == t.metrics[0].flag);
  CHECK(b.metrics[1].value == t.metrics[1].value);
  CHECK_FALSE(decode_predictions(encode_predictions(make_table(2)), "here").conditions);
}

TEST_CASE("a table of conditions whose parts do not fit each other is not written") {
  PredictionTable table;
  table.conditions = make_conditions(4);
  auto& t = *table.conditions;
  SECTION("column") { t.n_rows.pop_back(); }
  SECTION("matrix") { t.truth.pop_back(); }
  SECTION("control") { t.control_row[2] = 2; }
  SECTION("training mean") { t.train_row[0] = 0; }
  SECTION("shifted control") { t.train_shifted.pop_back(); }
  SECTION("gene") { t.deg[1] = 3; }
  SECTION("score") { t.metrics[1].flag.pop_back(); }
  CHECK_THROWS_AS(encode_predictions(table), std::logic_error);
}

TEST_CASE("a damaged table of conditions is refused with the name of its file") {
  const test::TemporaryFolder folder;
  const Store store = Store::open(folder / "s");
  PredictionTable table;
  table.conditions = make_conditions(30, 40);
  store.commit(store.new_temporary("k"), make_record("k"), table);
  const fs::path path = folder / "s/cells/k/predictions.h5";
  CHECK(store.check("k").key == "k");
  const std::string image = file_text(path);
  std::string damaged = image;
  damaged[image.size() / 2] = static_cast<char>(damaged[image.size() / 2] ^ 1);
  std::ofstream(path, std::ios::binary) << damaged;
  CHECK_THAT(message_of<DataError>([&] { (void)store.predictions("k"); }), test::contains("predictions.h5: damaged"));
}

TEST_CASE("equal cells are equal bytes") {
  const test::TemporaryFolder folder;
  const Store a = Store::open(folder / "a");
  const Store b = Store::open(folder / "b");
  put_cell(a, "k", 500);
  ::sleep(1);  // HDF5 would store times in seconds
  put_cell(b, "k", 500);
  CHECK((file_text(folder / "a/cells/k/predictions.h5") == file_text(folder / "b/cells/k/predictions.h5")));
  CHECK((file_text(folder / "a/cells/k/record.json") == file_text(folder / "b/cells/k/record.json")));
}

TEST_CASE("the first of two commits of one cell stays") {
  const test::TemporaryFolder folder;
  const Store store = Store::open(folder / "s");
  const fs::path first = store.new_temporary("k");
  const fs::path second = store.new_temporary("k");
  REQUIRE(first != second);
  store.commit(first, make_record("k"), make_table(3));
  store.commit(second, make_record("k"), make_table(9));
  CHECK(store.predictions("k").size() == 3);
  CHECK_FALSE(fs::exists(second));
}

TEST_CASE("half a cell is no cell and gives way to a whole one") {
  const test::TemporaryFolder folder;
  const Store store = Store::open(folder / "s");
  fs::create_directories(folder / "s/cells/k");
  std::ofstream(folder / "s/cells/k/record.json") << "{";
  CHECK_FALSE(store.has("k"));
  CHECK(store.keys().empty());
  put_cell(store, "k");
  CHECK(store.predictions("k").size() == 20);
}

TEST_CASE("a cell is removed and a missing one is not missed") {
  const test::TemporaryFolder folder;
  const Store store = Store::open(folder / "s");
  put_cell(store, "k");
  store.remove("k");
  CHECK_FALSE(store.has("k"));
  CHECK_NOTHROW(store.remove("k"));
}

TEST_CASE("stores merge by copying cell folders") {
  const test::TemporaryFolder folder;
  const Store a = Store::open(folder / "a");
  const Store b = Store::open(folder / "b");
  put_cell(a, "k1");
  put_cell(b, "k2", 7);
  fs::copy(folder / "b/cells/k2", folder / "a/cells/k2", fs::copy_options::recursive);
  CHECK(a.keys() == std::vector<std::string>{"k1", "k2"});
  CHECK(a.check("k2").key == "k2");
  CHECK(a.predictions("k2").size() == 7);
}

TEST_CASE("a damaged cell is refused with the name of its file") {
  const test::TemporaryFolder folder;
  const Store store = Store::open(folder / "s");
  put_cell(store, "k", 300);
  const fs::path record = folder / "s/cells/k/record.json";
  const fs::path predictions = folder / "s/cells/k/predictions.h5";

  SECTION("a truncated record") {
    fs::resize_file(record, fs::file_size(record) / 2);
    CHECK_THROWS_WITH(store.record("k"), test::contains(record.string()));
    CHECK_THROWS_AS(store.record("k"), DataError);
  }
  SECTION("a record of the wrong shape") {
    std::ofstream(record) << "[1, 2]";
    CHECK_THROWS_WITH(store.record("k"), test::contains(record.string()));
  }
  SECTION("a record with a member that is missing or of the wrong type") {
    auto json = nlohmann::json::parse(file_text(record));
    json["fold"] = "two";
    std::ofstream(record) << json.dump();
    CHECK_THROWS_WITH(store.record("k"), test::contains("\"fold\""));
    json.erase("fold");
    std::ofstream(record) << json.dump();
    CHECK_THROWS_WITH(store.record("k"), test::contains("\"fold\""));
  }
  SECTION("the record of another cell") {
    put_cell(store, "other");
    fs::copy_file(folder / "s/cells/other/record.json", record, fs::copy_options::overwrite_existing);
    CHECK_THROWS_WITH(store.record("k"), test::contains("other"));
  }
  SECTION("truncated predictions") {
    fs::resize_file(predictions, fs::file_size(predictions) - 1);
    CHECK_THROWS_WITH(store.predictions("k"), test::contains(predictions.string()));
    CHECK_THROWS_AS(store.check("k"), DataError);
  }
  SECTION("one flipped bit in the predictions") {
    std::string bytes = file_text(predictions);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    std::ofstream(predictions, std::ios::binary) << bytes;
    CHECK_THROWS_WITH(store.predictions("k"), test::contains("SHA-256"));
  }
}

TEST_CASE("keys that are no names are refused") {
  const test::TemporaryFolder folder;
  const Store store = Store::open(folder / "s");
  for (const char* key : {"", ".", "..", "../x", "a/b", ".hidden", "a b"}) {
    CHECK_THROWS_AS(store.has(key), UsageError);
    CHECK_THROWS_AS(store.new_temporary(key), UsageError);
  }
}

TEST_CASE("temporary folders of a dead runner go, those of a living one stay") {
  const test::TemporaryFolder folder;
  const fs::path root = folder / "s";
  int to_child[2];
  int to_parent[2];
  REQUIRE(::pipe(to_child) == 0);
  REQUIRE(::pipe(to_parent) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const Store store = Store::open(root);
    std::ofstream(store.new_temporary("k") / "log.txt") << "half a line";
    char byte = 'r';
    if (::write(to_parent[1], &byte, 1) != 1) ::_exit(1);
    if (::read(to_child[0], &byte, 1) < 0) ::_exit(1);
    ::_exit(0);
  }
  char byte = 0;
  REQUIRE(::read(to_parent[0], &byte, 1) == 1);
  const auto sessions = [&] {
    std::size_t n = 0;
    for (const auto& entry : fs::directory_iterator(root / "tmp")) n += entry.is_directory() ? 1U : 0U;
    return n;
  };
  {
    const Store store = Store::open(root);
    CHECK(sessions() == 2);  // the child lives: both are there
  }
  CHECK(sessions() == 1);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(sessions() == 1);
  {
    const Store store = Store::open(root);
    CHECK(sessions() == 1);  // its own
  }
  CHECK(sessions() == 0);
  for (const int fd : {to_child[0], to_child[1], to_parent[0], to_parent[1]}) ::close(fd);
}

TEST_CASE("a cell is claimed by one at a time") {
  const test::TemporaryFolder folder;
  const Store a = Store::open(folder / "s");
  const Store b = Store::open(folder / "s");
  {
    const auto claim = a.try_claim("k");
    REQUIRE(claim);
    CHECK_FALSE(a.try_claim("k"));
    CHECK_FALSE(b.try_claim("k"));
    CHECK(b.try_claim("other"));
  }
  CHECK(b.try_claim("k"));
  CHECK_FALSE(fs::exists(folder / "s/tmp/claim-k"));

  const pid_t child = ::fork();
  if (child == 0) {
    const auto claim = Store::open(folder / "s").try_claim("k");
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  CHECK(a.try_claim("k"));  // the dead hold nothing
}

TEST_CASE("a full disk is one IoError and earlier cells stay intact") {
  const test::TemporaryFolder folder;
  const fs::path root = folder / "disk";
  const test::SmallDisk disk(root, "512k");
  if (!disk.mounted()) {
    WARN("skipped: mounting a small file system needs the rights of root");
    return;
  }
  {
    const Store store = Store::open(root);
    put_cell(store, "good", 1000);
    const std::string before = file_text(root / "cells/good/predictions.h5");
    const fs::path temporary = store.new_temporary("big");
    const std::string message =
        message_of<IoError>([&] { store.commit(temporary, make_record("big"), incompressible_table(200000)); });
    CHECK_THAT(message, test::contains("No space left on device"));
    CHECK_THAT(message, test::contains("predictions.h5"));
    CHECK_FALSE(fs::exists(temporary));
    CHECK(store.keys() == std::vector<std::string>{"good"});
    CHECK(file_text(root / "cells/good/predictions.h5") == before);
    CHECK(store.check("good").key == "good");
    put_cell(store, "small");  // the space came back
    CHECK(store.has("small"));
  }
}

TEST_CASE("a file size limit is one IoError") {
  const test::TemporaryFolder folder;
  const Store store = Store::open(folder / "s");
  struct rlimit old = {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  struct rlimit low = old;
  low.rlim_cur = 4096;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &low) == 0);
  const std::string message = message_of<IoError>([&] {
    const fs::path temporary = store.new_temporary("big");
    store.commit(temporary, make_record("big"), incompressible_table(20000));
  });
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
  std::signal(SIGXFSZ, handler);
  CHECK_THAT(message, test::contains("File too large"));
  CHECK(store.keys().empty());
}

TEST_CASE("a read-only folder is one IoError, and can still be read") {
  const test::TemporaryFolder folder;
  const fs::path root = folder / "disk";
  const test::SmallDisk disk(root, "1m");
  if (!disk.mounted()) {
    WARN("skipped: mounting a file system needs the rights of root");
    return;
  }
  put_cell(Store::open(root), "k");
  REQUIRE(disk.make_read_only());
  CHECK_THAT(message_of<IoError>([&] { (void)Store::open(root); }), test::contains("Read-only file system"));
  CHECK_THAT(message_of<IoError>([&] { (void)Store::open(root / "new"); }), test::contains("Read-only file system"));
  const Store reader = Store::open_read_only(root);
  CHECK(reader.keys() == std::vector<std::string>{"k"});
  CHECK(reader.predictions("k").size() == 20);
}

TEST_CASE("reading a store that is not there is an IoError that names it") {
  const test::TemporaryFolder folder;
  const std::string message = message_of<IoError>([&] { (void)Store::open_read_only(folder / "none"); });
  CHECK_THAT(message, test::contains((folder / "none").string()));
  CHECK_FALSE(fs::exists(folder / "none"));
}

TEST_CASE("runs are listed oldest first, and a run that starts again is the newest") {
  const test::TemporaryFolder folder;
  const Store store = Store::open(folder / "s");
  store.write_run("r1", {{"name", "one"}}, {"a", "b"});
  ::usleep(2000);
  store.write_run("r2", {{"name", "two"}}, {});
  REQUIRE(store.runs().size() == 2);
  CHECK(store.runs()[0].id == "r1");
  CHECK(store.runs()[0].keys == std::vector<std::string>{"a", "b"});
  CHECK(store.runs()[1].experiment.at("name") == "two");
  ::usleep(2000);
  store.write_run("r1", {{"name", "one"}}, {"a"});
  CHECK(store.runs()[1].id == "r1");
  CHECK(store.runs()[1].keys == std::vector<std::string>{"a"});
  CHECK(entries(folder / "s/runs") == 2);  // and no temporary names
}

TEST_CASE("text that is no UTF-8 does not cost the cell") {
  const test::TemporaryFolder folder;
  const Store store = Store::open(folder / "s");
  Record record = make_record("k");
  record.status = "error";
  record.message = "bad byte \xFF here";
  store.commit(store.new_temporary("k"), record, PredictionTable());
  CHECK_THAT(store.record("k").message, test::contains("bad byte"));
}
