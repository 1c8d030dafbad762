// SPDX-License-Identifier: Apache-2.0
#include "finetune.hpp"

#include <algorithm>
#include <cdrzoo/torch_optim.hpp>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "losses.hpp"

namespace cdrzoo::codeae {

torch::Tensor trunk(Perceptron encoder, const torch::Tensor& input, std::int64_t own_layers, bool norm) {
  const auto& layers = encoder->layers();
  const std::size_t n_shared = layers.size() - static_cast<std::size_t>(own_layers);
  torch::Tensor x = input;
  for (std::size_t i = 0; i < n_shared; ++i) {
    x = torch::linear(x, layers[i]->weight, layers[i]->bias);
    if (i + 1 < layers.size()) {
      x = with_dropout(activate(x, encoder->activation()), encoder->dropout(), encoder->is_training());
    }
  }
  return own_layers == 0 && norm ? unit_rows(x) : x;
}

Response Response::to(torch::Device device) const {
  Response moved = *this;
  for (auto* tensors : {&moved.weight, &moved.bias}) {
    for (auto& t : *tensors) t = t.to(device);
  }
  return moved;
}

torch::Tensor respond(const Response& response, Activation encoder_activation, torch::Tensor x, bool norm) {
  const auto own = static_cast<std::size_t>(response.own_layers);
  for (std::size_t i = 0; i < response.weight.size(); ++i) {
    x = torch::linear(x, response.weight[i], response.bias[i]);
    if (i + 1 == own) {
      if (norm) x = unit_rows(x);
    } else if (i + 1 < response.weight.size()) {
      x = i < own ? activate(x, encoder_activation) : torch::selu(x);
    }
  }
  return x.squeeze(/*dim=*/1);
}

// ---- many drugs side by side ----------------------------------------------------------------------------------------

Bank::Bank(const std::vector<Response>& starts, Activation encoder_activation, double encoder_dropout,
           const FinetuneOptions& options, torch::Device device)
    : own_layers_(starts.front().own_layers),
      encoder_activation_(encoder_activation),
      encoder_dropout_(encoder_dropout),
      dropout_(options.dropout),
      norm_(options.norm) {
  for (std::size_t layer = 0; layer < starts.front().weight.size(); ++layer) {
    std::vector<torch::Tensor> weights;
    std::vector<torch::Tensor> biases;
    for (const Response& start : starts) {
      weights.push_back(start.weight[layer]);
      biases.push_back(start.bias[layer]);
    }
    weight_.push_back(torch::stack(weights).to(device).requires_grad_());
    bias_.push_back(torch::stack(biases).to(device).requires_grad_());
  }
  for (const auto& p : parameters()) {
    mean_.push_back(torch::zeros_like(p.detach()));
    square_.push_back(torch::zeros_like(p.detach()));
  }
}

torch::Tensor Bank::forward(torch::Tensor x, bool train) const {
  const std::int64_t k = x.size(0);
  const auto own = static_cast<std::size_t>(own_layers_);
  for (std::size_t i = 0; i < weight_.size(); ++i) {
    x = torch::baddbmm(bias_[i].narrow(0, 0, k).unsqueeze(1), x, weight_[i].narrow(0, 0, k).transpose(1, 2));
    if (i + 1 == own) {
      if (norm_) x = x / x.norm(/*p=*/2, /*dim=*/2, /*keepdim=*/true).clamp_min(1e-12);
    } else if (i + 1 < weight_.size()) {
      x = i < own ? with_dropout(activate(x, encoder_activation_), encoder_dropout_, train)
                  : with_dropout(torch::selu(x), dropout_, train);
    }
  }
  return x.squeeze(/*dim=*/2);
}

std::vector<torch::Tensor> Bank::parameters() const {
  std::vector<torch::Tensor> all = weight_;
  all.insert(all.end(), bias_.begin(), bias_.end());
  return all;
}

void Bank::step(const std::vector<torch::Tensor>& gradients, const std::vector<std::int64_t>& steps,
                double learning_rate) {
  std::vector<torch::Tensor> all = parameters();
  for (std::size_t i = 0; i < all.size(); ++i) {
    sdk::adam_step(all[i], gradients[i], mean_[i], square_[i], all[i].numel() / size(), steps, learning_rate,
                   sdk::WeightDecay::adamw());
  }
}

Response Bank::response(std::int64_t drug) const {
  Response r;
  r.own_layers = own_layers_;
  for (std::size_t i = 0; i < weight_.size(); ++i) {
    r.weight.push_back(weight_[i].detach()[drug].clone());
    r.bias.push_back(bias_[i].detach()[drug].clone());
  }
  return r;
}

void Bank::keep(const std::vector<std::int64_t>& drugs) {
  const torch::Tensor rows = torch::tensor(drugs, torch::kInt64).to(weight_.front().device());
  const auto pick = [&rows](std::vector<torch::Tensor>& tensors, bool parameters) {
    for (auto& t : tensors) t = t.detach().index_select(0, rows).requires_grad_(parameters);
  };
  pick(weight_, true);
  pick(bias_, true);
  pick(mean_, false);
  pick(square_, false);
}

// ---- training -------------------------------------------------------------------------------------------------------

namespace {

/// One drug on its way through the stages.
struct Student {
  const DrugRows* rows;
  std::uint64_t stream;  ///< of its mini-batches
  StopRule rule;
  Response best;
};

/// Rows of several drugs, padded to the longest: x[i, j] is row index.
struct Padded {
  torch::Tensor rows;    // i64 [k * n]
  torch::Tensor y;       // f32 [k, n]
  torch::Tensor weight;  // f32 [k, n]: 1 / rows of the drug, 0 where padded
  std::int64_t k, n;

  Padded(std::int64_t n_drugs, std::int64_t width, torch::Device device)
      : rows(torch::zeros({n_drugs * width}, torch::kInt64)),
        y(torch::zeros({n_drugs, width})),
        weight(torch::zeros({n_drugs, width})),
        k(n_drugs),
        n(width),
        device_(device) {}
  void set(std::int64_t drug, const std::int64_t* at, const float* values, std::int64_t count) {
    std::copy_n(at, count, rows.data_ptr<std::int64_t>() + drug * n);
    std::copy_n(values, count, y.data_ptr<float>() + drug * n);
    std::fill_n(weight.data_ptr<float>() + drug * n, count, 1.0F / static_cast<float>(count));
  }
  void to_device() {
    rows = rows.to(device_);
    y = y.to(device_);
    weight = weight.to(device_);
  }
  /// f32 [k, n, width]
  [[nodiscard]] torch::Tensor gather(const torch::Tensor& x) const { return x.index_select(0, rows).view({k, n, -1}); }

 private:
  torch::Device device_;
};

std::int64_t steps_of(const Student& student, std::int64_t batch_size) {
  return (static_cast<std::int64_t>(student.rows->train.size()) + batch_size - 1) / batch_size;
}

/// (12): what a drug minimises, per drug the mean over its rows; summed over the drugs, whose parameters are disjoint.
torch::Tensor response_loss(const torch::Tensor& output, const Padded& batch, bool binary) {
  if (!binary) return ((output - batch.y).square() * batch.weight).sum();
  return torch::binary_cross_entropy_with_logits(output, batch.y, batch.weight, /*pos_weight=*/{}, at::Reduction::Sum);
}

/// What validation maximises: AUROC; the negative loss for a regression, and where validation has one class only.
double validation_metric(const float* outputs, const DrugRows& rows, bool binary) {
  const std::vector<float> scores(outputs, outputs + rows.valid.size());
  if (binary) {
    const double area = sdk::auroc(scores, rows.valid_y);
    if (std::isfinite(area)) return area;
  }
  double sum = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto f = static_cast<double>(scores[i]);
    const auto y = static_cast<double>(rows.valid_y[i]);
    sum += binary ? std::max(f, 0.0) - f * y + std::log1p(std::exp(-std::abs(f))) : (f - y) * (f - y);
  }
  return -sum / static_cast<double>(std::max<std::size_t>(1, scores.size()));
}

/// The best weights so far, with further layers of the encoder among its own, as they were pre-trained.
Response with_own_layers(Response r, const Perceptron& encoder, std::int64_t own_layers) {
  const auto& layers = encoder->layers();
  for (; r.own_layers < own_layers; ++r.own_layers) {
    const auto& layer = layers[layers.size() - static_cast<std::size_t>(r.own_layers + 1)];
    r.weight.insert(r.weight.begin(), layer->weight.detach().clone());
    r.bias.insert(r.bias.begin(), layer->bias.detach().clone());
  }
  return r;
}

/// One stage of some drugs, until each has stopped: classifiers and the encoder's last `own_layers` layers.
void train_stage(sdk::Context& context, Perceptron& encoder, const torch::Tensor& x, std::vector<Student*> students,
                 const FinetuneOptions& options, std::int64_t own_layers) {
  // The most rows first: the drugs that still have a batch at step t of an epoch are then the first few.
  std::stable_sort(students.begin(), students.end(),
                   [](const Student* a, const Student* b) { return a->rows->train.size() > b->rows->train.size(); });
  std::vector<Response> starts;
  for (const Student* s : students) starts.push_back(with_own_layers(s->best, encoder, own_layers));
  Bank bank(starts, encoder->activation(), encoder->dropout(), options, x.device());
  starts.clear();
  const double learning_rate = options.learning_rate * std::pow(options.decay, static_cast<double>(own_layers));

  const auto activations = [&](bool train) {
    const torch::NoGradGuard no_grad;
    encoder->train(train);
    return trunk(encoder, x, own_layers, options.norm);
  };
  const torch::Tensor fixed = activations(/*train=*/false);
  const bool masked = encoder->dropout() > 0 && own_layers < static_cast<std::int64_t>(encoder->layers().size());

  for (std::int64_t epoch = 0; !students.empty(); ++epoch) {
    // The reference leaves dropout on in the layers that it does not train. One mask per sample and epoch serves all
    // drugs: each drug sees each of its rows once per epoch, so its own training has the same distribution.
    const torch::Tensor seen = masked ? activations(/*train=*/true) : fixed;
    std::vector<std::vector<std::int64_t>> order;
    for (const Student* s : students) {
      const auto number = static_cast<std::uint64_t>(s->rule.epochs());
      order.push_back(context.random(s->stream + number).permutation(static_cast<std::int64_t>(s->rows->train.size())));
    }
    torch::Tensor epoch_loss = torch::zeros({}, x.options());
    for (std::int64_t t = 0; t < steps_of(*students.front(), options.batch_size); ++t) {
      context.check_cancelled();
      std::int64_t k = 0;
      while (k < static_cast<std::int64_t>(students.size()) &&
             steps_of(*students[static_cast<std::size_t>(k)], options.batch_size) > t) {
        ++k;
      }
      Padded batch(k, options.batch_size, x.device());
      std::vector<std::int64_t> steps;
      for (std::int64_t d = 0; d < k; ++d) {
        const Student& s = *students[static_cast<std::size_t>(d)];
        const auto n = static_cast<std::int64_t>(s.rows->train.size());
        std::vector<std::int64_t> rows;
        std::vector<float> y;
        for (std::int64_t i = t * options.batch_size; i < std::min(n, (t + 1) * options.batch_size); ++i) {
          const auto row = static_cast<std::size_t>(order[static_cast<std::size_t>(d)][static_cast<std::size_t>(i)]);
          rows.push_back(s.rows->train[row]);
          y.push_back(s.rows->train_y[row]);
        }
        batch.set(d, rows.data(), y.data(), static_cast<std::int64_t>(rows.size()));
        steps.push_back(epoch * steps_of(s, options.batch_size) + t + 1);
      }
      batch.to_device();
      const torch::Tensor loss = response_loss(bank.forward(batch.gather(seen), /*train=*/true), batch, options.binary);
      bank.step(torch::autograd::grad({loss}, bank.parameters()), steps, learning_rate);
      epoch_loss += loss.detach();
    }
    if (!std::isfinite(epoch_loss.item<double>())) {
      throw sdk::Error(CDRZOO_E_NUMERIC, "the loss of the response models is not finite");
    }

    const torch::NoGradGuard no_grad;
    std::int64_t longest = 0;
    for (const Student* s : students) longest = std::max(longest, static_cast<std::int64_t>(s->rows->valid.size()));
    Padded valid(static_cast<std::int64_t>(students.size()), longest, x.device());
    for (std::size_t d = 0; d < students.size(); ++d) {
      const DrugRows& rows = *students[d]->rows;
      valid.set(static_cast<std::int64_t>(d), rows.valid.data(), rows.valid_y.data(),
                static_cast<std::int64_t>(rows.valid.size()));
    }
    valid.to_device();
    const torch::Tensor outputs = bank.forward(valid.gather(fixed), /*train=*/false).to(torch::kCPU).contiguous();
    std::vector<std::int64_t> left;
    std::vector<Student*> still;
    for (std::size_t d = 0; d < students.size(); ++d) {
      Student& s = *students[d];
      const auto slab = static_cast<std::int64_t>(d);
      if (s.rule.update(validation_metric(outputs.data_ptr<float>() + slab * longest, *s.rows, options.binary))) {
        s.best = bank.response(slab);
      }
      if (s.rule.stop() || s.rule.epochs() >= options.epochs) continue;
      left.push_back(slab);
      still.push_back(&s);
    }
    if (left.size() < students.size() && !left.empty()) bank.keep(left);
    students = std::move(still);
  }
}

/// A classifier with LibTorch's initial values.
Response fresh_classifier(std::int64_t latent, const FinetuneOptions& options, torch::Device device) {
  Response r;
  Perceptron classifier(latent, options.hidden, 1, options.dropout);
  for (const auto& layer : classifier->layers()) {
    r.weight.push_back(layer->weight.detach().to(device));
    r.bias.push_back(layer->bias.detach().to(device));
  }
  return r;
}

}  // namespace

std::vector<Response> finetune(sdk::Context& context, const Perceptron& pretrained, const torch::Tensor& x,
                               const std::vector<DrugRows>& drugs, const FinetuneOptions& options) {
  Perceptron encoder = pretrained;
  std::vector<Student> students;
  const std::uint64_t stream = cdrzoo_stream_of("finetune", 8);
  for (const DrugRows& rows : drugs) {
    const auto number = static_cast<std::uint64_t>(students.size());
    students.push_back({&rows, stream + (number << 24U), StopRule(options.patience, options.stop_as_reference),
                        fresh_classifier(encoder->layers().back()->weight.size(0), options, x.device())});
  }
  const std::int64_t deepest = std::min(options.unfrozen_layers, static_cast<std::int64_t>(encoder->layers().size()));
  for (std::int64_t own = 0; own <= deepest; ++own) {
    context.step("fine-tuning stage " + std::to_string(own + 1));
    std::vector<Student*> active;
    for (Student& s : students) {
      if (s.rule.epochs() >= options.epochs) continue;
      if (own > 0) s.rule.next_stage();
      active.push_back(&s);
    }
    if (active.empty()) break;
    std::uint64_t bytes = 0;  // of one drug: parameters, gradients, two moments and the best so far
    for (const auto& w : with_own_layers(active.front()->best, encoder, own).weight)
      bytes += 20U * static_cast<std::uint64_t>(w.numel());
    const auto room = static_cast<std::size_t>(std::max<std::uint64_t>(1, options.memory_bytes / bytes));
    for (std::size_t first = 0; first < active.size(); first += room) {
      const auto begin = active.begin() + static_cast<std::ptrdiff_t>(first);
      const auto end = active.begin() + static_cast<std::ptrdiff_t>(std::min(active.size(), first + room));
      train_stage(context, encoder, x, {begin, end}, options, own);
    }
    context.progress("fine-tuning", static_cast<std::uint64_t>(own + 1), static_cast<std::uint64_t>(deepest + 1));
  }
  encoder->eval();
  std::vector<Response> responses;
  for (Student& s : students) {
    s.best.epochs = s.rule.epochs();
    responses.push_back(std::move(s.best));
  }
  return responses;
}

}  // namespace cdrzoo::codeae
