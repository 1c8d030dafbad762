// SPDX-License-Identifier: Apache-2.0
#include "verify/toy.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "support/catch.hpp"
#include "verify/guarded.hpp"

using namespace cdrzoo::verify;
using cdrzoo::Card;

namespace {

/// The signal that ends a child which does \p work; 0 if it comes through.
int signal_of(const std::function<void()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);
    std::signal(SIGBUS, SIG_DFL);
    work();
    _exit(0);
  }
  int state = 0;
  waitpid(child, &state, 0);
  return WIFSIGNALED(state) ? WTERMSIG(state) : 0;
}

Card card_with(const nlohmann::json& needs) {
  return Card::parse(nlohmann::json{{"card", 1},
                                    {"id", "test.toy"},
                                    {"version", "1.0.0"},
                                    {"title", "t"},
                                    {"licence", "Apache-2.0"},
                                    {"tasks", {"regression"}},
                                    {"needs", needs}}
                         .dump(),
                     "test card");
}

const cdrzoo_entities* axis_of(const cdrzoo_view* view, std::int32_t axis) {
  for (std::uint64_t i = 0; i < view->entities.count; ++i) {
    const auto* entities = CDRZOO_AT(view->entities, cdrzoo_entities, i);
    if (entities->axis == axis) return entities;
  }
  return nullptr;
}

const cdrzoo_column* column_of(const cdrzoo_view* view, std::int32_t role) {
  for (std::uint64_t i = 0; i < view->columns.count; ++i) {
    const auto* column = CDRZOO_AT(view->columns, cdrzoo_column, i);
    if (column->role == role) return column;
  }
  return nullptr;
}

const cdrzoo_block* block_of(const cdrzoo_entities* entities, const std::string& name) {
  for (std::uint64_t i = 0; i < entities->blocks.count; ++i) {
    const auto* block = CDRZOO_AT(entities->blocks, cdrzoo_block, i);
    if (std::string(block->name.ptr, block->name.len) == name) return block;
  }
  return nullptr;
}

}  // namespace

TEST_CASE("guarded memory ends where it says, and sealed memory cannot be written") {
  const auto touch = [](Memory memory, bool seal, std::size_t offset) {
    return signal_of([=] {
      Arena arena(memory);
      auto* bytes = static_cast<volatile char*>(arena.take(4096 - 8));
      if (seal) arena.seal();
      bytes[offset] = 1;
    });
  };
  CHECK(touch(Memory::guarded, false, 4096 - 9) == 0);
  CHECK(touch(Memory::guarded, false, 4096 - 8) == SIGSEGV);
  CHECK(touch(Memory::guarded, true, 0) == SIGSEGV);
  CHECK(touch(Memory::pages, false, 4096 - 8) == 0);
  CHECK(touch(Memory::pages, true, 0) == SIGSEGV);
}

TEST_CASE("the tables of a view hold exactly the entities that its observations refer to, each once") {
  const Toy toy("regression", 3);
  const Card card = card_with({{"samples", {"expression"}}, {"drugs", {"graph", "smiles", "morgan"}}});
  std::map<std::int64_t, std::int64_t> first_value;  // sample key -> bits of its first gene, over all views
  for (const std::uint64_t order : {0ULL, 9ULL}) {
    for (const auto* rows : {&toy.train, &toy.query}) {
      Arena arena(Memory::guarded);
      ViewPlan plan;
      plan.rows = *rows;
      plan.entity_order = order;
      HostShape shape;
      shape.stride_extra = 24;
      shape.tail.assign(64, 0xA5);
      const auto built = build_view(toy, card, plan, arena, shape);
      arena.seal();
      const auto* view = built.view;
      REQUIRE(view->n_obs == static_cast<std::int64_t>(rows->size()));
      CHECK(view->target.data == nullptr);
      CHECK(view->target.shape[0] == 0);
      for (const auto& [axis, role] :
           {std::pair{CDRZOO_AXIS_SAMPLE, CDRZOO_COLUMN_SAMPLE}, std::pair{CDRZOO_AXIS_DRUG, CDRZOO_COLUMN_DRUG}}) {
        const auto* entities = axis_of(view, axis);
        const auto* column = column_of(view, role);
        REQUIRE(entities != nullptr);
        REQUIRE(column != nullptr);
        const auto* index = static_cast<const std::int32_t*>(column->array.data);
        const auto* key = static_cast<const std::int64_t*>(entities->key.data);
        std::set<std::int32_t> used(index, index + view->n_obs);
        CHECK(static_cast<std::int64_t>(used.size()) == entities->count);
        CHECK(*used.begin() == 0);
        CHECK(*used.rbegin() == entities->count - 1);
        CHECK(static_cast<std::int64_t>(std::set<std::int64_t>(key, key + entities->count).size()) == entities->count);
      }
      const auto* samples = axis_of(view, CDRZOO_AXIS_SAMPLE);
      const auto* block = block_of(samples, "expression");
      REQUIRE(block != nullptr);
      CHECK(block->width == Toy::kGenes);
      CHECK(block->rows == samples->count);
      const auto& values = CDRZOO_AT(block->parts, cdrzoo_part, 0)->array;
      CHECK(reinterpret_cast<std::uintptr_t>(values.data) % 64 == 0);
      for (std::int64_t s = 0; s < samples->count; ++s) {
        std::int32_t bits = 0;
        std::memcpy(&bits, static_cast<const float*>(values.data) + s * values.stride[0], sizeof bits);
        const auto [it, is_new] = first_value.emplace(static_cast<const std::int64_t*>(samples->key.data)[s], bits);
        CHECK(it->second == bits);  // one key, one sample, in every view
      }
      const auto* graph = block_of(axis_of(view, CDRZOO_AXIS_DRUG), "graph");
      REQUIRE(graph != nullptr);
      CHECK(graph->parts.count == 8);
      CHECK(block_of(axis_of(view, CDRZOO_AXIS_DRUG), "smiles")->kind == CDRZOO_BLOCK_UTF8);
    }
  }
}

TEST_CASE("another salt gives other keys, and other withheld labels give the same view") {
  Toy toy("regression", 3);
  const Card card = card_with({{"samples", {"expression"}}});
  Arena arena(Memory::plain);
  ViewPlan plan;
  plan.rows = toy.query;
  const auto* one = build_view(toy, card, plan, arena, {}).view;
  for (auto& row : plan.rows) row.target[0] += 1;
  const auto* relabelled = build_view(toy, card, plan, arena, {}).view;
  CHECK(one->fingerprint[0] == relabelled->fingerprint[0]);
  CHECK(one->fingerprint[1] == relabelled->fingerprint[1]);
  plan.key_salt = 2;
  const auto* salted = build_view(toy, card, plan, arena, {}).view;
  CHECK(*static_cast<const std::int64_t*>(axis_of(one, CDRZOO_AXIS_DRUG)->key.data) !=
        *static_cast<const std::int64_t*>(axis_of(salted, CDRZOO_AXIS_DRUG)->key.data));
}

TEST_CASE("permuted training targets are the same values in another order, and the queries stay") {
  const Toy plain("regression", 3);
  const Toy permuted("regression", 3, true);
  const auto values = [](const Toy& toy) {
    std::multiset<float> out;
    for (const auto* rows : {&toy.train, &toy.early_stop}) {
      for (const auto& row : *rows) out.insert(row.target[0]);
    }
    return out;
  };
  CHECK(values(plain) == values(permuted));
  std::size_t moved = 0;
  for (std::size_t i = 0; i < plain.train.size(); ++i) moved += plain.train[i].target != permuted.train[i].target;
  CHECK(moved > plain.train.size() / 2);
  for (std::size_t i = 0; i < plain.query.size(); ++i) CHECK(plain.query[i].target == permuted.query[i].target);
}

TEST_CASE("query samples are not training samples, and both classes occur") {
  const Toy toy("binary", 3);
  std::set<int> trained;
  std::set<float> classes;
  for (const auto& row : toy.train) trained.insert(row.sample);
  for (const auto& row : toy.early_stop) trained.insert(row.sample);
  for (const auto& row : toy.query) {
    CHECK(trained.count(row.sample) == 0);
    classes.insert(toy.label(row));
  }
  CHECK(classes == std::set<float>{0.0F, 1.0F});
}

TEST_CASE("a perturbed row has its context's control, and its references are training profiles of its drugs") {
  const Toy toy("expression", 3, false, true);
  int doubles = 0, without = 0;
  for (const auto& row : toy.query) {
    CHECK(row.control == row.context);
    doubles += row.drug_b >= 0;
    without += row.reference < 0;
    for (const auto& [reference, control, drug] : {std::tuple{row.reference, row.reference_control, row.drug},
                                                   std::tuple{row.reference_b, row.reference_b_control, row.drug_b}}) {
      if (reference < 0) continue;
      REQUIRE(reference >= Toy::kSamples);
      const auto& measured = toy.train[static_cast<std::size_t>(reference - Toy::kSamples)];
      CHECK(measured.drug == drug);
      CHECK(measured.drug_b == -1);
      CHECK(measured.control == control);
      CHECK(measured.context != row.context);
      CHECK(measured.context == (drug == row.drug ? row.reference_context : row.reference_b_context));
      CHECK(toy.expression[static_cast<std::size_t>(reference)] == measured.target);
    }
  }
  CHECK(doubles > 0);
  CHECK(without > 0);
  for (const auto& row : Toy("expression", 3).train) CHECK(row.drug_b == -1);
}

TEST_CASE("views of perturbed rows have no sample, and references only where there are queries") {
  const Toy toy("expression", 3, false, true);
  auto card = card_with({{"samples", {"expression"}}});
  card.columns = {"control", "drug_b", "context", "reference", "reference_control"};
  Arena arena(Memory::guarded);
  ViewPlan plan;
  plan.rows = toy.train;
  plan.labelled = true;
  const auto* train = build_view(toy, card, plan, arena, {}).view;
  plan.rows = toy.query;
  plan.labelled = false;
  const auto* query = build_view(toy, card, plan, arena, {}).view;
  for (const auto* view : {train, query}) {
    CHECK(column_of(view, CDRZOO_COLUMN_SAMPLE) == nullptr);
    CHECK(column_of(view, CDRZOO_COLUMN_CONTROL) != nullptr);
    CHECK(column_of(view, CDRZOO_COLUMN_CONTEXT) != nullptr);
    CHECK(column_of(view, CDRZOO_COLUMN_REFERENCE_B) == nullptr);
    CHECK((column_of(view, CDRZOO_COLUMN_REFERENCE) != nullptr) == (view == query));
  }
  CHECK(train->target.shape[1] == Toy::kGenes);
  CHECK(axis_of(train, CDRZOO_AXIS_SAMPLE)->count == 35);  // the controls of the training contexts
  const auto* values =
      &CDRZOO_AT(block_of(axis_of(query, CDRZOO_AXIS_SAMPLE), "expression")->parts, cdrzoo_part, 0)->array;
  const auto* reference = static_cast<const std::int32_t*>(column_of(query, CDRZOO_COLUMN_REFERENCE)->array.data);
  for (std::size_t i = 0; i < toy.query.size(); ++i) {
    if (toy.query[i].reference < 0) {
      CHECK(reference[i] == -1);
    } else {
      const auto* profile = static_cast<const float*>(values->data) + reference[i] * values->stride[0];
      CHECK(profile[0] == toy.expression[static_cast<std::size_t>(toy.query[i].reference)][0]);
    }
  }
}
