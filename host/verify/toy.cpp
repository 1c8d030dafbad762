// SPDX-License-Identifier: Apache-2.0
#include "verify/toy.hpp"

#include <cdrzoo/random.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "base/hash.hpp"

namespace cdrzoo::verify {

namespace {

// Streams of the generator.
enum Stream : std::uint64_t {
  kExpression = 1,
  kTissue,
  kMorgan,
  kGraph,
  kWeights,
  kEffects,
  kNoise,
  kShuffle,
  kOther,
  kReferences
};

const char* const kSmiles[] = {
    "CCO",      "c1ccccc1",       "CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "C1CCNCC1", "OC(=O)c1ccncc1", "NC(=O)c1cccnc1"};

/// Samples behind kSamples are profiles of training contexts.
bool in_target_domain(int sample) {
  return sample >= Toy::kTrainSamples + Toy::kQuerySamples && sample < Toy::kSamples;
}

bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

/// A rank-1 or rank-2 array over memory of the arena.
template <typename T>
cdrzoo_array make_array(Arena& arena, std::int32_t dtype, const std::vector<T>& data, std::int64_t columns = -1) {
  cdrzoo_array array{};
  array.dtype = dtype;
  array.rank = columns < 0 ? 1 : 2;
  array.data = arena.copy(data.data(), data.size());
  array.bytes = data.size() * sizeof(T);
  array.shape[0] = columns < 0    ? static_cast<std::int64_t>(data.size())
                   : columns == 0 ? 0
                                  : static_cast<std::int64_t>(data.size()) / columns;
  array.stride[0] = columns < 0 ? 1 : columns;
  if (columns >= 0) {
    array.shape[1] = columns;
    array.stride[1] = 1;
  }
  return array;
}

cdrzoo_array empty_array(std::int32_t dtype, std::int32_t rank) {
  cdrzoo_array array{};
  array.dtype = dtype;
  array.rank = rank;
  array.stride[rank - 1] = 1;
  return array;
}

/// Elements of a growable struct, a stride apart that is the writer's and not sizeof.
template <typename T>
cdrzoo_span make_span(Arena& arena, const std::vector<T>& elements, const HostShape& shape) {
  cdrzoo_span span{};
  const std::size_t size = sizeof(T) + shape.tail.size();
  const std::size_t stride = size + shape.stride_extra;
  span.stride = static_cast<std::uint32_t>(stride);
  span.count = elements.size();
  if (elements.empty()) return span;
  // The last element ends at its own size, so that a guard page follows what the plugin may read.
  auto* bytes = static_cast<std::uint8_t*>(arena.take(stride * (elements.size() - 1) + size));
  for (std::size_t i = 0; i < elements.size(); ++i) {
    T element = elements[i];
    element.size = static_cast<std::uint32_t>(size);
    std::memcpy(bytes + i * stride, &element, sizeof(T));
    if (!shape.tail.empty()) std::memcpy(bytes + i * stride + sizeof(T), shape.tail.data(), shape.tail.size());
  }
  span.data = bytes;
  return span;
}

cdrzoo_str make_str(Arena& arena, const std::string& text) {
  if (text.empty()) return {nullptr, 0};
  return {arena.copy(text.data(), text.size(), 1), text.size()};
}

std::int64_t salted_key(std::uint64_t salt, std::uint64_t axis, int entity) {
  return static_cast<std::int64_t>(cdrzoo_random_u64(salt, 1000 + axis, static_cast<std::uint64_t>(entity)) >> 1U);
}

cdrzoo_part part(std::int32_t role, const cdrzoo_array& array) {
  cdrzoo_part p{};
  p.role = role;
  p.array = array;
  return p;
}

/// Builds the blocks of one axis for the entities \p ids (toy indices); without values if \p schema_only.
class BlockBuilder {
 public:
  BlockBuilder(const Toy& toy, const Card& card, const ViewPlan& plan, Arena& arena, const HostShape& shape,
               bool schema_only)
      : toy_(toy), card_(card), plan_(plan), arena_(arena), shape_(shape), schema_only_(schema_only) {}

  cdrzoo_span sample_blocks(const std::vector<int>& ids) {
    std::vector<cdrzoo_block> blocks;
    if (plan_.strangers) blocks.push_back(stranger(ids));
    for (const auto& name : wanted(card_.sample_blocks, card_.optional_sample_blocks)) {
      if (name == "expression") {
        blocks.push_back(dense(name, ids, Toy::kGenes, [&](int id, int j) { return toy_.expression[at(id)][at(j)]; }));
      } else if (name == "tissue") {
        blocks.push_back(codes(name, ids, Toy::kTissues, [&](int id) { return toy_.tissue[at(id)]; }));
      } else if (name == "domain") {
        blocks.push_back(codes(name, ids, 2, [](int id) { return in_target_domain(id); }));
      } else {
        blocks.push_back(other(name, ids));
      }
    }
    return make_span(arena_, blocks, shape_);
  }

  cdrzoo_span drug_blocks(const std::vector<int>& ids) {
    std::vector<cdrzoo_block> blocks;
    if (plan_.strangers) blocks.push_back(stranger(ids));
    for (const auto& name : wanted(card_.drug_blocks, card_.optional_drug_blocks)) {
      if (name == "morgan") {
        std::vector<std::uint8_t> bits;
        for (const int id : ids) bits.insert(bits.end(), toy_.morgan[at(id)].begin(), toy_.morgan[at(id)].end());
        auto block = head(name, CDRZOO_BLOCK_DENSE, ids, Toy::kMorganBits);
        finish(block, {part(CDRZOO_PART_VALUES, make_array(arena_, CDRZOO_U8, bits, Toy::kMorganBits))});
        blocks.push_back(block);
      } else if (name.compare(0, 5, "graph") == 0) {  // graph, graph_deepcdr, graph_mat
        blocks.push_back(graphs(name, ids));
      } else if (name == "smiles") {
        std::vector<std::string> texts;
        texts.reserve(ids.size());
        for (const int id : ids) texts.push_back(toy_.smiles[at(id)]);
        auto block = head(name, CDRZOO_BLOCK_UTF8, ids, 0);
        finish(block, text_parts(texts));
        blocks.push_back(block);
      } else {
        blocks.push_back(other(name, ids));
      }
    }
    return make_span(arena_, blocks, shape_);
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  [[nodiscard]] std::vector<std::string> wanted(const std::vector<std::string>& needed,
                                                const std::vector<std::string>& optional) const {
    std::vector<std::string> out;
    for (const auto* list : {&needed, &optional}) {
      for (const auto& name : *list) {
        if (!contains(plan_.leave_out, name)) out.push_back(name);
      }
    }
    return out;
  }

  cdrzoo_block head(const std::string& name, std::int32_t kind, const std::vector<int>& ids, int width) {
    cdrzoo_block block{};
    block.kind = kind;
    block.name = make_str(arena_, name);
    block.space = make_str(arena_, sha256_hex("toy/" + name));
    block.rows = static_cast<std::int64_t>(ids.size());
    block.width = width;
    block.feature_name_offsets = empty_array(CDRZOO_I64, 1);
    block.feature_name_bytes = empty_array(CDRZOO_U8, 1);
    if (card_.feature_names && width > 0) {
      std::vector<std::string> names;
      names.reserve(at(width));
      for (int j = 0; j < width; ++j) names.push_back(name + std::to_string(j));
      const auto parts = text_parts(names);
      block.feature_name_offsets = parts[0].array;
      block.feature_name_bytes = parts[1].array;
    }
    return block;
  }

  void finish(cdrzoo_block& block, std::vector<cdrzoo_part> parts) {
    if (schema_only_) parts.clear();
    if (plan_.strangers && !schema_only_) {
      parts.insert(parts.begin(), part(977, make_array(arena_, CDRZOO_F64, std::vector<double>{1.0, 2.0})));
    }
    block.parts = make_span(arena_, parts, shape_);
  }

  template <typename Value>
  cdrzoo_block dense(const std::string& name, const std::vector<int>& ids, int width, Value value) {
    std::vector<float> values;
    bool has_nan = false;
    for (const int id : ids) {
      for (int j = 0; j < width; ++j) {
        float x = value(id, j);
        if (plan_.missing && (id + j) % 7 == 0) {
          x = std::numeric_limits<float>::quiet_NaN();
          has_nan = true;
        }
        values.push_back(x);
      }
    }
    auto block = head(name, CDRZOO_BLOCK_DENSE, ids, width);
    auto array = make_array(arena_, CDRZOO_F32, values, width);
    if (has_nan) array.flags |= CDRZOO_ARRAY_HAS_NAN;
    finish(block, {part(CDRZOO_PART_VALUES, array)});
    return block;
  }

  cdrzoo_block other(const std::string& name, const std::vector<int>& ids) {
    return dense(name, ids, Toy::kOtherWidth, [&](int id, int j) {
      return static_cast<float>(
          random_normal(derive_seed(3, name), kOther,
                        static_cast<std::uint64_t>(id) * Toy::kOtherWidth + static_cast<std::uint64_t>(j)));
    });
  }

  template <typename Code>
  cdrzoo_block codes(const std::string& name, const std::vector<int>& ids, int levels, Code code) {
    std::vector<std::int32_t> values;
    values.reserve(ids.size());
    for (const int id : ids) values.push_back(static_cast<std::int32_t>(code(id)));
    std::vector<std::string> names;
    names.reserve(at(levels));
    for (int i = 0; i < levels; ++i) names.push_back(name + "_" + std::to_string(i));
    auto block = head(name, CDRZOO_BLOCK_CODES, ids, levels);
    auto parts = text_parts(names);
    parts.insert(parts.begin(), part(CDRZOO_PART_VALUES, make_array(arena_, CDRZOO_I32, values)));
    finish(block, parts);
    return block;
  }

  std::vector<cdrzoo_part> text_parts(const std::vector<std::string>& texts) {
    std::vector<std::int64_t> offsets = {0};
    std::vector<std::uint8_t> bytes;
    for (const auto& text : texts) {
      bytes.insert(bytes.end(), text.begin(), text.end());
      offsets.push_back(static_cast<std::int64_t>(bytes.size()));
    }
    return {part(CDRZOO_PART_OFFSETS, make_array(arena_, CDRZOO_I64, offsets)),
            part(CDRZOO_PART_BYTES, make_array(arena_, CDRZOO_U8, bytes))};
  }

  cdrzoo_block graphs(const std::string& name, const std::vector<int>& ids) {
    std::vector<std::int64_t> node_ptr = {0};
    std::vector<std::int64_t> edge_ptr = {0};
    std::vector<std::int64_t> pair_ptr = {0};
    std::vector<float> nodes;
    std::vector<float> edges;
    std::vector<float> pairs;
    std::vector<std::int32_t> source;
    std::vector<std::int32_t> destination;
    const bool adjacency = name == "graph_deepcdr";  // its one edge feature are the entries of a normalised matrix
    for (const int id : ids) {
      const ToyGraph& graph = toy_.graphs[at(id)];
      for (int n = 0; n < graph.nodes; ++n) {
        for (int f = 0; f < Toy::kNodeFeatures; ++f) nodes.push_back((n * 7 + id * 3 + f) % 5 == 0 ? 1.0F : 0.0F);
        for (int m = 0; m < graph.nodes; ++m) pairs.push_back(static_cast<float>(std::abs(n - m)));
      }
      for (std::size_t e = 0; e < graph.source.size(); ++e) {
        source.push_back(graph.source[e]);
        destination.push_back(graph.destination[e]);
        if (adjacency) {
          edges.push_back(1.0F / 3.0F);  // rings: every atom has two neighbours and itself
          continue;
        }
        for (int f = 0; f < Toy::kEdgeFeatures; ++f) {
          edges.push_back((graph.source[e] + graph.destination[e]) % Toy::kEdgeFeatures == f ? 1.0F : 0.0F);
        }
      }
      for (int n = 0; adjacency && n < graph.nodes; ++n) {
        source.push_back(n);
        destination.push_back(n);
        edges.push_back(1.0F / 3.0F);
      }
      node_ptr.push_back(node_ptr.back() + graph.nodes);
      edge_ptr.push_back(static_cast<std::int64_t>(source.size()));
      pair_ptr.push_back(static_cast<std::int64_t>(pairs.size()));
    }
    auto block = head(name, CDRZOO_BLOCK_GRAPHS, ids, Toy::kNodeFeatures);
    finish(block,
           {part(CDRZOO_PART_NODEPTR, make_array(arena_, CDRZOO_I64, node_ptr)),
            part(CDRZOO_PART_NODEFEAT, make_array(arena_, CDRZOO_F32, nodes, Toy::kNodeFeatures)),
            part(CDRZOO_PART_EDGEPTR, make_array(arena_, CDRZOO_I64, edge_ptr)),
            part(CDRZOO_PART_EDGESRC, make_array(arena_, CDRZOO_I32, source)),
            part(CDRZOO_PART_EDGEDST, make_array(arena_, CDRZOO_I32, destination)),
            part(CDRZOO_PART_EDGEFEAT, make_array(arena_, CDRZOO_F32, edges, adjacency ? 1 : Toy::kEdgeFeatures)),
            part(CDRZOO_PART_PAIRPTR, make_array(arena_, CDRZOO_I64, pair_ptr)),
            part(CDRZOO_PART_PAIRFEAT, make_array(arena_, CDRZOO_F32, pairs, 1))});
    return block;
  }

  /// A block of a kind that this release does not define; a plugin steps over it.
  cdrzoo_block stranger(const std::vector<int>& ids) {
    auto block = head("of_a_later_release", 977, ids, 3);
    finish(block, {part(978, make_array(arena_, CDRZOO_F64, std::vector<double>(ids.size(), 1.0)))});
    return block;
  }

  const Toy& toy_;
  const Card& card_;
  const ViewPlan& plan_;
  Arena& arena_;
  const HostShape& shape_;
  bool schema_only_;
};

bool has_column(const Card& card, const std::string& name) { return contains(card.columns, name); }

/// A column of indices into the samples.
struct IndexColumn {
  std::int32_t role;
  int Observation::*of;
};
const std::pair<const char*, IndexColumn> kReferenceColumns[] = {
    {"reference", {CDRZOO_COLUMN_REFERENCE, &Observation::reference}},
    {"reference_control", {CDRZOO_COLUMN_REFERENCE_CONTROL, &Observation::reference_control}},
    {"reference_b", {CDRZOO_COLUMN_REFERENCE_B, &Observation::reference_b}},
    {"reference_b_control", {CDRZOO_COLUMN_REFERENCE_B_CONTROL, &Observation::reference_b_control}}};
/// Codes of contexts beside them.
const std::pair<const char*, IndexColumn> kReferenceContexts[] = {
    {"reference_context", {CDRZOO_COLUMN_REFERENCE_CONTEXT, &Observation::reference_context}},
    {"reference_b_context", {CDRZOO_COLUMN_REFERENCE_B_CONTEXT, &Observation::reference_b_context}}};

/// The unique entities of one axis in table order, and where each toy index went.
struct Table {
  std::vector<int> ids;
  std::map<int, std::int32_t> place;
};

Table make_table(const std::vector<int>& used, std::uint64_t order) {
  Table table;
  for (const int id : used) {
    if (id >= 0 && table.place.emplace(id, static_cast<std::int32_t>(table.ids.size())).second) table.ids.push_back(id);
  }
  if (order != 0) {
    const auto permutation = random_order(static_cast<int>(table.ids.size()), order, kShuffle);
    std::vector<int> ids;
    ids.reserve(permutation.size());
    for (const int i : permutation) ids.push_back(table.ids[static_cast<std::size_t>(i)]);
    table.ids = ids;
    for (std::size_t i = 0; i < ids.size(); ++i) table.place[ids[i]] = static_cast<std::int32_t>(i);
  }
  return table;
}

cdrzoo_entities entities(std::int32_t axis, const Table& table, cdrzoo_span blocks, std::uint64_t salt, Arena& arena) {
  cdrzoo_entities e{};
  e.axis = axis;
  e.count = static_cast<std::int64_t>(table.ids.size());
  std::vector<std::int64_t> keys;
  for (const int id : table.ids) keys.push_back(salted_key(salt, static_cast<std::uint64_t>(axis), id));
  e.key = make_array(arena, CDRZOO_I64, keys);
  e.blocks = blocks;
  return e;
}

Table gene_table() {
  Table table;
  for (int i = 0; i < Toy::kGenes; ++i) table.ids.push_back(i);
  return table;
}

}  // namespace

double random_unit(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
  return static_cast<double>(cdrzoo_random_u64(seed, stream, index) >> 11U) * 0x1.0p-53;
}

double random_normal(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
  const double u = 1.0 - random_unit(seed, stream, 2 * index);
  const double v = random_unit(seed, stream, 2 * index + 1);
  return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
}

std::vector<int> random_order(int n, std::uint64_t seed, std::uint64_t stream) {
  std::vector<int> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (int i = n - 1; i > 0; --i) {
    const auto j = cdrzoo_random_u64(seed, stream, static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(i + 1);
    std::swap(order[static_cast<std::size_t>(i)], order[j]);
  }
  return order;
}

Toy::Toy(const std::string& toy_task, std::uint64_t seed, bool permuted, bool doubles) : task(toy_task) {
  const bool profiles = task == "expression" || task == "expression_change";
  n_targets = profiles ? kGenes : 1;
  const auto normal = [&](Stream stream, int i) { return random_normal(seed, stream, static_cast<std::uint64_t>(i)); };
  for (int s = 0; s < kSamples; ++s) {
    tissue.push_back(static_cast<int>(cdrzoo_random_u64(seed, kTissue, static_cast<std::uint64_t>(s)) % kTissues));
    std::vector<float> row;
    row.reserve(kGenes);
    // Patients of the target domain are shifted: a model that looks at them can see it.
    const double shift = s >= kTrainSamples + kQuerySamples ? 0.5 : 0.0;
    for (int g = 0; g < kGenes; ++g) {
      row.push_back(
          static_cast<float>(5.0 + shift + 0.5 * tissue.back() * (g % 3 == 0) + normal(kExpression, s * kGenes + g)));
    }
    expression.push_back(row);
  }
  for (int d = 0; d < kDrugs; ++d) {
    std::vector<std::uint8_t> bits(kMorganBits, 0);
    for (int i = 0; i < 40; ++i)
      bits[cdrzoo_random_u64(seed, kMorgan, static_cast<std::uint64_t>(d) * 40 + static_cast<std::uint64_t>(i)) %
           kMorganBits] = 1;
    morgan.push_back(bits);
    ToyGraph graph;
    graph.nodes = 3 + d % 4;
    for (int n = 0; n < graph.nodes; ++n) {
      const int next = (n + 1) % graph.nodes;
      for (const auto& [a, b] : {std::pair{n, next}, std::pair{next, n}}) {
        graph.source.push_back(a);
        graph.destination.push_back(b);
      }
    }
    graphs.push_back(graph);
    smiles.emplace_back(kSmiles[d]);
  }
  const auto make = [&](int s, int d) {
    Observation row;
    row.sample = s;
    row.drug = d;
    row.drug_b = (d + 1) % kDrugs;
    row.control = s % kTrainSamples;
    row.dose = -6.0F + static_cast<float>(d % 3);
    row.time = d % 2 == 0 ? 6.0F : 24.0F;
    const auto& x = expression[static_cast<std::size_t>(s)];
    double response = 2.0 * normal(kEffects, d) + 0.3 * tissue[static_cast<std::size_t>(s)];
    for (int g = 0; g < 4; ++g) {
      response +=
          (0.6 + 0.2 * normal(kWeights, d * 4 + g)) * (static_cast<double>(x[static_cast<std::size_t>(g)]) - 5.0);
    }
    for (int k = 0; k < n_targets; ++k) {
      double y = response + 0.1 * normal(kNoise, (s * kDrugs + d) * kGenes + k);
      if (profiles) {
        const double change = 0.3 * normal(kEffects, 100 + d * kGenes + k) + 0.05 * response;
        const double control =
            static_cast<double>(expression[static_cast<std::size_t>(row.control)][static_cast<std::size_t>(k)]);
        y = change + 0.02 * normal(kNoise, (s * kDrugs + d) * kGenes + k) + (task == "expression" ? control : 0.0);
      }
      row.target.push_back(static_cast<float>(y));
    }
    return row;
  };
  for (int s = 0; s < kTrainSamples + kQuerySamples; ++s) {
    for (int d = 0; d < kDrugs; ++d) {
      if ((s * 5 + d * 3) % 11 == 0) continue;  // not every pair was measured
      auto& list = s >= kTrainSamples ? query : s % 8 == 7 ? early_stop : train;
      list.push_back(make(s, d));
    }
  }
  if (task == "expression") make_perturbations(seed, doubles);
  if (permuted) {
    std::vector<Observation*> rows;
    for (auto* list : {&train, &early_stop}) {
      for (auto& row : *list) rows.push_back(&row);
    }
    std::vector<std::vector<float>> targets;
    for (const auto* row : rows) targets.push_back(row->target);
    const auto order = random_order(static_cast<int>(rows.size()), seed, kShuffle);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i]->target = targets[static_cast<std::size_t>(order[i])];
  }
  std::vector<float> values;
  for (const auto& row : train) values.push_back(row.target[0]);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  threshold_ = values[values.size() / 2];
}

void Toy::make_perturbations(std::uint64_t seed, bool doubles) {
  constexpr int kRank = 2;
  const auto normal = [&](Stream stream, int i) { return random_normal(seed, stream, static_cast<std::uint64_t>(i)); };
  constexpr int kAxes = 1 << 20;  // index of the directions in the stream of the contexts
  for (int s = 0; s < kSamples; ++s) {
    for (int g = 0; g < kGenes; ++g) {
      double x = 5.0 + 0.02 * normal(kNoise, -1 - (s * kGenes + g));
      for (int r = 0; r < kRank; ++r)
        x += 0.7 * normal(kExpression, s * kRank + r) * normal(kExpression, kAxes + r * kGenes + g);
      expression[static_cast<std::size_t>(s)][static_cast<std::size_t>(g)] = static_cast<float>(std::max(x, 0.0));
    }
  }
  const auto effect = [&](int drug, int g) { return drug < 0 ? 0.0 : 0.5 * normal(kEffects, 100 + drug * kGenes + g); };
  std::vector<std::vector<const Observation*>> measured(kDrugs);  // training rows of each drug alone
  for (auto* list : {&train, &early_stop, &query}) {
    for (auto& row : *list) {
      row.control = row.context = row.sample;
      row.drug_b = doubles && (row.sample + row.drug) % 4 == 0 ? row.drug_b : -1;
      for (int g = 0; g < kGenes; ++g) {
        const double y =
            static_cast<double>(expression[static_cast<std::size_t>(row.control)][static_cast<std::size_t>(g)]) +
            effect(row.drug, g) + effect(row.drug_b, g) +
            0.02 * normal(kNoise, (row.sample * kDrugs + row.drug) * kGenes + g);
        row.target[static_cast<std::size_t>(g)] = static_cast<float>(std::max(y, 0.0));
      }
    }
  }
  std::vector<int> place;  // of the profile of each training row
  for (const auto& row : train) {
    place.push_back(static_cast<int>(expression.size()));
    expression.push_back(row.target);
    tissue.push_back(-1);
    if (row.drug_b < 0) measured[static_cast<std::size_t>(row.drug)].push_back(&row);
  }
  std::uint64_t draw = 0;
  const auto refer = [&](int drug, int& reference, int& control, int& context) {
    const auto& rows = measured[static_cast<std::size_t>(drug)];
    const auto* row = rows[cdrzoo_random_u64(seed, kReferences, draw++) % rows.size()];
    reference = place[static_cast<std::size_t>(row - train.data())];
    control = row->control;
    context = row->context;
  };
  for (std::size_t i = 0; i < query.size(); ++i) {
    auto& row = query[i];
    if (i % 13 == 5) continue;  // this drug was measured nowhere else
    refer(row.drug, row.reference, row.reference_control, row.reference_context);
    if (row.drug_b >= 0) refer(row.drug_b, row.reference_b, row.reference_b_control, row.reference_b_context);
  }
}

float Toy::label(const Observation& row) const { return row.target[0] < threshold_ ? 1.0F : 0.0F; }

std::int32_t task_code(const std::string& task) {
  if (task == "regression") return CDRZOO_TASK_REGRESSION;
  if (task == "binary") return CDRZOO_TASK_BINARY;
  if (task == "expression") return CDRZOO_TASK_EXPRESSION;
  return CDRZOO_TASK_EXPRESSION_CHANGE;
}

namespace {

/// One CSR block of what is not 0.
cdrzoo_span sparse_targets(const std::vector<float>& targets, std::int64_t n_targets, Arena& arena,
                           const HostShape& shape) {
  std::vector<std::int64_t> begin = {0};
  std::vector<std::int32_t> column;
  std::vector<float> value;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const auto j = static_cast<std::int64_t>(i) % n_targets;
    if (targets[i] != 0) {
      column.push_back(static_cast<std::int32_t>(j));
      value.push_back(targets[i]);
    }
    if (j == n_targets - 1) begin.push_back(static_cast<std::int64_t>(column.size()));
  }
  cdrzoo_block block{};
  block.kind = CDRZOO_BLOCK_CSR;
  block.name = make_str(arena, "target");
  block.rows = static_cast<std::int64_t>(begin.size()) - 1;
  block.width = n_targets;
  block.feature_name_offsets = empty_array(CDRZOO_I64, 1);
  block.feature_name_bytes = empty_array(CDRZOO_U8, 1);
  block.parts = make_span(arena,
                          std::vector<cdrzoo_part>{part(CDRZOO_PART_ROWPTR, make_array(arena, CDRZOO_I64, begin)),
                                                   part(CDRZOO_PART_COLIDX, make_array(arena, CDRZOO_I32, column)),
                                                   part(CDRZOO_PART_VALUES, make_array(arena, CDRZOO_F32, value))},
                          shape);
  return make_span(arena, std::vector<cdrzoo_block>{block}, shape);
}

}  // namespace

BuiltView build_view(const Toy& toy, const Card& card, const ViewPlan& plan, Arena& arena, const HostShape& shape) {
  const auto n = static_cast<std::int64_t>(plan.rows.size());
  const bool combinations = has_column(card, "drug_b") && !plan.samples_only;
  const bool controls = has_column(card, "control") && !plan.samples_only;
  const bool with_sample = toy.task != "expression" || plan.samples_only;
  std::vector<IndexColumn> index_columns;
  if (with_sample) index_columns.push_back({CDRZOO_COLUMN_SAMPLE, &Observation::sample});
  if (controls) index_columns.push_back({CDRZOO_COLUMN_CONTROL, &Observation::control});
  if (!plan.labelled && !plan.samples_only) {
    for (const auto& [name, column] : kReferenceColumns)
      if (has_column(card, name)) index_columns.push_back(column);
  }
  std::vector<int> used_samples;
  std::vector<int> used_drugs;
  for (const auto& row : plan.rows) {
    for (const auto& column : index_columns) used_samples.push_back(row.*column.of);
    used_drugs.push_back(row.drug);
    if (combinations) used_drugs.push_back(row.drug_b);
  }
  const Table samples = make_table(used_samples, plan.entity_order);
  const Table drugs = make_table(used_drugs, plan.entity_order == 0 ? 0 : plan.entity_order + 1);

  BlockBuilder blocks(toy, card, plan, arena, shape, false);
  std::vector<cdrzoo_entities> axes;
  if (plan.strangers) axes.push_back(entities(977, gene_table(), cdrzoo_span{}, plan.key_salt, arena));
  if (!index_columns.empty()) {
    axes.push_back(entities(CDRZOO_AXIS_SAMPLE, samples, blocks.sample_blocks(samples.ids), plan.key_salt, arena));
  }
  if (!plan.samples_only) {
    axes.push_back(entities(CDRZOO_AXIS_DRUG, drugs, blocks.drug_blocks(drugs.ids), plan.key_salt, arena));
  }
  if (toy.n_targets > 1) {
    axes.push_back(entities(CDRZOO_AXIS_GENE, gene_table(), cdrzoo_span{}, plan.key_salt, arena));
  }

  std::vector<cdrzoo_column> columns;
  const auto add = [&](std::int32_t role, const cdrzoo_array& array) {
    cdrzoo_column column{};
    column.role = role;
    column.array = array;
    columns.push_back(column);
  };
  const auto indices = [&](std::int32_t role, auto value) {
    std::vector<std::int32_t> values;
    for (const auto& row : plan.rows) values.push_back(static_cast<std::int32_t>(value(row)));
    add(role, make_array(arena, CDRZOO_I32, values));
  };
  const auto reals = [&](std::int32_t role, auto value) {
    std::vector<float> values;
    for (const auto& row : plan.rows) values.push_back(value(row));
    add(role, make_array(arena, CDRZOO_F32, values));
  };
  if (plan.strangers) reals(977, [](const Observation&) { return 1.0F; });
  const auto place = [](const Table& table, int id) { return id < 0 ? -1 : table.place.at(id); };
  for (const auto& column : index_columns) {
    indices(column.role, [&](const Observation& row) { return place(samples, row.*column.of); });
  }
  if (!plan.samples_only) {
    indices(CDRZOO_COLUMN_DRUG, [&](const Observation& row) { return drugs.place.at(row.drug); });
    if (combinations) indices(CDRZOO_COLUMN_DRUG_B, [&](const Observation& row) { return place(drugs, row.drug_b); });
    if (has_column(card, "context")) indices(CDRZOO_COLUMN_CONTEXT, [](const Observation& row) { return row.context; });
    for (const auto& [name, column] : kReferenceContexts) {
      const auto of = column.of;
      if (!plan.labelled && has_column(card, name))
        indices(column.role, [of](const Observation& row) { return row.*of; });
    }
    if (has_column(card, "dose")) reals(CDRZOO_COLUMN_DOSE, [](const Observation& row) { return row.dose; });
    if (has_column(card, "time")) reals(CDRZOO_COLUMN_TIME, [](const Observation& row) { return row.time; });
  }
  if (has_column(card, "domain")) {
    indices(CDRZOO_COLUMN_DOMAIN, [](const Observation& row) { return in_target_domain(row.sample) ? 1 : 0; });
  }

  cdrzoo_view view{};
  view.flags = plan.strangers ? 1U << 30U : 0U;
  view.entities = make_span(arena, axes, shape);
  view.n_obs = n;
  view.columns = make_span(arena, columns, shape);
  view.target = empty_array(CDRZOO_F32, 2);
  view.target_mask = empty_array(CDRZOO_U8, 2);
  std::string identity = toy.task + (plan.labelled ? "/labelled" : "/query") + std::to_string(plan.entity_order);
  for (const auto& row : plan.rows) {
    identity += "/" + std::to_string(row.sample) + "," + std::to_string(row.drug) + "," + std::to_string(row.drug_b);
  }
  if (plan.labelled) {
    view.flags |= CDRZOO_VIEW_LABELLED;
    std::vector<float> targets;
    for (const auto& row : plan.rows) {
      if (toy.task == "binary")
        targets.push_back(toy.label(row));
      else
        targets.insert(targets.end(), row.target.begin(), row.target.end());
    }
    if (plan.sparse_targets)
      view.target_sparse = sparse_targets(targets, toy.n_targets, arena, shape);
    else
      view.target = make_array(arena, CDRZOO_F32, targets, toy.n_targets);
    identity.append(reinterpret_cast<const char*>(targets.data()), targets.size() * sizeof(float));
  }
  view.fingerprint[0] = derive_seed(1, identity);
  view.fingerprint[1] = derive_seed(2, identity);
  return {put(arena, view, shape), n, toy.n_targets};
}

const cdrzoo_problem* build_problem(const Toy& toy, const Card& card, const ViewPlan& plan, Arena& arena,
                                    const HostShape& shape) {
  BlockBuilder blocks(toy, card, plan, arena, shape, true);
  std::vector<cdrzoo_entities> schema;
  if (plan.strangers) schema.push_back(entities(977, {}, cdrzoo_span{}, 1, arena));
  schema.push_back(entities(CDRZOO_AXIS_SAMPLE, {}, blocks.sample_blocks({}), 1, arena));
  schema.push_back(entities(CDRZOO_AXIS_DRUG, {}, blocks.drug_blocks({}), 1, arena));
  if (toy.n_targets > 1) schema.push_back(entities(CDRZOO_AXIS_GENE, {}, cdrzoo_span{}, 1, arena));

  std::vector<cdrzoo_column> columns;
  const auto add = [&](std::int32_t role, std::int32_t dtype) {
    cdrzoo_column column{};
    column.role = role;
    column.array = empty_array(dtype, 1);
    columns.push_back(column);
  };
  if (plan.strangers) add(977, CDRZOO_F32);
  if (toy.task != "expression") add(CDRZOO_COLUMN_SAMPLE, CDRZOO_I32);
  add(CDRZOO_COLUMN_DRUG, CDRZOO_I32);
  if (has_column(card, "drug_b")) add(CDRZOO_COLUMN_DRUG_B, CDRZOO_I32);
  if (has_column(card, "control")) add(CDRZOO_COLUMN_CONTROL, CDRZOO_I32);
  if (has_column(card, "dose")) add(CDRZOO_COLUMN_DOSE, CDRZOO_F32);
  if (has_column(card, "time")) add(CDRZOO_COLUMN_TIME, CDRZOO_F32);
  if (has_column(card, "domain")) add(CDRZOO_COLUMN_DOMAIN, CDRZOO_I32);
  if (has_column(card, "context")) add(CDRZOO_COLUMN_CONTEXT, CDRZOO_I32);
  for (const auto& [name, column] : kReferenceColumns)
    if (has_column(card, name)) add(column.role, CDRZOO_I32);
  for (const auto& [name, column] : kReferenceContexts)
    if (has_column(card, name)) add(column.role, CDRZOO_I32);

  cdrzoo_problem problem{};
  problem.task = task_code(toy.task);
  problem.n_targets = toy.n_targets;
  problem.flags = plan.strangers ? 1U << 30U : 0U;
  problem.schema = make_span(arena, schema, shape);
  problem.columns = make_span(arena, columns, shape);
  problem.target_unit = make_str(arena, toy.task == "binary" ? "responder" : "toy_unit");
  return put(arena, problem, shape);
}

cdrzoo_span build_params(const std::vector<Param>& params, Arena& arena, const HostShape& shape) {
  std::vector<cdrzoo_value> values;
  for (const auto& param : params) {
    cdrzoo_value value{};
    value.key = make_str(arena, param.key);
    if (const auto* b = std::get_if<bool>(&param.value)) {
      value.type = CDRZOO_VALUE_BOOL;
      value.i = *b ? 1 : 0;
    } else if (const auto* i = std::get_if<std::int64_t>(&param.value)) {
      value.type = CDRZOO_VALUE_INT;
      value.i = *i;
    } else if (const auto* f = std::get_if<double>(&param.value)) {
      value.type = CDRZOO_VALUE_REAL;
      value.f = *f;
    } else if (const auto* s = std::get_if<std::string>(&param.value)) {
      value.type = CDRZOO_VALUE_STR;
      value.s = make_str(arena, *s);
    } else if (const auto* ints = std::get_if<std::vector<std::int64_t>>(&param.value)) {
      value.type = CDRZOO_VALUE_INTS;
      value.list = {arena.copy(ints->data(), ints->size()), ints->size(), sizeof(std::int64_t), 0};
    } else if (const auto* list = std::get_if<std::vector<double>>(&param.value)) {
      value.type = CDRZOO_VALUE_REALS;
      value.list = {arena.copy(list->data(), list->size()), list->size(), sizeof(double), 0};
    }
    values.push_back(value);
  }
  return make_span(arena, values, shape);
}

}  // namespace cdrzoo::verify
