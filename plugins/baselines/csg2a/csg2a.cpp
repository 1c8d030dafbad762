// SPDX-License-Identifier: Apache-2.0
// baseline.csg2a: a network that predicts expression after treatment, and a response model around it.
// baseline.csg2a_expression: the network alone, trained on profiles. README.md has the equations.
#include <algorithm>
#include <cdrzoo/torch.hpp>
#include <cmath>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cards.h"
#include "csg2a/genes.hpp"
#include "csg2a/losses.hpp"
#include "csg2a/networks.hpp"
#include "mat/drug_graphs.hpp"

namespace {

using namespace cdrzoo;
using csg2a::Factors;
using torch::Tensor;

constexpr const char* kExpression = "expression";
constexpr const char* kGraph = "graph_mat";
constexpr const char* kGeneOrder = "gene_order_sha256";  // key of states and of the metadata of assets
constexpr float kDose = 0.1F;                            // csg2a.md 6: 10 uM in 100 uM
constexpr float kTime = 1.0F;                            // csg2a.md 6: 72 h in 72 h
constexpr std::int64_t kRowsPerChunk = 4096;             // of a prediction: bounds the memory, lets it be cancelled

struct Options {
  bool reference = false, freeze_mat = false, standardise = true;
  std::string mat_size;
  std::int64_t projection = 0, head = 0;
  double learning_rate = 0, weight_decay = 0;
  std::int64_t cosine_epochs = 0, batch_size = 0, epochs = 0, patience = 0;
};

/// A view as tensors: basal profiles and drugs once, conditions (drug, dose, time) once, pairs as indices into them.
/// All in the order of first use.
struct Rows {
  Tensor basal;            // f32 [cells, G], as it comes
  mat::DrugGraphs drugs;   // on the CPU
  Tensor cell, condition;  // i64 [n]
  Tensor drug_of;          // i64 [conditions]
  Tensor dose, time;       // f32 [conditions, 1]
  Tensor target;           // f32 [n, targets]; undefined where withheld

  Rows(const sdk::View& view, torch::Device device)
      : basal(sdk::floats_of(view.samples().dense(kExpression), device)), drugs(view.drugs().graphs(kGraph)) {
    const sdk::Pairs pairs = sdk::pairs_of(view);
    Tensor drug = pairs.drug;
    cell = pairs.sample;
    if (view.has(sdk::Column::control)) {  // the network sees the untreated profile
      const Tensor control = sdk::index_of(view.control());
      cell = cell.defined() ? torch::where(control >= 0, control, cell) : control;
    }
    if ((cell < 0).any().item<bool>()) {
      throw sdk::Error(CDRZOO_E_DATA, "CSG2A needs the untreated profile of every row; at least one has none");
    }
    Tensor doses = torch::full({view.n_obs()}, kDose), times = torch::full({view.n_obs()}, kTime);
    if (view.has(sdk::Column::dose)) doses = torch::pow(10.0, sdk::borrow(view.dose()) + 4);  // log10 M -> 100 uM
    if (view.has(sdk::Column::time)) times = sdk::borrow(view.time()) / 72;
    if (pairs.target.defined()) {
      target = pairs.target;
      if (view.has_target_mask()) {
        const Tensor kept = sdk::borrow(view.target_mask()).to(torch::kBool).all(/*dim=*/1).nonzero().squeeze(1);
        const auto keep = [&kept](Tensor& t) { t = t.index_select(0, kept); };
        keep(cell), keep(drug), keep(doses), keep(times), keep(target);
      }
    }
    if (!(torch::isfinite(doses).all() & torch::isfinite(times).all()).item<bool>()) {
      throw sdk::Error(CDRZOO_E_DATA, "CSG2A needs the dose and the time of every row; at least one is not known");
    }
    sdk::order_by_first_use(basal, cell);
    drugs = drugs.select(sdk::renumber_by_first_use(drug, drugs.size()));
    number_conditions(drug, doses, times);
    cell = cell.to(device);
    condition = condition.to(device);
    drug_of = drug_of.to(device);
    dose = dose.to(device);
    time = time.to(device);
    if (target.defined()) target = target.to(device);
  }
  [[nodiscard]] std::int64_t size() const { return cell.size(0); }

 private:
  void number_conditions(const Tensor& drug, const Tensor& doses, const Tensor& times) {
    const auto d = drug.accessor<std::int64_t, 1>();
    const auto x = doses.accessor<float, 1>(), t = times.accessor<float, 1>();
    std::map<std::tuple<std::int64_t, float, float>, std::int64_t> known;
    std::vector<std::int64_t> number, drug_of_condition;
    std::vector<float> dose_of, time_of;
    for (std::int64_t i = 0; i < drug.size(0); ++i) {
      const auto next = static_cast<std::int64_t>(known.size());
      const auto [found, is_new] = known.emplace(std::tuple(d[i], x[i], t[i]), next);
      number.push_back(found->second);
      if (!is_new) continue;
      drug_of_condition.push_back(d[i]);
      dose_of.push_back(x[i]);
      time_of.push_back(t[i]);
    }
    condition = torch::tensor(number, torch::kInt64);
    drug_of = torch::tensor(drug_of_condition, torch::kInt64);
    dose = torch::tensor(dose_of).unsqueeze(1);
    time = torch::tensor(time_of).unsqueeze(1);
  }
};

class Csg2aModel final : public sdk::Model {
 public:
  Csg2aModel(const sdk::Problem& problem, const sdk::Params& params)
      : task_(problem.task), atom_features_(problem.block(sdk::Axis::drug, kGraph).width) {
    sizes_.genes = problem.block(sdk::Axis::sample, kExpression).width;
    sizes_.hidden = params.integer("hidden");
    sizes_.dropout = params.real("dropout");
    options_.mat_size = params.text("mat_size");
    options_.freeze_mat = params.boolean("freeze_mat");
    options_.standardise = params.text("input") == "zscore";
    options_.learning_rate = params.real("learning_rate");
    options_.batch_size = params.integer("batch_size");
    options_.epochs = params.integer("epochs");
    options_.patience = params.integer("patience");
    if (profiles()) {
      if (problem.n_targets != sizes_.genes) {
        throw sdk::Error(CDRZOO_E_UNSUPPORTED,
                         "CSG2A predicts the genes that it sees: " + std::to_string(problem.n_targets) +
                             " targets for " + std::to_string(sizes_.genes) + " genes");
      }
    } else {
      if (task_ != sdk::Task::regression && task_ != sdk::Task::binary) {
        throw sdk::Error(CDRZOO_E_UNSUPPORTED, "CSG2A knows the tasks regression, binary and expression");
      }
      if (problem.n_targets != 1) {
        throw sdk::Error(CDRZOO_E_UNSUPPORTED,
                         "CSG2A has one target, the problem has " + std::to_string(problem.n_targets));
      }
      options_.reference = params.text("variant") == "reference";
      options_.projection = params.integer("projection_width");
      options_.head = params.integer("head_width");
      options_.weight_decay = params.real("weight_decay");
      options_.cosine_epochs = params.integer("cosine_epochs");
    }
  }

  // csg2a.md 3
  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const sdk::TorchGuard guard(context, sdk::Grad::on);
    const torch::Device device = sdk::device_of(context);
    const Rows train(data.train, device);
    if (train.size() < 2) throw sdk::Error(CDRZOO_E_DATA, "CSG2A needs two labelled training rows at least");
    start(context, data.train);
    net()->move_to(device);
    whole().to(device);
    scale_to(train);
    const Fixed fixed = fix(context, train);

    torch::optim::Adam optimizer(trained(),
                                 torch::optim::AdamOptions(options_.learning_rate).weight_decay(options_.weight_decay));
    sdk::EarlyStopping stop(options_.patience, /*min_delta=*/0.0);
    sdk::Batches::Options two_rows;
    two_rows.min_rows = 2;  // batch norm
    const sdk::Batches batches(context, train.size(), options_.batch_size, two_rows);
    std::optional<Rows> valid;
    Tensor valid_drugs;
    if (data.valid) valid.emplace(*data.valid, device);
    if (data.valid) valid_drugs = fixed_vectors(context, *valid);
    for (std::int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
      context.step("epoch " + std::to_string(epoch + 1));
      set_rate(optimizer, epoch);
      whole().train();
      if (frozen_ && !options_.reference) net()->eval();  // README, row 1
      double sum = 0;
      for (const auto& rows : batches.epoch(static_cast<std::uint64_t>(epoch))) {
        optimizer.zero_grad();
        const Tensor r = rows.to(device);
        const Tensor loss = loss_of(forward(context, train, fixed, r), train.target.index_select(0, r));
        loss.backward();
        optimizer.step();
        sum += loss.item<double>();
      }
      const double train_loss = sum / static_cast<double>(batches.per_epoch());
      if (!std::isfinite(train_loss)) throw sdk::Error(CDRZOO_E_NUMERIC, "the training loss is not finite");
      const auto done = static_cast<std::uint64_t>(epoch + 1);
      const auto total = static_cast<std::uint64_t>(options_.epochs);
      if (!valid) {
        context.progress("epochs", done, total, {{"train_loss", train_loss}});
        continue;
      }
      const double valid_loss = mean_loss(context, *valid, valid_drugs);
      context.progress("epochs", done, total, {{"train_loss", train_loss}, {"valid_loss", valid_loss}});
      if (stop.update(valid_loss, whole())) break;
    }
    if (valid) stop.restore(whole());
    whole().eval();
  }

  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    if (query.n_obs() == 0) return;
    check_genes(query);
    const Rows rows(query, sdk::device_of(context));
    to(rows.basal.device());
    const Tensor f = outputs(context, rows, encode(context, rows.drugs));
    sdk::copy_to(
        task_ == sdk::Task::binary ? torch::sigmoid(f) : f * target_scale_.to(f.device()) + target_mean_.to(f.device()),
        out.mean());
  }

  /// A sample: its projection. A drug: its compound vector at the dose and time of response data.
  void embed(sdk::Context& context, sdk::Axis axis, const sdk::View& view, sdk::Matrix<float> out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    const torch::Device device = sdk::device_of(context);
    to(device);
    if (axis == sdk::Axis::sample && !profiles()) {
      check_genes(view);
      const Tensor basal = seen(sdk::floats_of(view.samples().dense(kExpression), device));
      return sdk::copy_to(response_->project_basal(basal), out);
    }
    if (axis == sdk::Axis::drug) {
      const mat::DrugGraphs drugs(view.drugs().graphs(kGraph));
      const Tensor pooled = encode(context, drugs);
      const Tensor ones = torch::ones({drugs.size(), 1}, pooled.options());
      return sdk::copy_to(net()->encoder()->forward(pooled, ones * kDose, ones * kTime), out);
    }
    throw sdk::Error(CDRZOO_E_UNSUPPORTED, profiles() ? "CSG2A embeds drugs" : "CSG2A embeds samples and drugs");
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override {
    sdk::save_module(state, whole());  // the keys of published checkpoints, fine-tuned ones for responses
    sdk::save_tensor(state, "prior_row_sums", net()->row_sums());
    sdk::save_tensor(state, "input_mean", mean_);
    sdk::save_tensor(state, "input_scale", scale_);
    sdk::save_tensor(state, "target_mean", target_mean_);
    sdk::save_tensor(state, "target_scale", target_scale_);
    state.scalar("mat_published", static_cast<std::int32_t>(published_ ? 1 : 0));
    state.text(kGeneOrder, gene_order_);
  }

  void load(sdk::Context& context, sdk::StateReader& state) override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    make(state.scalar<std::int32_t>("mat_published") != 0);
    sdk::load_module(state, whole());
    const auto vector_of = [&](const char* name, std::int64_t n) {
      return sdk::borrow(state.tensor<float>(name, {n})).clone();
    };
    net()->set_prior_row_sums(vector_of("prior_row_sums", sizes_.genes));
    mean_ = vector_of("input_mean", sizes_.genes);
    scale_ = vector_of("input_scale", sizes_.genes);
    target_mean_ = vector_of("target_mean", profiles() ? sizes_.genes : 1);
    target_scale_ = vector_of("target_scale", profiles() ? sizes_.genes : 1);
    gene_order_ = state.text(kGeneOrder);
    whole().eval();
  }

  [[nodiscard]] sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    info.n_parameters = network_.is_empty() && response_.is_empty() ? 0 : sdk::n_parameters(whole());
    info.embed_dim_sample = profiles() ? 0 : options_.projection;
    info.embed_dim_drug = sizes_.genes;
    info.bytes = static_cast<std::uint64_t>(info.n_parameters) * sizeof(float);
    return info;
  }

 private:
  /// What no training step changes.
  struct Fixed {
    Tensor pooled;        ///< vectors of the drugs; undefined where MAT is trained
    Tensor basal;         ///< what the network sees of the cells
    Factors cells, ones;  ///< of basal and of a cell of ones; only with a frozen network
    Factors conditions;   ///< only with a frozen network in eval mode
  };

  [[nodiscard]] bool profiles() const { return task_ == sdk::Task::expression; }
  [[nodiscard]] torch::nn::Module& whole() const {
    return profiles() ? static_cast<torch::nn::Module&>(*network_) : static_cast<torch::nn::Module&>(*response_);
  }
  [[nodiscard]] csg2a::Csg2a& net() const { return profiles() ? network_ : response_->network(); }
  void to(torch::Device device) const {
    whole().to(device);
    net()->move_to(device);
  }

  void make(bool published) {
    published_ = published;
    sizes_.mat = published ? mat::published_options(atom_features_) : mat::small_options(atom_features_);
    if (profiles()) {
      network_ = csg2a::Csg2a(sizes_);
    } else {
      response_ = csg2a::Response(sizes_, options_.projection, options_.head);
    }
  }

  /// An asset, or nothing where the run has none.
  [[nodiscard]] static std::optional<sdk::Asset> find_asset(const sdk::Context& context, const char* id) {
    try {
      return context.asset(id);
    } catch (const sdk::Error& e) {
      if (e.code() == CDRZOO_E_ASSET) return std::nullopt;
      throw;
    }
  }

  /// The networks before training, from the assets that the run has.
  void start(sdk::Context& context, const sdk::View& view) {
    const auto checkpoint = find_asset(context, "checkpoint");
    const auto mat_weights = find_asset(context, "mat_weights");
    make(options_.mat_size == "published" || (options_.mat_size == "auto" && (checkpoint || mat_weights)));
    const sdk::DenseBlock expression = view.samples().dense(kExpression);
    const csg2a::Genes genes = expression.feature_names();
    gene_order_ = csg2a::order_of(genes);
    given_mat_ = checkpoint || mat_weights;
    if (mat_weights) {
      check_asset(*mat_weights, "mat_weights", /*genes_matter=*/false);
      mat::load_weights(net()->encoder()->mat(), *mat_weights->tensors, "mat_weights");
    }
    if (checkpoint) {
      check_asset(*checkpoint, "checkpoint", /*genes_matter=*/true);
      load_checkpoint(*checkpoint->tensors);
    } else {
      context.warn(mat_weights ? "CSG2A has no checkpoint: all but the molecule transformer is trained from scratch"
                               : "CSG2A has no checkpoint and no weights of MAT: all is trained from scratch, not "
                                 "pre-trained as in the paper");
    }
    frozen_ = checkpoint && !profiles();
    for (auto& parameter : net()->parameters()) parameter.set_requires_grad(!frozen_);
    if (options_.freeze_mat && given_mat_) {
      for (auto& parameter : net()->encoder()->mat()->parameters()) parameter.set_requires_grad(false);
    }
    net()->set_prior_row_sums(prior(context, genes));
  }

  [[nodiscard]] Tensor prior(const sdk::Context& context, const csg2a::Genes& genes) const {
    const auto edges = find_asset(context, "prior_edges");
    if (!edges) {
      context.warn("CSG2A has no prior of gene-gene edges: the identity takes its place");
      return torch::ones({sizes_.genes});
    }
    if (genes.empty()) throw sdk::Error(CDRZOO_E_DATA, "the prior needs the symbols of the genes, the data have none");
    try {
      const auto& bytes = edges->bytes;
      const csg2a::Prior found = csg2a::read_prior(
          {reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(bytes.size())}, genes);
      context.info("the prior has " + std::to_string(found.edges) + " edges among " + std::to_string(genes.size()) +
                   " genes; " + std::to_string(found.elsewhere) + " lines name other genes");
      return torch::tensor(found.row_sums);
    } catch (const std::runtime_error& e) {
      throw sdk::Error(CDRZOO_E_ASSET, "the asset \"prior_edges\": " + std::string(e.what()));
    }
  }

  /// csg2a.md 8: nothing in a checkpoint but its metadata can tell the order of its genes.
  void check_asset(const sdk::Asset& asset, const std::string& id, bool genes_matter) const {
    if (!asset.tensors) throw sdk::Error(CDRZOO_E_ASSET, "the asset \"" + id + "\" is no safetensors file");
    if (!genes_matter) return;
    std::string order;
    try {
      order = asset.tensors->text(kGeneOrder);
    } catch (const sdk::Error&) {
      return;  // README: the user answers for the order
    }
    if (order != gene_order_) {
      throw sdk::Error(CDRZOO_E_ASSET, "the genes of the asset \"" + id +
                                           "\" are not those of the data, or stand in another order (" + kGeneOrder +
                                           ")");
    }
  }

  void load_checkpoint(const sdk::StateReader& state) const {
    const std::string prefix = state.has("CSG2A.w_gex") ? "CSG2A." : "";
    if (!state.has(prefix + "w_gex")) {
      throw sdk::Error(CDRZOO_E_ASSET,
                       "the asset \"checkpoint\" has no tensor \"w_gex\": these are no weights of CSG2A");
    }
    try {
      sdk::load_module(state, *net(), prefix);
    } catch (const sdk::Error& e) {
      throw sdk::Error(CDRZOO_E_ASSET, "the asset \"checkpoint\" does not fit " + std::to_string(sizes_.genes) +
                                           " genes and " + (published_ ? "the published" : "the small") +
                                           " MAT: " + e.what());
    }
  }

  void check_genes(const sdk::View& view) const {
    const std::string order = csg2a::order_of(view.samples().dense(kExpression).feature_names());
    if (order != gene_order_ && !order.empty() && !gene_order_.empty()) {
      throw sdk::Error(CDRZOO_E_DATA, "the genes are not those of the training data, or stand in another order");
    }
  }

  /// The units of inputs and targets.
  void scale_to(const Rows& train) {
    if (!torch::isfinite(train.target).all().item<bool>())
      throw sdk::Error(CDRZOO_E_DATA, "a training target is not finite");
    std::tie(mean_, scale_) = options_.standardise ? moments(train.basal) : unchanged(sizes_.genes);
    const bool own_unit = profiles() ? options_.standardise  // README, row 2
                                     : task_ == sdk::Task::regression && !options_.reference;
    std::tie(target_mean_, target_scale_) = own_unit ? moments(train.target) : unchanged(train.target.size(1));
  }

  /// Means and deviations of columns, on the CPU; a constant column is only centred.
  [[nodiscard]] static std::pair<Tensor, Tensor> moments(const Tensor& x) {
    const Tensor values = x.to(torch::kCPU, torch::kFloat64);
    const Tensor deviation = values.std(/*dim=*/0, /*unbiased=*/false);
    return {values.mean(/*dim=*/0).to(torch::kFloat32),
            torch::where(deviation > 1e-6, deviation, torch::ones_like(deviation)).to(torch::kFloat32)};
  }
  [[nodiscard]] static std::pair<Tensor, Tensor> unchanged(std::int64_t columns) {
    return {torch::zeros({columns}), torch::ones({columns})};
  }

  [[nodiscard]] Tensor seen(const Tensor& basal) const {
    return (basal - mean_.to(basal.device())) / scale_.to(basal.device());
  }

  [[nodiscard]] std::vector<Tensor> trained() const {
    std::vector<Tensor> out;
    for (const auto& parameter : whole().parameters()) {
      if (parameter.requires_grad()) out.push_back(parameter);
    }
    return out;
  }

  void set_rate(torch::optim::Adam& optimizer, std::int64_t epoch) const {
    if (profiles()) return;  // csg2a.md 3: constant in pre-training
    const double high = options_.learning_rate;
    for (auto& group : optimizer.param_groups()) {
      static_cast<torch::optim::AdamOptions&>(group.options())
          .lr(csg2a::cosine_rate(high, high / 10, options_.cosine_epochs, epoch));
    }
  }

  /// The mean token of each drug.
  [[nodiscard]] Tensor encode(const sdk::Context& context, const mat::DrugGraphs& drugs) const {
    return mat::pooled(net()->encoder()->mat(), drugs, [&context] { context.check_cancelled(); });
  }

  /// The same where no training step changes it; else undefined.
  [[nodiscard]] Tensor fixed_vectors(const sdk::Context& context, const Rows& rows) const {
    const torch::NoGradGuard no_grad;
    whole().eval();
    return frozen_ || (options_.freeze_mat && given_mat_) ? encode(context, rows.drugs) : Tensor();
  }

  [[nodiscard]] Fixed fix(const sdk::Context& context, const Rows& rows) const {
    const torch::NoGradGuard no_grad;
    Fixed fixed;
    fixed.basal = seen(rows.basal);
    fixed.pooled = fixed_vectors(context, rows);
    if (!frozen_) return fixed;
    fixed.cells = net()->cells(fixed.basal);
    fixed.ones = net()->cells(torch::ones({1, sizes_.genes}, fixed.basal.options()));
    if (!options_.reference) {
      fixed.conditions = net()->conditions(
          net()->encoder()->forward(fixed.pooled.index_select(0, rows.drug_of), rows.dose, rows.time));
    }
    return fixed;
  }

  /// The compound vector of each of the batch's pairs, from its conditions.
  [[nodiscard]] Tensor compounds(const sdk::Context& context, const Rows& rows, const Fixed& fixed,
                                 const sdk::Unique& conditions) const {
    const Tensor drug_of = rows.drug_of.index_select(0, conditions.entity);
    Tensor pooled;
    if (fixed.pooled.defined()) {
      pooled = fixed.pooled.index_select(0, drug_of);
    } else {
      const sdk::Unique drugs = sdk::unique_of(drug_of);
      pooled = encode(context, rows.drugs.select(drugs.entity)).index_select(0, drugs.index);
    }
    return net()->encoder()->forward(pooled, rows.dose.index_select(0, conditions.entity),
                                     rows.time.index_select(0, conditions.entity), conditions);
  }

  /// The network's outputs for a mini-batch of training rows, each cell and drug once. -> f32 [n] or [n, G]
  [[nodiscard]] Tensor forward(const sdk::Context& context, const Rows& rows, const Fixed& fixed,
                               const Tensor& r) const {
    const sdk::Unique samples = sdk::unique_of(rows.cell.index_select(0, r));
    const sdk::Unique conditions = sdk::unique_of(rows.condition.index_select(0, r));
    const Tensor basal = fixed.basal.index_select(0, samples.entity);
    if (profiles()) {
      const Factors c = net()->conditions(compounds(context, rows, fixed, conditions));
      return net()->predict_from(net()->attend(net()->cells(basal).select(samples.index), c));
    }
    const Factors cells = frozen_ ? response_->scaled(fixed.cells.select(samples.entity), fixed.ones)
                                  : net()->cells(response_->scaled(basal));
    if (fixed.conditions.x.defined()) {
      return response_->forward(basal, cells, samples, fixed.conditions.select(conditions.entity), conditions);
    }
    const Factors c = net()->conditions(compounds(context, rows, fixed, conditions));  // dropout: a row per pair
    const Tensor each = torch::arange(r.size(0), r.options());
    return response_->forward(basal, cells, samples, c, {each, each, torch::ones_like(each)});
  }

  /// \p output [n] or [n, G] against targets [n, 1] or [n, G].
  [[nodiscard]] Tensor loss_of(const Tensor& output, const Tensor& target) const {
    if (task_ == sdk::Task::binary) return csg2a::logistic_loss(output, target.squeeze(/*dim=*/1));
    const Tensor y = (target - target_mean_.to(target.device())) / target_scale_.to(target.device());
    return csg2a::squared_error(output, y.view_as(output));
  }

  /// Over all rows, with dropout off.
  [[nodiscard]] double mean_loss(const sdk::Context& context, const Rows& rows, const Tensor& vectors) const {
    const torch::NoGradGuard no_grad;
    whole().eval();
    const Tensor f = outputs(context, rows, vectors.defined() ? vectors : encode(context, rows.drugs));
    return loss_of(f, rows.target).item<double>();
  }

  /// The network's outputs in eval mode: conditions and cells once, pairs in chunks. \param vectors of the drugs
  [[nodiscard]] Tensor outputs(const sdk::Context& context, const Rows& rows, const Tensor& vectors) const {
    const Tensor basal = seen(rows.basal);
    const Tensor compound = net()->encoder()->forward(vectors.index_select(0, rows.drug_of), rows.dose, rows.time);
    const Factors cells = net()->cells(profiles() ? basal : response_->scaled(basal));
    const Factors conditions = net()->conditions(compound);
    csg2a::ResponseImpl::Readout readout;
    if (!profiles()) readout = response_->readout(basal, compound);
    std::vector<Tensor> chunks;
    for (std::int64_t first = 0; first < rows.size(); first += kRowsPerChunk) {
      context.check_cancelled();
      const std::int64_t n = std::min(kRowsPerChunk, rows.size() - first);
      const Tensor cell = rows.cell.narrow(0, first, n);
      const Tensor condition = rows.condition.narrow(0, first, n);
      const Tensor h = net()->activated(cells, cell, conditions, condition);
      chunks.push_back(profiles() ? torch::matmul(h, net()->output_weight().t())
                                  : csg2a::ResponseImpl::read(readout, h, cell, condition));
    }
    return torch::cat(chunks);
  }

  sdk::Task task_;
  std::int64_t atom_features_;
  csg2a::Sizes sizes_;
  Options options_;
  bool published_ = false, given_mat_ = false, frozen_ = false;
  // One of the two, by task; predict moves it to the device of its call.
  mutable csg2a::Csg2a network_{nullptr};
  mutable csg2a::Response response_{nullptr};
  Tensor mean_, scale_;                // of the input, f32 [G] on the CPU
  Tensor target_mean_, target_scale_;  // f32 [targets] on the CPU
  std::string gene_order_;
};

}  // namespace

CDRZOO_EXPORT_PLUGIN(sdk::model<Csg2aModel>(kCsg2aCard), sdk::model<Csg2aModel>(kCsg2aExpressionCard))
