// SPDX-License-Identifier: Apache-2.0
// The boundary: what a model class does, seen through the C tables.
#include <cdrzoo/plugin.hpp>

#include <cmath>
#include <functional>
#include <limits>

#include "plugins/harness.hpp"
#include "sdk/fake_call.hpp"
#include "support/catch.hpp"

namespace sdk = cdrzoo::sdk;
namespace test = cdrzoo::test;
using test::contains;
using test::FakeCall;

namespace {

/// What fit shall do in the running test.
std::function<void(sdk::Context&, const sdk::FitData&)> on_fit;  // NOLINT
int n_alive = 0;                                                 // NOLINT

/// Predicts shift + the mean of the training labels; the number of fits of this very object is part of its state.
class MeanModel final : public sdk::Model {
 public:
  MeanModel(const sdk::Problem& problem, const sdk::Params& params) : shift_(params.real("shift")) {
    if (problem.task != sdk::Task::regression) throw sdk::Error(CDRZOO_E_UNSUPPORTED, "only regression");
    if (shift_ > 100) throw sdk::Error(CDRZOO_E_PARAM, "shift is too large");
    ++n_alive;
  }
  ~MeanModel() override { --n_alive; }
  MeanModel(const MeanModel&) = delete;
  MeanModel& operator=(const MeanModel&) = delete;

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    ++n_fits_;
    if (on_fit) on_fit(context, data);
    const auto y = data.train.target();
    double sum = 0;
    for (std::int64_t i = 0; i < y.rows(); ++i) sum += static_cast<double>(y(i, 0));
    mean_ = sum / static_cast<double>(y.rows());
  }
  void predict(sdk::Context&, const sdk::View& query, sdk::Predictions& out) const override {
    for (std::int64_t i = 0; i < query.n_obs(); ++i) {
      if (query.sample()[i] == 1) {
        out.unsupported(i);
      } else {
        out.set(i, mean_ + shift_);
      }
    }
  }
  void save(sdk::Context&, sdk::StateWriter& state) const override {
    state.scalar("mean", mean_);
    state.tensor("fits", std::vector<std::int64_t>{n_fits_});
    state.text("revision", "1");
  }
  void load(sdk::Context&, sdk::StateReader& state) override {
    if (state.text("revision") != "1") throw sdk::Error(CDRZOO_E_CORRUPT, "unknown revision");
    mean_ = state.scalar<double>("mean");
    n_fits_ = state.vector<std::int64_t>("fits", {1})[0];
  }
  [[nodiscard]] sdk::ModelInfo info() const override { return {n_fits_, 0, 0, 8}; }

 private:
  double shift_, mean_ = 0;
  std::int64_t n_fits_ = 0;
};

class EmbeddingModel final : public sdk::Model {
 public:
  EmbeddingModel(sdk::Context& context, const sdk::Problem&, const sdk::Params&) : seed_(context.seed()) {}
  void fit(sdk::Context&, const sdk::FitData&) override {}
  void predict(sdk::Context&, const sdk::View&, sdk::Predictions&) const override {}
  void save(sdk::Context&, sdk::StateWriter&) const override {}
  void load(sdk::Context&, sdk::StateReader&) override {}
  [[nodiscard]] sdk::ModelInfo info() const override { return {0, 1, 0, 0}; }
  void embed(sdk::Context&, sdk::Axis, const sdk::View& view, sdk::Matrix<float> out) const override {
    for (std::int64_t i = 0; i < view.samples().size(); ++i) out(i, 0) = static_cast<float>(seed_);
  }

 private:
  std::uint64_t seed_;
};

constexpr const cdrzoo_ops& kOps = sdk::detail::kOps<MeanModel>;

test::Table table() {
  test::Table t;
  t.samples.key = {10, 11};
  t.samples.blocks = {test::Block::dense("expression", 2, {1, 2, 3, 4})};
  t.drugs.key = {20};
  t.sample = {0, 1, 0};
  t.drug = {0, 0, 0};
  t.target = {1, 2, 6};
  return t;
}

cdrzoo_value real(const char* key, double value) {
  cdrzoo_value v{};
  v.size = sizeof v;
  v.type = CDRZOO_VALUE_REAL;
  v.key = {key, std::strlen(key)};
  v.f = value;
  return v;
}

/// The C side of one model.
struct Fixture {
  test::View train{table()};
  test::View schema{table(), true};
  cdrzoo_problem problem{};
  cdrzoo_value value = real("shift", 0.5);
  cdrzoo_span params{&value, 1, sizeof value, 0};
  cdrzoo_fit_in in{};
  cdrzoo_model* model = nullptr;
  std::vector<float> mean = std::vector<float>(3, std::numeric_limits<float>::quiet_NaN());
  std::vector<std::int32_t> row_status = {0, 0, 0};
  cdrzoo_predict_out out{};

  Fixture() {
    on_fit = nullptr;
    problem.size = sizeof problem;
    problem.task = CDRZOO_TASK_REGRESSION;
    problem.n_targets = 1;
    problem.schema = schema.entities();
    problem.columns = schema.columns();
    in.size = sizeof in;
    in.train = train.get();
    out.size = sizeof out;
    out.mean = mean.data();
    out.mean_stride = 1;
    out.row_status = row_status.data();
  }
  ~Fixture() {
    kOps.destroy(model);
    on_fit = nullptr;
  }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  cdrzoo_status create(FakeCall& call) { return kOps.create(call.get(), &problem, params, &model); }
  cdrzoo_status fit(FakeCall& call) { return kOps.fit(call.get(), model, &in); }
  cdrzoo_status predict(FakeCall& call) { return kOps.predict(call.get(), model, train.get(), &out); }
};

}  // namespace

TEST_CASE("a model lives through create, fit, predict, save, load and destroy", "[sdk]") {
  Fixture f;
  FakeCall call;
  REQUIRE(f.create(call) == CDRZOO_OK);
  REQUIRE(f.fit(call) == CDRZOO_OK);
  REQUIRE(f.predict(call) == CDRZOO_OK);
  CHECK(f.mean == std::vector<float>{3.5F, 0.0F, 3.5F});
  CHECK(f.row_status == std::vector<std::int32_t>{CDRZOO_ROW_OK, CDRZOO_ROW_UNSUPPORTED_ENTITY, CDRZOO_ROW_OK});

  test::State state;
  const auto writer = state.writer();
  REQUIRE(kOps.save(call.get(), f.model, &writer) == CDRZOO_OK);
  CHECK(state.order == std::vector<std::string>{"mean", "fits"});
  const auto reader = state.reader();
  cdrzoo_model* loaded = nullptr;
  REQUIRE(kOps.load(call.get(), &f.problem, f.params, &reader, &loaded) == CDRZOO_OK);
  f.mean.assign(3, -1);
  REQUIRE(kOps.predict(call.get(), loaded, f.train.get(), &f.out) == CDRZOO_OK);
  CHECK(f.mean[0] == 3.5F);
  kOps.destroy(loaded);
  kOps.destroy(nullptr);
  CHECK(call.n_fails == 0);
}

TEST_CASE("nothing but fit or destroy follows create or a failed fit", "[sdk]") {
  Fixture f;
  FakeCall call;
  REQUIRE(f.create(call) == CDRZOO_OK);
  test::State state;
  const auto writer = state.writer();
  CHECK(f.predict(call) == CDRZOO_E_STATE);
  CHECK(call.message == "the model has not been fitted");
  CHECK(call.where == "predict");
  CHECK(kOps.save(call.get(), f.model, &writer) == CDRZOO_E_STATE);

  on_fit = [](sdk::Context&, const sdk::FitData&) { throw sdk::Error(CDRZOO_E_DATA, "one class"); };
  CHECK(f.fit(call) == CDRZOO_E_DATA);
  CHECK(f.predict(call) == CDRZOO_E_STATE);
  CHECK_THAT(call.message, contains("failed in fit"));
  on_fit = nullptr;
  CHECK(f.fit(call) == CDRZOO_OK);
  CHECK(f.predict(call) == CDRZOO_OK);
  // A fit that breaks the contract is a failed fit, too.
  CHECK(kOps.fit(call.get(), f.model, nullptr) == CDRZOO_E_ARGUMENT);
  CHECK(f.predict(call) == CDRZOO_E_STATE);
}

TEST_CASE("a second fit meets a new object", "[sdk]") {
  Fixture f;
  FakeCall call;
  REQUIRE(f.create(call) == CDRZOO_OK);
  for (int i = 0; i < 3; ++i) {
    REQUIRE(f.fit(call) == CDRZOO_OK);
    cdrzoo_model_info info{};
    info.size = sizeof info;
    REQUIRE(kOps.info(call.get(), f.model, &info) == CDRZOO_OK);
    CHECK(info.n_parameters == 1);  // fits of this object
    CHECK(info.bytes == 8);
  }
}

TEST_CASE("every exception becomes its status, and only one line reaches the user", "[sdk]") {
  Fixture f;
  FakeCall call;
  REQUIRE(f.create(call) == CDRZOO_OK);
  struct Row {
    std::function<void(sdk::Context&)> body;
    cdrzoo_status status;
    std::string message, where;
  };
  const std::vector<Row> rows = {
      {[](sdk::Context&) { throw sdk::Error(CDRZOO_E_NUMERIC, "loss is NaN"); }, CDRZOO_E_NUMERIC, "loss is NaN",
       "fit"},
      {[](sdk::Context& c) {
         c.step("epoch 3");
         throw sdk::Error(CDRZOO_E_NUMERIC, "loss is NaN");
       },
       CDRZOO_E_NUMERIC, "loss is NaN", "fit: epoch 3"},
      {[](sdk::Context&) { throw sdk::Error(7, "a positive code"); }, CDRZOO_E_INTERNAL, "a positive code", "fit"},
      {[](sdk::Context&) { throw std::bad_alloc(); }, CDRZOO_E_MEMORY, "no memory is left", "fit"},
      {[](sdk::Context&) { throw std::runtime_error("first line\nstack\ntrace"); }, CDRZOO_E_INTERNAL, "first line",
       "fit"},
      {[](sdk::Context&) { throw 42; }, CDRZOO_E_INTERNAL, "an exception of unknown type", "fit"},
      {[](sdk::Context&) { throw sdk::Cancelled{}; }, CDRZOO_E_CANCELLED, "cancelled", "fit"},
  };
  for (const Row& row : rows) {
    on_fit = [&row](sdk::Context& c, const sdk::FitData&) { row.body(c); };
    FakeCall failing;
    CHECK(f.fit(failing) == row.status);
    CHECK(failing.n_fails == 1);
    CHECK(failing.code == row.status);
    CHECK(failing.message == row.message);
    CHECK(failing.where == row.where);
    CHECK(failing.logs.size() == (row.message == "first line" ? 1U : 0U));
  }
}

TEST_CASE("cancellation, deadline and lack of memory leave the operation", "[sdk]") {
  Fixture f;
  FakeCall call;
  REQUIRE(f.create(call) == CDRZOO_OK);
  int rounds = 0;
  on_fit = [&rounds](sdk::Context& c, const sdk::FitData&) {
    for (;; ++rounds) {
      try {
        c.check_cancelled();
      } catch (const std::exception&) {  // a model's own handler must not swallow it
        rounds += 1000;
      }
    }
  };
  FakeCall cancelled;
  cancelled.cancel_after = 5;
  CHECK(f.fit(cancelled) == CDRZOO_E_CANCELLED);
  CHECK(rounds == 5);

  on_fit = [](sdk::Context& c, const sdk::FitData&) { c.check_cancelled(); };
  FakeCall late;
  late.call.deadline_ns = 1;
  CHECK(f.fit(late) == CDRZOO_E_DEADLINE);
  late.call.deadline_ns = std::numeric_limits<std::uint64_t>::max();
  CHECK(f.fit(late) == CDRZOO_OK);

  on_fit = [](sdk::Context& c, const sdk::FitData&) {
    const auto span = c.alloc<double>(100);
    REQUIRE(span.size() == 100);
    span[99] = 1;
    REQUIRE(reinterpret_cast<std::uintptr_t>(span.data()) % 64 == 0);
    REQUIRE(c.alloc<double>(0).empty());
    (void)c.alloc<double>(std::numeric_limits<std::int64_t>::max());
  };
  CHECK(f.fit(call) == CDRZOO_E_MEMORY);
  on_fit = [](sdk::Context& c, const sdk::FitData&) { (void)c.alloc<double>(100); };
  FakeCall poor;
  poor.memory_left = 799;
  CHECK(f.fit(poor) == CDRZOO_E_MEMORY);
}

TEST_CASE("services reach the host as they were called", "[sdk]") {
  Fixture f;
  FakeCall call(9, 3);
  REQUIRE(f.create(call) == CDRZOO_OK);
  on_fit = [](sdk::Context& c, const sdk::FitData& data) {
    REQUIRE(c.seed() == 9);
    REQUIRE(c.threads() == 3);
    REQUIRE_FALSE(c.cuda());
    REQUIRE(data.train.n_obs() == 3);
    REQUIRE_FALSE(data.valid.has_value());
    REQUIRE_FALSE(data.unlabelled_target.has_value());
    c.progress("train", 2, 10, {{"loss", 0.25}});
    c.warn("careful");
    REQUIRE_THROWS_AS(c.asset("none"), sdk::Error);
    REQUIRE(c.extension("x/1") == nullptr);
  };
  REQUIRE(f.fit(call) == CDRZOO_OK);
  CHECK(call.progress == std::vector<std::string>{"train 2/10 loss=0.250000"});
  CHECK(call.logs == std::vector<std::string>{"careful"});
}

TEST_CASE("a failed create or load gives no model and leaks none", "[sdk]") {
  const int before = n_alive;
  Fixture f;
  FakeCall call;
  f.value.f = 101;
  CHECK(f.create(call) == CDRZOO_E_PARAM);
  CHECK(f.model == nullptr);
  f.value.f = 1;
  f.problem.task = CDRZOO_TASK_BINARY;
  CHECK(f.create(call) == CDRZOO_E_UNSUPPORTED);
  f.problem.task = CDRZOO_TASK_REGRESSION;
  f.params.count = 0;
  CHECK(f.create(call) == CDRZOO_E_PARAM);
  CHECK_THAT(call.message, contains("\"shift\" is missing"));
  f.params.count = 1;

  test::State empty;
  auto reader = empty.reader();
  auto* sentinel = reinterpret_cast<cdrzoo_model*>(&f);
  cdrzoo_model* loaded = sentinel;
  CHECK(kOps.load(call.get(), &f.problem, f.params, &reader, &loaded) == CDRZOO_E_CORRUPT);
  CHECK(loaded == nullptr);
  CHECK(n_alive == before);
}

TEST_CASE("a damaged state is refused with what was expected", "[sdk]") {
  test::State state;
  auto c_writer = state.writer();
  sdk::StateWriter writer(&c_writer);
  writer.tensor("w", std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK_THROWS_WITH(writer.tensor("w", std::vector<float>{1}, {1}), contains("\"w\" cannot be written"));
  CHECK_THROWS_WITH(writer.tensor("x", std::vector<float>{1}, {2}), contains("1 elements for the shape of 2"));
  const auto c_reader = state.reader();
  const sdk::StateReader reader(&c_reader);
  CHECK(reader.names() == std::vector<std::string>{"w"});
  CHECK(reader.vector<float>("w", {2, -1}) == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK_THROWS_WITH(reader.tensor<float>("w", {3, 2}), contains("is f32 [2, 3], but f32 [3, 2] was expected"));
  CHECK_THROWS_WITH(reader.tensor<double>("w", {2, 3}), contains("but f64 [2, 3] was expected"));
  CHECK_THROWS_WITH(reader.tensor<float>("w", {6}), contains("was expected"));
  CHECK_THROWS_WITH(reader.tensor<float>("v", {6}), contains("has no tensor \"v\""));
  CHECK_THROWS_WITH(reader.text("t"), contains("has no text \"t\""));
  state.tensors["w"].array.bytes = 20;
  CHECK_THROWS_WITH(reader.tensor<float>("w", {2, 3}), contains("was expected"));
  CHECK(reader.has("w"));
  CHECK_FALSE(reader.has("v"));
}

TEST_CASE("calls that break the contract are refused, not believed", "[sdk]") {
  Fixture f;
  FakeCall call;
  REQUIRE(f.create(call) == CDRZOO_OK);
  REQUIRE(f.fit(call) == CDRZOO_OK);
  cdrzoo_model* none = nullptr;
  CHECK(kOps.create(nullptr, &f.problem, f.params, &none) == CDRZOO_E_ARGUMENT);
  CHECK(none == nullptr);
  CHECK(kOps.create(call.get(), &f.problem, f.params, nullptr) == CDRZOO_E_ARGUMENT);
  CHECK(kOps.fit(call.get(), nullptr, &f.in) == CDRZOO_E_ARGUMENT);
  CHECK(kOps.predict(call.get(), nullptr, f.train.get(), &f.out) == CDRZOO_E_ARGUMENT);

  REQUIRE(f.fit(call) == CDRZOO_OK);
  CHECK(kOps.predict(call.get(), f.model, nullptr, &f.out) == CDRZOO_E_ARGUMENT);
  CHECK(kOps.predict(call.get(), f.model, f.train.get(), nullptr) == CDRZOO_E_ARGUMENT);
  f.out.mean_stride = 0;
  CHECK(f.predict(call) == CDRZOO_E_ARGUMENT);
  f.out.mean_stride = 1;
  f.out.size -= 8;
  CHECK(f.predict(call) == CDRZOO_E_ARGUMENT);
  CHECK_THAT(call.message, contains("the output of predict has"));

  test::Table unlabelled = table();
  unlabelled.target.clear();
  const test::View view(unlabelled);
  f.in.train = view.get();
  CHECK(f.fit(call) == CDRZOO_E_ARGUMENT);
  CHECK_THAT(call.message, contains("no labels"));

  f.problem.n_targets = 0;
  CHECK(kOps.create(call.get(), &f.problem, f.params, &none) == CDRZOO_E_ARGUMENT);
  call.call.size = 8;
  CHECK(f.fit(call) == CDRZOO_E_ARGUMENT);
}

TEST_CASE("embed is offered by models that define it, and only by those", "[sdk]") {
  CHECK(kOps.embed == nullptr);
  constexpr const cdrzoo_ops& ops = sdk::detail::kOps<EmbeddingModel>;
  REQUIRE(ops.embed != nullptr);
  Fixture f;
  FakeCall call(5);
  cdrzoo_model* model = nullptr;
  REQUIRE(ops.create(call.get(), &f.problem, f.params, &model) == CDRZOO_OK);
  float data[2] = {};
  cdrzoo_embed_out out{};
  out.size = sizeof out;
  out.data = data;
  out.stride = 1;
  out.dim = 1;
  CHECK(ops.embed(call.get(), model, CDRZOO_AXIS_SAMPLE, f.train.get(), &out) == CDRZOO_E_STATE);
  REQUIRE(ops.fit(call.get(), model, &f.in) == CDRZOO_OK);
  CHECK(ops.embed(call.get(), model, CDRZOO_AXIS_SAMPLE, f.train.get(), &out) == CDRZOO_OK);
  CHECK(data[1] == 5.0F);
  CHECK(ops.embed(call.get(), model, CDRZOO_AXIS_GENE, f.train.get(), &out) == CDRZOO_E_UNSUPPORTED);
  out.stride = 0;
  CHECK(ops.embed(call.get(), model, CDRZOO_AXIS_SAMPLE, f.train.get(), &out) == CDRZOO_E_ARGUMENT);
  ops.destroy(model);
}

TEST_CASE("the answer to an offer is the smaller minor, or a refusal that says what is needed", "[sdk]") {
  static constexpr sdk::Card kCard{{"a.b", 3}, {"{}", 2}};
  static constexpr cdrzoo_model_type kModels[] = {sdk::model<MeanModel>(kCard)};
  cdrzoo_offer offer{};
  offer.size = sizeof offer;
  offer.host_minor_max = 999;
  // A future host's answer is larger; what is beyond ours must stay as it was.
  struct {
    cdrzoo_answer answer;
    std::uint8_t future[64];
  } room;
  std::memset(&room, 0xa5, sizeof room);
  room.answer.size = sizeof room;
  CHECK(cdrzoo_answer_offer(&offer, &room.answer, 0, kModels, 1) == CDRZOO_OK);
  CHECK(room.answer.size == sizeof(cdrzoo_answer));
  CHECK(room.answer.minor == CDRZOO_ABI_MINOR);
  CHECK(room.answer.models.count == 1);
  CHECK(room.answer.models.stride == sizeof(cdrzoo_model_type));
  CHECK(test::text(CDRZOO_AT(room.answer.models, cdrzoo_model_type, 0)->id) == "a.b");
  for (const std::uint8_t byte : room.future) REQUIRE(byte == 0xa5);

  room.answer.size = sizeof(cdrzoo_answer);
  offer.host_minor_min = CDRZOO_ABI_MINOR + 1;
  CHECK(cdrzoo_answer_offer(&offer, &room.answer, 0, kModels, 1) == CDRZOO_E_VERSION);
  CHECK(room.answer.models.count == 0);
  offer.host_minor_min = 0;
  offer.host_minor_max = 3;
  room.answer.size = sizeof(cdrzoo_answer);
  CHECK(cdrzoo_answer_offer(&offer, &room.answer, 4, kModels, 1) == CDRZOO_E_VERSION);
  CHECK(room.answer.needs_minor == 4);
  CHECK(room.answer.built_minor == CDRZOO_ABI_MINOR);
  room.answer.size = sizeof(cdrzoo_answer) - 1;
  CHECK(cdrzoo_answer_offer(&offer, &room.answer, 0, kModels, 1) == CDRZOO_E_ARGUMENT);
  CHECK(cdrzoo_answer_offer(nullptr, &room.answer, 0, kModels, 1) == CDRZOO_E_ARGUMENT);
}
