// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>

#include <cdrzoo/torch.hpp>
#include <cdrzoo/torch_safetensors.hpp>
#include <cdrzoo/torch_target_unit.hpp>
#include <numeric>

#include "plugins/harness.hpp"
#include "sdk/fake_call.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"

namespace sdk = cdrzoo::sdk;
namespace test = cdrzoo::test;
using test::contains;
using test::FakeCall;

namespace {

test::Table table() {
  test::Table t;
  t.samples.key = {10, 11};
  t.samples.blocks = {test::Block::dense("expression", 3, {1, 2, 3, 4, 5, 6})};
  t.drugs.key = {20, 21, 22};
  t.drugs.blocks = {test::Block::bits("morgan", 2, {1, 0, 0, 1, 1, 1})};
  t.sample = {0, 1, 1, 0};
  t.drug = {2, 1, 0, 0};
  t.target = {1, 2, 3, 4};
  return t;
}

/// Linear, batch norm, linear without a bias: parameters, float buffers and an integer buffer.
torch::nn::Sequential network() {
  return torch::nn::Sequential(torch::nn::Linear(3, 4), torch::nn::BatchNorm1d(4),
                               torch::nn::Linear(torch::nn::LinearOptions(4, 1).bias(false)));
}

bool same_state(const torch::nn::Module& a, const torch::nn::Module& b) {
  const auto left = sdk::state_of(a), right = sdk::state_of(b);
  if (left.size() != right.size()) return false;
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (left[i].first != right[i].first || !left[i].second.equal(right[i].second)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("blocks, columns and targets become tensors over the same memory", "[torch]") {
  const test::View c_view(table());
  const sdk::View view(c_view.get());
  const auto expression = view.samples().dense("expression");
  const torch::Tensor x = sdk::borrow(expression);
  CHECK(x.data_ptr() == static_cast<const void*>(expression.f32().data()));
  CHECK(x.sizes() == torch::IntArrayRef({2, 3}));
  CHECK(x[1][2].item<float>() == 6.0F);
  const torch::Tensor bits = sdk::borrow(view.drugs().dense("morgan"));
  CHECK(bits.scalar_type() == torch::kUInt8);
  CHECK(bits.data_ptr() == static_cast<const void*>(view.drugs().dense("morgan").u8().data()));
  CHECK(sdk::floats_of(view.samples().dense("expression")).data_ptr() == x.data_ptr());
  CHECK(sdk::floats_of(view.drugs().dense("morgan")).scalar_type() == torch::kFloat32);
  CHECK(sdk::borrow(view.sample()).data_ptr() == static_cast<const void*>(view.sample().data()));
  CHECK(sdk::borrow(view.target()).data_ptr() == static_cast<const void*>(view.target().data()));
  const torch::Tensor index = sdk::index_of(view.drug());
  CHECK(index.scalar_type() == torch::kInt64);
  CHECK(x.index_select(0, sdk::index_of(view.sample()))[2][0].item<float>() == 4.0F);

  const sdk::Matrix<const float> apart(expression.f32().data(), 2, 2, 3);
  CHECK(sdk::borrow(apart).equal(x.narrow(1, 0, 2)));
  CHECK(sdk::borrow(sdk::Span<const float>()).numel() == 0);
  cdrzoo_array wide = expression.array();
  wide.dtype = CDRZOO_U64;
  CHECK_THROWS_WITH(sdk::borrow(wide), contains("cannot become a tensor"));
}

TEST_CASE("predictions take any float tensor of the right shape", "[torch]") {
  std::vector<float> room(6, -1);
  const sdk::Matrix<float> out(room.data(), 3, 1, 2);
  sdk::copy_to(torch::tensor({1.0, 2.0, 3.0}, torch::kFloat64), out);
  CHECK(room == std::vector<float>{1, -1, 2, -1, 3, -1});
  sdk::copy_to(torch::ones({3, 1}).requires_grad_(), out);
  CHECK(room[4] == 1.0F);
  CHECK_THROWS_WITH(sdk::copy_to(torch::ones({4}), out), contains("gave 4 values where [3, 1]"));
  CHECK_THROWS_WITH(sdk::copy_to(torch::ones({1, 3}), out), contains("were expected"));
}

TEST_CASE("guards set what the call wants and restore what they found", "[torch]") {
  const int threads = at::get_num_threads();
  const auto dtype = c10::get_default_dtype();
  torch::manual_seed(5);
  const torch::Tensor expected = torch::rand({3});
  torch::manual_seed(5);
  FakeCall call(11, 1);
  call.call.determinism = 1;
  const sdk::Context context(call.get());
  const bool grad = torch::GradMode::is_enabled();
  torch::Tensor first, second;
  for (torch::Tensor* drawn : {&first, &second}) {
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(torch::kFloat64));
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    CHECK(at::get_num_threads() == 1);
    CHECK(torch::ones({1}).scalar_type() == torch::kFloat32);
    CHECK(at::globalContext().deterministicAlgorithms());
    CHECK_FALSE(torch::GradMode::is_enabled());
    *drawn = torch::rand({3});
  }
  CHECK(c10::get_default_dtype() == c10::scalarTypeToTypeMeta(torch::kFloat64));
  c10::set_default_dtype(dtype);
  CHECK(first.equal(second));
  CHECK(at::get_num_threads() == threads);
  CHECK_FALSE(at::globalContext().deterministicAlgorithms());
  CHECK(torch::GradMode::is_enabled() == grad);
  CHECK(torch::rand({3}).equal(expected));  // the generator goes on as if nothing had happened

  try {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    throw 1;
  } catch (int) {
  }
  CHECK(at::get_num_threads() == threads);
  CHECK(torch::GradMode::is_enabled() == grad);
}

TEST_CASE("a parallel loop compiled here runs on as many threads as the call has", "[torch]") {
  for (const int threads : {1, 3}) {
    FakeCall call(1, threads);
    const sdk::Context context(call.get());
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    std::vector<int> thread_of(3, -1);
    at::parallel_for(0, 3, /*grain_size=*/1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) thread_of[static_cast<std::size_t>(i)] = at::get_thread_num();
    });
    CHECK((thread_of == (threads == 1 ? std::vector<int>{0, 0, 0} : std::vector<int>{0, 1, 2})));
  }
}

TEST_CASE("a device that is not there is an error", "[torch]") {
  FakeCall call;
  CHECK(sdk::device_of(sdk::Context(call.get())).is_cpu());
  call.call.device_kind = CDRZOO_DEVICE_CUDA;
  call.call.device_index = 4711;
  CHECK_THROWS_AS(sdk::device_of(sdk::Context(call.get())), sdk::Error);
}

TEST_CASE("each epoch covers each row once, the partial batch included", "[torch]") {
  FakeCall call(3);
  const sdk::Context context(call.get());
  for (const std::int64_t n : {0, 1, 7, 8, 9, 100}) {
    const sdk::Batches batches(context, n, 4);
    CAPTURE(n);
    std::vector<std::vector<std::int64_t>> orders;
    for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
      std::vector<std::int64_t> seen;
      std::int64_t n_batches = 0;
      for (const torch::Tensor& rows : batches.epoch(epoch)) {
        REQUIRE(rows.scalar_type() == torch::kInt64);
        REQUIRE(rows.size(0) <= 4);
        seen.insert(seen.end(), rows.data_ptr<std::int64_t>(), rows.data_ptr<std::int64_t>() + rows.size(0));
        ++n_batches;
      }
      CHECK(n_batches == batches.per_epoch());
      orders.push_back(seen);
      std::sort(seen.begin(), seen.end());
      std::vector<std::int64_t> all(static_cast<std::size_t>(n));
      std::iota(all.begin(), all.end(), 0);
      CHECK(seen == all);
    }
    if (n > 6) CHECK(orders[0] != orders[1]);
  }
}

TEST_CASE("the order of batches is a function of seed and epoch", "[torch]") {
  const auto first_batch = [](std::uint64_t seed, std::uint64_t epoch) {
    FakeCall call(seed);
    const sdk::Context context(call.get());
    const sdk::Batches batches(context, 1000, 10);
    return (*batches.epoch(epoch).begin()).clone();
  };
  CHECK(first_batch(1, 5).equal(first_batch(1, 5)));
  CHECK_FALSE(first_batch(1, 5).equal(first_batch(2, 5)));
  CHECK_FALSE(first_batch(1, 5).equal(first_batch(1, 6)));
}

TEST_CASE("a last batch that is too small joins the one before", "[torch]") {
  FakeCall call;
  const sdk::Context context(call.get());
  sdk::Batches::Options options;
  options.shuffle = false;
  options.min_rows = 2;
  const auto sizes = [&](std::int64_t n) {
    std::vector<std::int64_t> out;
    const sdk::Batches batches(context, n, 4, options);
    for (const torch::Tensor& rows : batches.epoch(0)) out.push_back(rows.size(0));
    return out;
  };
  CHECK(sizes(9) == std::vector<std::int64_t>{4, 5});
  CHECK(sizes(10) == std::vector<std::int64_t>{4, 4, 2});
  CHECK(sizes(1) == std::vector<std::int64_t>{1});
  CHECK_THROWS_WITH(sdk::Batches(context, 4, 0), contains("batch size is 0"));
}

TEST_CASE("batches stop when the operation is cancelled", "[torch]") {
  FakeCall call;
  call.cancel_after = 3;
  const sdk::Context context(call.get());
  int n = 0;
  const auto run = [&] {
    const sdk::Batches batches(context, 100, 1);
    for ([[maybe_unused]] const torch::Tensor& rows : batches.epoch(0)) ++n;
  };
  CHECK_THROWS_AS(run(), sdk::Cancelled);
  CHECK(n == 3);
}

TEST_CASE("pairs are gathered by row", "[torch]") {
  const test::View c_view(table());
  const sdk::Pairs pairs = sdk::pairs_of(sdk::View(c_view.get()));
  const sdk::Pairs picked = pairs.select(torch::tensor({3, 0}, torch::kInt64));
  CHECK(picked.sample.equal(torch::tensor({0, 0}, torch::kInt64)));
  CHECK(picked.drug.equal(torch::tensor({0, 2}, torch::kInt64)));
  CHECK(picked.target.equal(torch::tensor({4.0F, 1.0F}).view({2, 1})));
  test::Table unlabelled = table();
  unlabelled.target.clear();
  const test::View c_query(unlabelled);
  CHECK_FALSE(sdk::pairs_of(sdk::View(c_query.get())).select(torch::tensor({0}, torch::kInt64)).target.defined());
}

TEST_CASE("the entities of a mini-batch are found once, with their places and counts", "[torch]") {
  const sdk::Unique drugs = sdk::unique_of(torch::tensor({4, 1, 4, 4, 2}, torch::kInt64));
  CHECK(drugs.entity.equal(torch::tensor({1, 2, 4}, torch::kInt64)));
  CHECK(drugs.index.equal(torch::tensor({2, 0, 2, 2, 1}, torch::kInt64)));
  CHECK(drugs.count.equal(torch::tensor({1, 1, 3}, torch::kInt64)));
}

TEST_CASE("entities are ordered by their first use, unused ones go", "[torch]") {
  torch::Tensor features = torch::tensor({0.0F, 10.0F, 20.0F, 30.0F}).view({4, 1});
  torch::Tensor index = torch::tensor({3, 1, 3, 0}, torch::kInt64);
  const torch::Tensor per_row = features.index_select(0, index);
  sdk::order_by_first_use(features, index);
  CHECK(features.view({-1}).equal(torch::tensor({30.0F, 10.0F, 0.0F})));
  CHECK(index.equal(torch::tensor({0, 1, 0, 2}, torch::kInt64)));
  CHECK(features.index_select(0, index).equal(per_row));
}

TEST_CASE("graphs become tensors, one after the other, and are picked by number", "[torch]") {
  test::Table t = table();
  t.drugs.blocks = {test::Block::graphs(
      "graph", 2,
      {{{1, 2, 3, 4}, {0, 1}, {1, 0}, {5, 6}, {0, 7, 7, 0}}, {{}, {}, {}, {}, {}}, {{8, 9}, {0}, {0}, {1}, {0}}})};
  const test::View c_view(t);
  const sdk::Graphs all = sdk::graphs_of(sdk::View(c_view.get()).drugs().graphs("graph"));
  const auto i64 = [](std::vector<std::int64_t> v) { return torch::tensor(v, torch::kInt64); };
  CHECK(all.size() == 3);
  CHECK(all.nodes.equal(torch::tensor({1.0F, 2.0F, 3.0F, 4.0F, 8.0F, 9.0F}).view({3, 2})));
  CHECK(all.graph.equal(i64({0, 0, 2})));
  CHECK(all.node_begin.equal(i64({0, 2, 2, 3})));
  CHECK(all.source.equal(i64({0, 1, 2})));
  CHECK(all.target.equal(i64({1, 0, 2})));
  CHECK(all.edges.view({-1}).equal(torch::tensor({5.0F, 6.0F, 1.0F})));
  CHECK(all.pair_begin.equal(i64({0, 4, 4, 5})));

  const sdk::Graphs some = all.select(i64({2, 1, 0, 2}));
  CHECK(some.nodes.equal(torch::tensor({8.0F, 9.0F, 1.0F, 2.0F, 3.0F, 4.0F, 8.0F, 9.0F}).view({4, 2})));
  CHECK(some.node_begin.equal(i64({0, 1, 1, 3, 4})));
  CHECK(some.graph.equal(i64({0, 2, 2, 3})));
  CHECK(some.source.equal(i64({0, 1, 2, 3})));
  CHECK(some.target.equal(i64({0, 2, 1, 3})));
  CHECK(some.edges.view({-1}).equal(torch::tensor({1.0F, 5.0F, 6.0F, 1.0F})));
  CHECK(some.pairs.view({-1}).equal(torch::tensor({0.0F, 0.0F, 7.0F, 7.0F, 0.0F, 0.0F})));
  CHECK(all.select(i64({1})).nodes.size(0) == 0);
}

TEST_CASE("early stopping waits, keeps the best weights and gives them back", "[torch]") {
  torch::manual_seed(0);
  auto net = network();
  auto best = network();
  sdk::EarlyStopping stop(2, 0.1);
  const double nan = std::nan("");
  struct Epoch {
    double loss;
    bool stops, best;
  };
  // 0.95 is no improvement by 0.1; NaN is none either.
  const std::vector<Epoch> epochs = {
      {1.0, false, true}, {0.95, false, false}, {0.5, false, true}, {nan, false, false}, {0.45, true, false}};
  for (const Epoch& epoch : epochs) {
    {
      const torch::NoGradGuard no_grad;
      for (auto& p : net->parameters()) p.add_(torch::rand_like(p));
      net->forward(torch::rand({5, 3}));  // moves the running statistics and the batch counter
    }
    CHECK(stop.update(epoch.loss, *net) == epoch.stops);
    if (epoch.best) best = std::dynamic_pointer_cast<torch::nn::SequentialImpl>(net->clone());
  }
  CHECK(stop.best_loss() == 0.5);
  CHECK(stop.best_epoch() == 2);
  CHECK_FALSE(same_state(*net, *best));
  stop.restore(*net);
  CHECK(same_state(*net, *best));

  sdk::EarlyStopping never(1, 0);
  CHECK(never.update(nan, *net));
  CHECK_THROWS_WITH(never.restore(*net), contains("diverged"));
  CHECK_THROWS_AS(sdk::EarlyStopping(0, 0), sdk::Error);
  CHECK_THROWS_AS(sdk::EarlyStopping(1, -1), sdk::Error);
}

TEST_CASE("a module is saved under its state-dict keys and loaded bit for bit", "[torch]") {
  torch::manual_seed(1);
  auto net = network();
  net->forward(torch::rand({5, 3}));
  test::State state;
  auto c_writer = state.writer();
  sdk::StateWriter writer(&c_writer);
  sdk::save_module(writer, *net, "net.");
  CHECK(state.order == std::vector<std::string>{"net.0.weight", "net.0.bias", "net.1.weight", "net.1.bias",
                                                "net.2.weight", "net.1.running_mean", "net.1.running_var",
                                                "net.1.num_batches_tracked"});
  CHECK(sdk::n_parameters(*net) == 3 * 4 + 4 + 4 + 4 + 4);
  auto other = network();
  REQUIRE_FALSE(same_state(*net, *other));
  const auto c_reader = state.reader();
  const sdk::StateReader reader(&c_reader);
  sdk::load_module(reader, *other, "net.");
  CHECK(same_state(*net, *other));
  net->eval();
  other->eval();
  const torch::Tensor x = torch::rand({4, 3});
  CHECK(net->forward(x).equal(other->forward(x)));

  CHECK_THROWS_WITH(sdk::load_module(reader, *other), contains("has no tensor \"0.weight\""));
  auto wider = torch::nn::Sequential(torch::nn::Linear(5, 4));
  CHECK_THROWS_WITH(sdk::load_module(reader, *wider, "net."),
                    contains("\"net.0.weight\" is Float [4, 3], but Float [4, 5] was expected"));
}

TEST_CASE("a module goes through a safetensors file", "[torch]") {
  torch::manual_seed(2);
  auto net = network();
  cdrzoo::safetensors::Writer writer;
  sdk::save_module(writer, *net);
  const std::string bytes = writer.bytes();
  const auto archive = cdrzoo::safetensors::Archive::parse(bytes.data(), bytes.size(), "memory");
  auto other = network();
  sdk::load_module(archive, *other);
  CHECK(same_state(*net, *other));
  CHECK_THROWS_AS(sdk::load_module(archive, *other, "x."), sdk::Error);
}

TEST_CASE("golden weights arrive in a module unchanged", "[torch][golden]") {
  const auto golden = test::Golden::open("therapi_predictor");
  if (!golden) {
    WARN("no ../shared/golden: nothing to check");
    return;
  }
  // Any two-dimensional weight will do.
  for (const auto& weight : golden->weights()) {
    if (weight.shape.size() != 2) continue;
    auto linear = torch::nn::Linear(torch::nn::LinearOptions(weight.shape[1], weight.shape[0]).bias(false));
    const std::string key = "weights/" + weight.key;
    sdk::load_module(golden->archive(), *linear, key.substr(0, key.size() - std::string("weight").size()));
    const auto ours = linear->weight.detach().contiguous();
    CHECK(std::equal(weight.values.begin(), weight.values.end(), ours.data_ptr<float>()));
    return;
  }
  FAIL("no weight matrix in the file");
}

TEST_CASE("the area under the curve counts pairs, ties half, and is NaN where it means nothing") {
  CHECK(sdk::auroc({0.1F, 0.4F, 0.35F, 0.8F}, {0, 0, 1, 1}) == 0.75);
  CHECK(sdk::auroc({1, 1, 1}, {0, 1, 1}) == 0.5);
  CHECK(std::isnan(sdk::auroc({1, 2}, {1, 1})));
  CHECK(std::isnan(sdk::auroc({1, std::nanf("")}, {0, 1})));  // a training that diverged
}

TEST_CASE("a target's unit is its deviation about its mean, and there and back changes nothing") {
  const torch::Tensor y = torch::tensor({1.0F, 3.0F, 5.0F, 7.0F});
  const auto unit = sdk::TargetUnit::of(y);
  CHECK(unit.mean == 4);
  CHECK(unit.scale == std::sqrt(5.0));
  CHECK(torch::allclose(unit.to_network(y).square().mean(), torch::ones({})));
  CHECK(torch::allclose(unit.from_network(unit.to_network(y)), y));
  CHECK(sdk::TargetUnit::of(torch::full({3}, 2)).scale == 1);  // constant: only centred
  CHECK(sdk::TargetUnit().to_network(y).equal(y));             // labels
}
