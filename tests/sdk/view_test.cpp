// SPDX-License-Identifier: Apache-2.0
#include <cdrzoo/plugin.hpp>

#include <cstddef>
#include <cstring>
#include <deque>

#include "plugins/harness.hpp"
#include "support/catch.hpp"

namespace sdk = cdrzoo::sdk;
namespace test = cdrzoo::test;
using test::array_of;
using test::contains;
using test::str;

namespace {

/// A block of any kind over vectors that outlive it.
struct Parts {
  std::string name;
  std::vector<cdrzoo_part> parts;
  cdrzoo_block block{};

  Parts(std::int32_t kind, const char* block_name, std::int64_t rows, std::int64_t width) : name(block_name) {
    block.size = sizeof block;
    block.kind = kind;
    block.name = str(name);
    block.rows = rows;
    block.width = width;
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  Parts& add(std::int32_t role, const cdrzoo_array& array) {
    cdrzoo_part part{};
    part.size = sizeof part;
    part.role = role;
    part.array = array;
    parts.push_back(part);
    block.parts = test::span_of(parts);
    return *this;
  }
};

test::Table table() {
  test::Table t;
  t.samples.key = {10, 11};
  t.samples.blocks = {test::Block::dense("expression", 3, {1, 2, 3, 4, 5, 6}),
                      test::Block::categories("tissue", 4, {2, -1})};
  t.drugs.key = {20, 21, 22};
  t.drugs.blocks = {test::Block::bits("morgan", 2, {1, 0, 0, 1, 1, 1})};
  t.sample = {0, 1, 1, 0};
  t.drug = {2, 1, 0, 0};
  t.target = {1, 2, 3, 4, 5, 6, 7, 8};
  t.n_targets = 2;
  return t;
}

}  // namespace

TEST_CASE("a view gives its tables, columns and labels without a copy", "[view]") {
  const test::View c_view(table());
  const sdk::View view(c_view.get());
  CHECK(view.n_obs() == 4);
  CHECK(view.samples().size() == 2);
  CHECK(view.drugs().keys()[2] == 22);
  CHECK(view.sample()[1] == 1);
  CHECK(view.drug()[0] == 2);
  CHECK(view.labelled());
  CHECK(view.target()(3, 1) == 8.0F);
  CHECK(view.target().cols() == 2);
  CHECK_FALSE(view.has_target_mask());
  CHECK_FALSE(view.has(sdk::Column::dose));
  CHECK(view.has(sdk::Column::drug));

  const auto expression = view.samples().dense("expression");
  CHECK(expression.row(1)[2] == 6.0F);
  CHECK(expression.f32().row(1).data() == expression.f32().data() + 3);
  CHECK(view.samples().codes("tissue")[1] == -1);
  CHECK(view.samples().codes("tissue").n_levels() == 4);
}

TEST_CASE("dense bytes and dense floats are both read as floats", "[view]") {
  const test::View c_view(table());
  const sdk::View view(c_view.get());
  const auto morgan = view.drugs().dense("morgan");
  CHECK_FALSE(morgan.is_f32());
  CHECK(morgan.u8().row(1)[1] == 1);
  CHECK(morgan.to_f32() == std::vector<float>{1, 0, 0, 1, 1, 1});
  float row[3] = {};
  view.samples().dense("expression").copy_row(1, row);
  CHECK(row[2] == 6.0F);
  CHECK_THROWS_WITH(morgan.row(0), contains("is u8, but f32 was expected"));
  CHECK_THROWS_WITH(view.samples().dense("expression").u8(), contains("is f32, but u8 was expected"));
}

TEST_CASE("what a view lacks is an error that says what there is", "[view]") {
  test::Table unlabelled = table();
  unlabelled.target.clear();
  const test::View c_view(unlabelled);
  const sdk::View view(c_view.get());
  CHECK_THROWS_WITH(view.samples().dense("mutation"),
                    contains("no sample block \"mutation\" (there are: expression, tissue)"));
  CHECK_THROWS_WITH(view.samples().dense("tissue"), contains("block \"tissue\" is not dense"));
  CHECK_THROWS_WITH(view.genes(), contains("the view has no genes"));
  CHECK_THROWS_WITH(view.dose(), contains("the observation column \"dose\" is absent"));
  CHECK_THROWS_WITH(view.target(), contains("no labels"));
  CHECK(view.samples().has("expression"));
  CHECK_FALSE(view.samples().has("mutation"));
  try {
    (void)view.dose();
  } catch (const sdk::Error& e) {
    CHECK(e.code() == CDRZOO_E_UNSUPPORTED);
  }
}

TEST_CASE("rows that lie apart and structs of another stride are walked as given", "[view]") {
  std::vector<float> values = {1, 2, -1, 3, 4, -1};  // two columns, three elements apart
  cdrzoo_array array = array_of(values, 3);
  array.shape[1] = 2;
  Parts dense(CDRZOO_BLOCK_DENSE, "x", 2, 2);
  dense.add(CDRZOO_PART_VALUES, array);
  CHECK(sdk::DenseBlock(dense.block).to_f32() == std::vector<float>{1, 2, 3, 4});
  CHECK_FALSE(sdk::DenseBlock(dense.block).f32().contiguous());

  // A younger host: each part is 24 bytes longer than ours, and there is a part of an unknown role.
  constexpr std::uint32_t kStride = sizeof(cdrzoo_part) + 24;
  std::vector<std::uint8_t> bytes(2 * kStride, 0xa5);
  cdrzoo_part parts[2] = {dense.parts[0], dense.parts[0]};
  parts[0].role = 9999;
  for (std::size_t i = 0; i < 2; ++i) {
    parts[i].size = kStride;
    std::memcpy(bytes.data() + i * kStride, &parts[i], sizeof parts[i]);
  }
  dense.block.parts = {bytes.data(), 2, kStride, 0};
  CHECK(sdk::DenseBlock(dense.block).to_f32() == std::vector<float>{1, 2, 3, 4});
  dense.block.parts.stride = 8;
  CHECK_THROWS_WITH(sdk::DenseBlock(dense.block), contains("stride of 8 bytes"));
}

TEST_CASE("arrays of another form than the contract's are refused", "[view]") {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  Parts dense(CDRZOO_BLOCK_DENSE, "x", 2, 3);
  CHECK_THROWS_WITH(sdk::DenseBlock(dense.block), contains("block \"x\" lacks its values"));
  dense.add(CDRZOO_PART_VALUES, array_of(values, 2));
  CHECK_THROWS_WITH(sdk::DenseBlock(dense.block), contains("is f32 [3, 2], but f32 [2, 3] was expected"));
  dense.parts[0].array = array_of(values, 3);
  dense.parts[0].array.dtype = CDRZOO_F64;
  CHECK_THROWS_WITH(sdk::DenseBlock(dense.block), contains("is f64 [2, 3]"));
  dense.parts[0].array = array_of(values, 3);
  dense.parts[0].array.data = nullptr;
  CHECK_THROWS_AS(sdk::DenseBlock(dense.block), sdk::Error);

  const test::View c_view(table());
  cdrzoo_view raw = *c_view.get();
  raw.size = offsetof(cdrzoo_view, target_mask);  // shorter than any host ever made it
  CHECK_THROWS_WITH(sdk::View(&raw), contains("a view has"));
  CHECK_THROWS_WITH(sdk::View(nullptr), contains("a view is missing"));
  raw = *c_view.get();
  raw.n_obs = 5;
  CHECK_THROWS_WITH(sdk::View(&raw).sample(), contains("is i32 [4], but i32 [5] was expected"));
}

TEST_CASE("graphs come one by one, with their edges counted within", "[view]") {
  const std::vector<std::int64_t> nodeptr = {0, 2, 2, 5};
  const std::vector<float> nodes = {0, 1, 10, 11, 20, 21, 30, 31, 40, 41};
  const std::vector<std::int64_t> edgeptr = {0, 2, 2, 4};
  const std::vector<std::int32_t> source = {0, 1, 0, 2}, target = {1, 0, 2, 0};
  const std::vector<float> edge_features = {1, 1, 2, 2};
  const std::vector<std::int64_t> pairptr = {0, 4, 4, 13};
  const std::vector<float> pairs(13, 0.5F);
  Parts graphs(CDRZOO_BLOCK_GRAPHS, "graph", 3, 2);
  graphs.add(CDRZOO_PART_NODEPTR, array_of(nodeptr)).add(CDRZOO_PART_NODEFEAT, array_of(nodes, 2));
  graphs.add(CDRZOO_PART_EDGEPTR, array_of(edgeptr)).add(CDRZOO_PART_EDGESRC, array_of(source));
  graphs.add(CDRZOO_PART_EDGEDST, array_of(target));
  {
    const sdk::GraphsBlock block(graphs.block);
    CHECK(block.n_edge_features() == 0);
    CHECK(block.graph(2).edges.cols() == 0);
  }
  graphs.add(CDRZOO_PART_EDGEFEAT, array_of(edge_features, 1));
  graphs.add(CDRZOO_PART_PAIRPTR, array_of(pairptr)).add(CDRZOO_PART_PAIRFEAT, array_of(pairs, 1));
  const sdk::GraphsBlock block(graphs.block);
  const sdk::Graph first = block.graph(0), none = block.graph(1), last = block.graph(2);
  CHECK(first.n_nodes == 2);
  CHECK(none.n_nodes == 0);
  CHECK(none.source.empty());
  CHECK(last.n_nodes == 3);
  CHECK(last.nodes(2, 1) == 41.0F);
  CHECK(last.source[1] == 2);
  CHECK(last.target[0] == 2);
  CHECK(last.edges(0, 0) == 2.0F);
  CHECK(last.pairs.rows() == 9);

  std::vector<std::int64_t> broken = {0, 3, 2, 5};
  graphs.parts[0].array = array_of(broken);
  CHECK_THROWS_WITH(sdk::GraphsBlock(graphs.block), contains("node offsets do not rise"));
  broken = {0, 2, 2, 6};
  CHECK_THROWS_WITH(sdk::GraphsBlock(graphs.block), contains("node offsets do not rise"));
  broken = {1, 2, 2, 5};
  CHECK_THROWS_WITH(sdk::GraphsBlock(graphs.block), contains("node offsets do not rise"));
}

TEST_CASE("texts, levels and sparse rows are read", "[view]") {
  const std::string letters = "CCOc1";
  const std::vector<std::uint8_t> bytes(letters.begin(), letters.end());
  const std::vector<std::int64_t> offsets = {0, 3, 3, 5};
  Parts smiles(CDRZOO_BLOCK_UTF8, "smiles", 3, 0);
  smiles.add(CDRZOO_PART_OFFSETS, array_of(offsets)).add(CDRZOO_PART_BYTES, array_of(bytes));
  const sdk::TextBlock texts(smiles.block);
  CHECK(texts[0] == "CCO");
  CHECK(texts[1].empty());
  CHECK(texts[2] == "c1");

  const std::vector<std::int32_t> codes = {1, -1};
  Parts tissue(CDRZOO_BLOCK_CODES, "tissue", 2, 3);
  tissue.add(CDRZOO_PART_VALUES, array_of(codes));
  tissue.add(CDRZOO_PART_OFFSETS, array_of(offsets)).add(CDRZOO_PART_BYTES, array_of(bytes));
  CHECK(sdk::CodesBlock(tissue.block).levels()[2] == "c1");

  const std::vector<std::int64_t> rowptr = {0, 2, 2, 3};
  const std::vector<std::int32_t> columns = {0, 4, 1};
  const std::vector<float> values = {0.5F, 1.5F, 2.5F};
  Parts sparse(CDRZOO_BLOCK_CSR, "targets", 3, 5);
  sparse.add(CDRZOO_PART_ROWPTR, array_of(rowptr)).add(CDRZOO_PART_COLIDX, array_of(columns));
  sparse.add(CDRZOO_PART_VALUES, array_of(values));
  const sdk::CsrBlock csr(sparse.block);
  CHECK(csr.row(0).columns[1] == 4);
  CHECK(csr.row(1).values.empty());
  CHECK(csr.row(2).values[0] == 2.5F);
}

TEST_CASE("a query of profiles gives its context and references, and a view without them says which is absent",
          "[view]") {
  auto t = table();
  t.target.clear();
  t.context = {3, 3, 5, 5};
  t.reference = {1, -1, 0, 0};
  t.reference_control = {0, -1, 1, 1};
  t.reference_b = {-1, -1, 1, -1};
  t.reference_b_control = {-1, -1, 0, -1};
  t.reference_context = {5, -1, 3, 3};
  t.reference_b_context = {-1, -1, 3, -1};
  const test::View c_view(t);
  const sdk::View view(c_view.get());
  CHECK(view.context()[2] == 5);
  CHECK(view.reference()[1] == -1);
  CHECK(view.reference_control()[3] == 1);
  CHECK(view.reference_b()[2] == 1);
  CHECK(view.reference_b_control()[2] == 0);
  CHECK(view.reference_context()[0] == 5);
  CHECK(view.reference_b_context()[2] == 3);
  CHECK_FALSE(view.labelled());
  const test::View train(table());
  CHECK_THROWS_WITH((void)sdk::View(train.get()).reference_b_control(), contains("\"reference_b_control\" is absent"));
}

TEST_CASE("parameters are typed, and an integer is a real", "[view]") {
  const std::vector<std::int64_t> widths = {64, 32};
  const std::vector<double> rates = {0.5};
  const auto value = [](const char* key, std::int32_t type) {
    cdrzoo_value v{};
    v.size = sizeof v;
    v.type = type;
    v.key = {key, std::strlen(key)};
    return v;
  };
  std::vector<cdrzoo_value> values = {value("flag", CDRZOO_VALUE_BOOL),
                                      value("n", CDRZOO_VALUE_INT),
                                      value("x", CDRZOO_VALUE_REAL),
                                      value("mode", CDRZOO_VALUE_STR),
                                      value("widths", CDRZOO_VALUE_INTS),
                                      value("rates", CDRZOO_VALUE_REALS),
                                      value("younger", 77)};
  values[0].i = 1;
  values[1].i = 3;
  values[2].f = 0.25;
  const std::string mode = "fast";
  values[3].s = str(mode);
  values[4].list = test::span_of(widths);
  values[5].list = test::span_of(rates);
  const sdk::Params params(test::span_of(values));
  CHECK(params.boolean("flag"));
  CHECK(params.integer("n") == 3);
  CHECK(params.real("n") == 3.0);
  CHECK(params.real("x") == 0.25);
  CHECK(params.text("mode") == "fast");
  CHECK(params.integers("widths") == widths);
  CHECK(params.reals("rates") == rates);
  CHECK_FALSE(params.has("younger"));
  CHECK_THROWS_WITH(params.integer("x"), contains("\"x\" is not an integer"));
  CHECK_THROWS_WITH(params.real("mode"), contains("\"mode\" is not a real number"));
  CHECK_THROWS_WITH(params.boolean("none"), contains("\"none\" is missing"));
}

TEST_CASE("a problem owns what it says", "[view]") {
  sdk::Problem problem;
  {
    const test::View schema(table(), /*schema_only=*/true);
    cdrzoo_problem c{};
    c.size = sizeof c;
    c.task = CDRZOO_TASK_BINARY;
    c.n_targets = 2;
    c.schema = schema.entities();
    c.columns = schema.columns();
    const std::string unit = "responder";
    c.target_unit = str(unit);
    problem = sdk::Problem(&c);
    for (const std::int32_t unknown : {0, 5, -1}) {
      c.task = unknown;
      CHECK_THROWS_WITH(sdk::Problem(&c), contains("is younger than this plugin"));
    }
  }
  CHECK(problem.task == sdk::Task::binary);
  CHECK(problem.n_targets == 2);
  CHECK(problem.target_unit == "responder");
  CHECK(problem.has(sdk::Column::sample));
  CHECK_FALSE(problem.has(sdk::Column::time));
  CHECK(problem.block(sdk::Axis::sample, "expression").width == 3);
  CHECK(problem.find(sdk::Axis::drug, "expression") == nullptr);
  CHECK_THROWS_WITH(problem.block(sdk::Axis::drug, "graph"), contains("the data have no drug block \"graph\""));
}

TEST_CASE("targets are read by rows whether they are stored dense or sparse", "[view]") {
  test::View c_view(table());
  const sdk::TargetRows dense = sdk::View(c_view.get()).target_rows();
  REQUIRE((dense.rows() == 4 && dense.cols() == 2 && !dense.is_sparse()));

  std::vector<std::int64_t> begin = {0};
  std::vector<std::int32_t> column;
  std::vector<float> value;
  std::vector<float> row(2);
  for (std::int64_t i = 0; i < 4; ++i) {
    dense.copy_row(i, row.data());
    for (std::int32_t j = 0; j < 2; ++j) {
      if (row[static_cast<std::size_t>(j)] == 0) continue;
      column.push_back(j);
      value.push_back(row[static_cast<std::size_t>(j)]);
    }
    begin.push_back(static_cast<std::int64_t>(column.size()));
  }
  Parts block(CDRZOO_BLOCK_CSR, "", 4, 2);
  block.add(CDRZOO_PART_ROWPTR, array_of(begin))
      .add(CDRZOO_PART_COLIDX, array_of(column))
      .add(CDRZOO_PART_VALUES, array_of(value));
  cdrzoo_view with_sparse = *c_view.get();
  with_sparse.target = {};
  with_sparse.target_sparse = {&block.block, 1, sizeof(cdrzoo_block), 0};
  const sdk::View view(&with_sparse);
  const sdk::TargetRows sparse = view.target_rows();
  REQUIRE((sparse.rows() == 4 && sparse.cols() == 2 && sparse.is_sparse()));
  for (std::int64_t i = 0; i < 4; ++i) {
    std::vector<float> expected(2), read(2, -1);
    dense.will_need(i);  // a hint, also for memory that is no mapping
    sparse.will_need(i);
    dense.copy_row(i, expected.data());
    sparse.copy_row(i, read.data());
    CHECK(read == expected);
  }
  // A plugin that does not know of sparse targets must not take the absent dense ones for labels.
  CHECK_THROWS_WITH(view.target(), "the targets are sparse: read them by target_rows()");
  block.block.rows = 3;
  CHECK_THROWS_AS(view.target_rows(), sdk::Error);

  // A host of before minor 2.
  cdrzoo_view older = *c_view.get();
  older.size = static_cast<std::uint32_t>(offsetof(cdrzoo_view, target_sparse));
  older.target_sparse = {&block.block, 1, sizeof(cdrzoo_block), 0};
  CHECK_FALSE(sdk::View(&older).has_sparse_target());
}
