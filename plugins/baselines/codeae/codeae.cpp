// SPDX-License-Identifier: Apache-2.0
// baseline.codeae: an encoder that is pre-trained on both domains without labels, then a classifier per drug on its
// code. README.md has the equations.
#include <algorithm>
#include <cdrzoo/torch.hpp>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cards.h"
#include "finetune.hpp"
#include "networks.hpp"
#include "pretrain.hpp"

namespace {

using namespace cdrzoo;
using codeae::Method;

constexpr const char* kExpression = "expression";
constexpr std::size_t kParts = 5;  // of a drug's rows, one of which validates where the host gives no rows for that

Method method_of(const std::string& name) {
  static const std::map<std::string, Method> kMethods = {
      {"base", Method::base},         {"mmd", Method::mmd},     {"adv", Method::adv}, {"dsn_mmd", Method::dsn_mmd},
      {"dsn_dann", Method::dsn_dann}, {"coral", Method::coral}, {"ae", Method::ae},   {"dae", Method::dae}};
  const auto found = kMethods.find(name);
  if (found == kMethods.end()) throw sdk::Error(CDRZOO_E_PARAM, "there is no method \"" + name + "\"");
  return found->second;
}

/// The samples of some views, each once, in the order in which observations first use them.
class Samples {
 public:
  /// Per observation of the view, its row.
  std::vector<std::int64_t> add(const sdk::View& view) {
    const auto keys = view.samples().keys();
    std::vector<std::int64_t> rows;
    std::vector<std::int64_t> fresh;
    for (const std::int32_t sample : view.sample()) {
      const auto [at, is_new] = row_.try_emplace(keys[sample], static_cast<std::int64_t>(row_.size()));
      if (is_new) fresh.push_back(sample);
      rows.push_back(at->second);
    }
    const torch::Tensor block = sdk::floats_of(view.samples().dense(kExpression));
    parts_.push_back(block.index_select(0, torch::tensor(fresh, torch::kInt64)));
    return rows;
  }
  /// f32 [samples, genes]
  [[nodiscard]] torch::Tensor expression(torch::Device device) const { return torch::cat(parts_).to(device); }

 private:
  std::map<std::int64_t, std::int64_t> row_;  // by key
  std::vector<torch::Tensor> parts_;
};

/// One drug: its key, its rows, and the unit of its responses.
struct Drug {
  std::int64_t key = 0;
  double mean = 0, scale = 1;  // of the training responses of a regression
};

class CodeAe final : public sdk::Model {
 public:
  CodeAe(const sdk::Problem& problem, const sdk::Params& params) {
    if (problem.task != sdk::Task::regression && problem.task != sdk::Task::binary) {
      throw sdk::Error(CDRZOO_E_UNSUPPORTED, "CODE-AE knows the tasks binary and regression");
    }
    if (problem.n_targets != 1) {
      throw sdk::Error(CDRZOO_E_UNSUPPORTED,
                       "CODE-AE has one target, the problem has " + std::to_string(problem.n_targets));
    }
    reference_ = params.text("variant") == "reference";

    pretrain_.method = method_of(params.text("method"));
    pretrain_.pretrain_epochs = params.integer("pretrain_epochs");
    pretrain_.train_epochs = params.integer("train_epochs");
    pretrain_.batch_size = params.integer("batch_size");
    pretrain_.critic_steps = params.integer("critic_steps");
    pretrain_.restart_steps = reference_;
    pretrain_.learning_rate = params.real("learning_rate");
    pretrain_.orthogonality = params.real("orthogonality");
    pretrain_.alignment = params.real("alignment");
    pretrain_.gradient_penalty = params.real("gradient_penalty");
    pretrain_.noise = params.real("noise");

    sizes_.genes = problem.block(sdk::Axis::sample, kExpression).width;
    sizes_.hidden = params.integers("hidden");
    sizes_.latent = params.integer("latent");
    sizes_.critic_hidden = params.integers("critic_hidden");
    sizes_.dropout = params.real("dropout");
    sizes_.norm = params.boolean("norm") && pretrain_.method != Method::dsn_mmd && pretrain_.method != Method::dsn_dann;

    finetune_.binary = problem.task == sdk::Task::binary;
    finetune_.norm = sizes_.norm;
    finetune_.hidden = params.integers("classifier_hidden");
    finetune_.dropout = params.real("classifier_dropout");
    finetune_.batch_size = params.integer("finetune_batch_size");
    finetune_.learning_rate = params.real("finetune_learning_rate");
    finetune_.epochs = params.integer("finetune_epochs");
    finetune_.unfrozen_layers = params.integer("unfreeze");
    finetune_.decay = params.real("decay");
    finetune_.patience = params.integer("patience");
    finetune_.stop_as_reference = reference_;
  }

  void fit(sdk::Context& context, const sdk::FitData& data) override {
    const sdk::TorchGuard guard(context, sdk::Grad::on);
    const torch::Device device = sdk::device_of(context);

    Samples lines;
    const std::vector<codeae::DrugRows> rows = rows_of(context, data, lines);
    codeae::Domains x{lines.expression(device), {}};
    if (data.unlabelled_target && data.unlabelled_target->n_obs() > 0) {
      Samples pool;
      pool.add(*data.unlabelled_target);
      x.target = pool.expression(device);
    } else if (reference_) {
      x.target = x.source;
    } else {
      context.info("there is no unlabelled target: the encoder is pre-trained on the training samples alone");
    }

    encoder_ = codeae::pretrain(context, x, sizes_, pretrain_);
    responses_ = codeae::finetune(context, encoder_, x.source, rows, finetune_);
  }

  void predict(sdk::Context& context, const sdk::View& query, sdk::Predictions& out) const override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    if (query.n_obs() == 0) return;
    const torch::Device device = sdk::device_of(context);
    encoder_->to(device);
    const torch::Tensor x = sdk::floats_of(query.samples().dense(kExpression), device);
    const auto sample = query.sample();
    const auto key = query.drugs().keys();
    std::map<std::int64_t, std::vector<std::int64_t>> rows_of_drug;  // by key
    for (std::int64_t i = 0; i < query.n_obs(); ++i) rows_of_drug[key[query.drug()[i]]].push_back(i);

    std::map<std::int64_t, torch::Tensor> activations;  // every sample once, by the number of layers that follow
    for (const auto& [drug_key, rows] : rows_of_drug) {
      context.check_cancelled();
      const auto found =
          std::find_if(drugs_.begin(), drugs_.end(), [k = drug_key](const Drug& d) { return d.key == k; });
      if (found == drugs_.end()) {  // a drug that training did not hold has no classifier
        for (const std::int64_t i : rows) out.unsupported(i);
        continue;
      }
      const codeae::Response response = responses_[static_cast<std::size_t>(found - drugs_.begin())].to(device);
      torch::Tensor& entering = activations[response.own_layers];
      if (!entering.defined()) entering = codeae::trunk(encoder_, x, response.own_layers, sizes_.norm);
      std::vector<std::int64_t> samples;
      for (const std::int64_t i : rows) samples.push_back(sample[i]);
      const torch::Tensor output =
          codeae::respond(response, encoder_->activation(),
                          entering.index_select(0, torch::tensor(samples, torch::kInt64).to(device)), sizes_.norm);
      const torch::Tensor value = (finetune_.binary ? torch::sigmoid(output) : output * found->scale + found->mean)
                                      .to(torch::kCPU)
                                      .contiguous();
      for (std::size_t i = 0; i < rows.size(); ++i) {
        out.set(rows[i], static_cast<double>(value.data_ptr<float>()[i]));
      }
    }
  }

  /// The shared code.
  void embed(sdk::Context& context, sdk::Axis axis, const sdk::View& view, sdk::Matrix<float> out) const override {
    if (axis != sdk::Axis::sample) throw sdk::Error(CDRZOO_E_UNSUPPORTED, "CODE-AE embeds samples");
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    const torch::Device device = sdk::device_of(context);
    encoder_->to(device);
    const torch::Tensor x = sdk::floats_of(view.samples().dense(kExpression), device);
    sdk::copy_to(codeae::trunk(encoder_, x, /*own_layers=*/0, sizes_.norm), out);
  }

  void save(sdk::Context&, sdk::StateWriter& state) const override {
    sdk::save_module(state, *encoder_, "shared_encoder.");
    std::vector<std::int64_t> keys;
    std::vector<std::int64_t> own;
    std::vector<double> means;
    std::vector<double> scales;
    for (std::size_t d = 0; d < drugs_.size(); ++d) {
      keys.push_back(drugs_[d].key);
      own.push_back(responses_[d].own_layers);
      means.push_back(drugs_[d].mean);
      scales.push_back(drugs_[d].scale);
      const std::vector<std::string> names = layer_names(drugs_[d].key, responses_[d].own_layers);
      for (std::size_t i = 0; i < names.size(); ++i) {
        sdk::save_tensor(state, names[i] + ".weight", responses_[d].weight[i]);
        sdk::save_tensor(state, names[i] + ".bias", responses_[d].bias[i]);
      }
    }
    state.tensor("drug_key", keys);
    state.tensor("own_layers", own);
    state.tensor("target_mean", means);
    state.tensor("target_scale", scales);
  }

  void load(sdk::Context& context, sdk::StateReader& state) override {
    const sdk::TorchGuard guard(context, sdk::Grad::off);
    encoder_ = fresh_encoder();
    sdk::load_module(state, *encoder_, "shared_encoder.");
    encoder_->eval();
    const codeae::Perceptron classifier(sizes_.latent, finetune_.hidden, 1, 0.0);
    const auto keys = state.vector<std::int64_t>("drug_key");
    const auto n = static_cast<std::int64_t>(keys.size());
    const auto own = state.vector<std::int64_t>("own_layers", {n});
    const auto means = state.vector<double>("target_mean", {n});
    const auto scales = state.vector<double>("target_scale", {n});
    const auto n_encoder_layers = static_cast<std::int64_t>(encoder_->layers().size());
    for (std::size_t d = 0; d < keys.size(); ++d) {
      if (own[d] < 0 || own[d] > n_encoder_layers) {
        throw sdk::Error(CDRZOO_E_CORRUPT, "a drug cannot own " + std::to_string(own[d]) + " layers of the encoder");
      }
      std::vector<torch::nn::Linear> layers(encoder_->layers().end() - own[d], encoder_->layers().end());
      layers.insert(layers.end(), classifier->layers().begin(), classifier->layers().end());
      const std::vector<std::string> names = layer_names(keys[d], own[d]);
      codeae::Response response;
      response.own_layers = own[d];
      for (std::size_t i = 0; i < names.size(); ++i) {
        response.weight.push_back(tensor_like(state, names[i] + ".weight", layers[i]->weight));
        response.bias.push_back(tensor_like(state, names[i] + ".bias", layers[i]->bias));
      }
      drugs_.push_back({keys[d], means[d], scales[d]});
      responses_.push_back(std::move(response));
    }
  }

  [[nodiscard]] sdk::ModelInfo info() const override {
    sdk::ModelInfo info;
    if (!encoder_.is_empty()) info.n_parameters = sdk::n_parameters(*encoder_);
    for (const auto& response : responses_) {
      for (const auto& w : response.weight) info.n_parameters += w.numel() + w.size(0);
    }
    info.embed_dim_sample = sizes_.latent;
    info.bytes = static_cast<std::uint64_t>(info.n_parameters) * sizeof(float);
    return info;
  }

 private:
  /// The rows of each drug, in the order of first use; sets drugs_. Where the host gives no validation rows of a drug,
  /// a fifth of its training rows validates (drawn per class), and all of them where there are fewer than five.
  [[nodiscard]] std::vector<codeae::DrugRows> rows_of(const sdk::Context& context, const sdk::FitData& data,
                                                      Samples& samples) {
    std::vector<codeae::DrugRows> drugs;
    std::map<std::int64_t, std::size_t> number;  // by key
    const auto each_row = [&](const sdk::View& view, const auto& f) {
      const std::vector<std::int64_t> row = samples.add(view);
      const auto key = view.drugs().keys();
      const auto y = view.target();
      for (std::int64_t i = 0; i < view.n_obs(); ++i) {
        if (view.has_target_mask() && view.target_mask()(i, 0) == 0) continue;
        if (!std::isfinite(y(i, 0))) throw sdk::Error(CDRZOO_E_DATA, "a training target is not finite");
        f(key[view.drug()[i]], row[static_cast<std::size_t>(i)], y(i, 0));
      }
    };
    each_row(data.train, [&](std::int64_t key, std::int64_t row, float y) {
      const auto [at, is_new] = number.try_emplace(key, drugs.size());
      if (is_new) {
        drugs.emplace_back();
        drugs_.push_back({key, 0, 1});
      }
      drugs[at->second].train.push_back(row);
      drugs[at->second].train_y.push_back(y);
    });
    if (drugs.empty()) throw sdk::Error(CDRZOO_E_DATA, "there are no labelled training rows");
    if (data.valid) {
      each_row(*data.valid, [&](std::int64_t key, std::int64_t row, float y) {
        const auto found = number.find(key);
        if (found == number.end()) return;
        drugs[found->second].valid.push_back(row);
        drugs[found->second].valid_y.push_back(y);
      });
    }
    sdk::Random random = context.random("validation");
    for (std::size_t d = 0; d < drugs.size(); ++d) {
      if (drugs[d].valid.empty()) hold_out(drugs[d], random);
      if (!finetune_.binary) scale(drugs[d], drugs_[d]);
    }
    return drugs;
  }

  void hold_out(codeae::DrugRows& rows, sdk::Random& random) const {
    if (rows.train.size() < kParts) {
      rows.valid = rows.train;
      rows.valid_y = rows.train_y;
      return;
    }
    std::vector<std::int64_t> order = random.permutation(static_cast<std::int64_t>(rows.train.size()));
    if (finetune_.binary) {
      std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return rows.train_y[static_cast<std::size_t>(a)] > rows.train_y[static_cast<std::size_t>(b)];
      });
    }
    codeae::DrugRows parted;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const auto row = static_cast<std::size_t>(order[i]);
      const bool held_out = i % kParts == kParts / 2;
      (held_out ? parted.valid : parted.train).push_back(rows.train[row]);
      (held_out ? parted.valid_y : parted.train_y).push_back(rows.train_y[row]);
    }
    rows = std::move(parted);
  }

  /// Responses in units of the deviation of the drug's training rows about their mean.
  static void scale(codeae::DrugRows& rows, Drug& drug) {
    double sum = 0;
    double squares = 0;
    for (const float y : rows.train_y) sum += static_cast<double>(y);
    drug.mean = sum / static_cast<double>(rows.train_y.size());
    for (const float y : rows.train_y) squares += std::pow(static_cast<double>(y) - drug.mean, 2);
    const double deviation = std::sqrt(squares / static_cast<double>(rows.train_y.size()));
    drug.scale = deviation > 1e-12 ? deviation : 1.0;
    for (auto* values : {&rows.train_y, &rows.valid_y}) {
      for (float& y : *values) y = static_cast<float>((static_cast<double>(y) - drug.mean) / drug.scale);
    }
  }

  [[nodiscard]] codeae::Perceptron fresh_encoder() const {
    const bool plain =
        pretrain_.method == Method::ae || pretrain_.method == Method::dae || pretrain_.method == Method::coral;
    return codeae::Perceptron(sizes_.genes, sizes_.hidden, sizes_.latent, sizes_.dropout,
                              plain ? codeae::Activation::relu : codeae::Activation::selu);
  }

  /// Of a drug's own layers and its classifier, as the reference's EncoderDecoder names them.
  [[nodiscard]] std::vector<std::string> layer_names(std::int64_t key, std::int64_t own_layers) const {
    std::vector<std::string> names;
    const auto add = [&](const std::string& part, std::size_t hidden, std::size_t first) {
      for (std::size_t i = first; i < hidden; ++i) names.push_back(part + "module." + std::to_string(i) + ".0");
      if (first <= hidden) names.push_back(part + "output_layer.0");
    };
    const std::string drug = "drug" + std::to_string(key) + ".";
    add(drug + "encoder.", sizes_.hidden.size(), sizes_.hidden.size() + 1 - static_cast<std::size_t>(own_layers));
    add(drug + "decoder.", finetune_.hidden.size(), 0);
    return names;
  }

  static torch::Tensor tensor_like(const sdk::StateReader& state, const std::string& name, const torch::Tensor& like) {
    const torch::Tensor values = sdk::borrow(state.array(name));
    if (values.scalar_type() != like.scalar_type() || values.sizes() != like.sizes()) {
      throw sdk::Error(CDRZOO_E_CORRUPT, "the state tensor \"" + name + "\" has another shape than expected");
    }
    return values.clone();
  }

  bool reference_ = false;
  codeae::Sizes sizes_;
  codeae::PretrainOptions pretrain_;
  codeae::FinetuneOptions finetune_;
  mutable codeae::Perceptron encoder_{nullptr};  // predict moves it to the device of its call
  std::vector<Drug> drugs_;
  std::vector<codeae::Response> responses_;  // in the order of drugs_
};

}  // namespace

CDRZOO_EXPORT_PLUGIN(sdk::model<CodeAe>(kCodeaeCard))
