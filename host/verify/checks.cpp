// SPDX-License-Identifier: Apache-2.0
#include "verify/checks.hpp"

#include <dirent.h>
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <sstream>
#include <thread>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "plugin/elf.hpp"
#include "verify/session.hpp"

namespace cdrzoo::verify {

namespace {

void (*g_step_sink)(const std::string&) = nullptr;

void step(const std::string& what) {
  if (g_step_sink != nullptr) g_step_sink(what);
}

constexpr std::uint64_t kToySeed = 20240501;
constexpr double kSlack_s = 1.0;        ///< of a busy machine, on top of a promised latency
constexpr double kRowTolerance = 1e-4;  ///< in standard deviations: another batch size may round otherwise
constexpr double kRunTolerance = 1e-3;  ///< between two trainings; bitwise equality has a check of its own

Finding pass(const std::string& detail = "") { return {Verdict::pass, detail}; }
Finding fail(const std::string& detail) { return {Verdict::fail, detail}; }
Finding skip(const std::string& detail) { return {Verdict::skip, detail}; }

/// Thrown by the helpers below where an operation that must work does not.
struct CheckFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void expect(const Outcome& outcome, const std::string& what) {
  if (!outcome.ok()) throw CheckFailed(what + " gave " + outcome.text());
}

std::string number(double x) {
  std::ostringstream text;
  text.precision(3);
  text << x;
  return text.str();
}

double standard_deviation(const std::vector<float>& values) {
  double sum = 0;
  double squares = 0;
  for (const float v : values) sum += static_cast<double>(v);
  const double mean = values.empty() ? 0 : sum / static_cast<double>(values.size());
  for (const float v : values) squares += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
  return values.empty() ? 0 : std::sqrt(squares / static_cast<double>(values.size()));
}

/// Largest difference of two lists in units of the first one's standard deviation; infinity where only one is a number.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  std::vector<float> finite;
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isfinite(a[i]) != std::isfinite(b[i])) return std::numeric_limits<double>::infinity();
    if (!std::isfinite(a[i])) continue;
    finite.push_back(a[i]);
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return largest / (standard_deviation(finite) + 1e-3);
}

bool same_bytes(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || compare_bytes(a.data(), b.data(), a.size()) == 0);
}

/// Memory as comfortable as a plugin may expect; checks that are about memory ask for more.
SessionOptions relaxed() {
  SessionOptions options;
  options.memory = Memory::plain;
  options.sealed = false;
  return options;
}

/// The same with a training that learns: where it matters how long it takes or what it learns.
SessionOptions fully_trained() {
  auto options = relaxed();
  options.full_training = true;
  return options;
}

/// Rows of two drugs only for models that can see the second one.
Toy make_toy(const LoadedModel& model, const std::string& task, std::uint64_t seed = kToySeed, bool permuted = false) {
  const auto& columns = model.card.columns;
  return {task, seed, permuted, std::find(columns.begin(), columns.end(), "drug_b") != columns.end()};
}
Toy toy_of(const LoadedModel& model) { return make_toy(model, model.card.tasks.front()); }

/// create and fit with defaults, or CheckFailed.
void train(Session& session) {
  step("create");
  expect(session.create(), "create");
  step("fit");
  expect(session.fit(), "fit");
}

Prediction predict(Session& session, const ViewPlan& query) {
  step("predict");
  auto prediction = session.predict(query);
  expect(prediction, "predict");
  return prediction;
}
Prediction predict(Session& session) { return predict(session, session.query_plan()); }

double run_tolerance(const LoadedModel& model) { return model.card.determinism == "bitwise" ? kRunTolerance : 0.05; }

/// A check that compares two trainings means nothing where the card promises no repeatability.
bool repeatable(const LoadedModel& model) { return model.card.determinism != "none"; }

// --------------------------------------------------------------------------------------------------------- entry

cdrzoo_plugin_entry entry_of(const LoadedPlugin& plugin) {
  void* handle = dlopen(plugin.path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  void* symbol = handle == nullptr ? nullptr : dlsym(handle, CDRZOO_PLUGIN_ENTRY_NAME);
  if (symbol == nullptr) throw CheckFailed("the entry symbol cannot be found again");
  cdrzoo_plugin_entry entry = nullptr;
  std::memcpy(&entry, &symbol, sizeof entry);
  return entry;
}

/// The ends of the declared range and all choices: what the host would let through.
std::vector<nlohmann::json> allowed_extremes(const ParamSpec& spec) {
  std::vector<nlohmann::json> out;
  for (const auto& choice : spec.choices) out.emplace_back(choice);
  if (spec.type == "bool") out = {true, false};
  for (const auto& bound : {spec.min, spec.max}) {
    if (!bound) continue;
    if (spec.type == "int") out.emplace_back(static_cast<std::int64_t>(*bound));
    if (spec.type == "real") out.emplace_back(*bound);
  }
  return out;
}

Finding check_card(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const auto params = model.card.resolve(nullptr);
  if (params.size() != model.card.params.size()) return fail("the defaults do not resolve to every key");
  try {
    (void)model.card.resolve({{"no_such_parameter", 1}});
    return fail("the host took an unknown parameter");
  } catch (const UsageError&) {
  }
  for (const auto& task : model.card.tasks) {
    step("create for " + task);
    const Toy toy = make_toy(model, task);
    Session session(model, toy, relaxed());
    const auto created = session.create();
    if (!created.ok()) return fail("the card offers the task " + task + ", and create gave " + created.text());
    if (session.model() == nullptr) return fail("create gave OK and no model");
  }
  const Toy toy = toy_of(model);
  int tried = 0;
  for (const auto& spec : model.card.params) {
    for (const auto& value : allowed_extremes(spec)) {
      const nlohmann::json chosen = {{spec.key, value}};
      step("create with " + chosen.dump());
      Session session(model, toy, relaxed());
      const auto created = session.create(chosen);
      ++tried;
      if (!created.ok() && created.status != CDRZOO_E_MEMORY) {
        return fail("the card allows " + spec.key + " = " + value.dump() + ", and create gave " + created.text());
      }
    }
  }
  return pass(std::to_string(tried) + " allowed extremes");
}

Finding check_entry(const LoadedPlugin& plugin, const LoadedModel& model) {
  const auto start = std::chrono::steady_clock::now();
  LoadedPlugin again;
  try {
    again = negotiate(entry_of(plugin), "second call", plugin.path.parent_path());
  } catch (const PluginError& e) {
    return fail(e.what());
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (describe(again) != describe(plugin)) return fail("a second call of the entry function answers otherwise");
  if (std::memcmp(&again.find(model.id).ops, &model.ops, sizeof model.ops) != 0) {
    return fail("a second call of the entry function gives other operations");
  }
  if (seconds > 0.5) return fail("the entry function took " + number(seconds) + " s, expected at most 0.05 s");
  return pass();
}

Finding check_versions(const LoadedPlugin& plugin, const LoadedModel& /*model*/) {
  const auto entry = entry_of(plugin);
  const std::string directory = plugin.path.parent_path().string();
  const auto ask = [&](std::uint32_t low, std::uint32_t high, cdrzoo_answer& answer) {
    Arena arena(Memory::guarded);
    HostShape later;
    later.tail.assign(64, 0xA5);
    cdrzoo_offer offer{};
    offer.host_minor_min = low;
    offer.host_minor_max = high;
    offer.plugin_dir = {directory.data(), directory.size()};
    const auto* handed_offer = put(arena, offer, later);
    arena.seal();
    auto* handed_answer = put(arena, cdrzoo_answer{}, HostShape{});
    const auto status = entry(handed_offer, handed_answer);
    answer = *handed_answer;
    return status;
  };
  cdrzoo_answer answer{};
  step("offer of a host that is too new");
  auto status = ask(plugin.built_minor + 5, plugin.built_minor + 9, answer);
  if (status != CDRZOO_E_VERSION) {
    return fail("built for minor " + std::to_string(plugin.built_minor) + ", it answers a host that speaks " +
                std::to_string(plugin.built_minor + 5) + " and later with " + status_text(status) +
                ", expected E_VERSION (-6)");
  }
  if (plugin.needs_minor > 0) {
    step("offer of a host that is too old");
    status = ask(0, plugin.needs_minor - 1, answer);
    if (status != CDRZOO_E_VERSION) {
      return fail("it needs minor " + std::to_string(plugin.needs_minor) + " and answers an older host with " +
                  status_text(status));
    }
  }
  step("offer of a future host");
  status = ask(0, plugin.built_minor + 999, answer);
  if (status != CDRZOO_OK || answer.minor != plugin.built_minor) {
    return fail("a host of minor 0 to " + std::to_string(plugin.built_minor + 999) + " gets " + status_text(status) +
                " and minor " + std::to_string(answer.minor) + ", expected " + std::to_string(plugin.built_minor));
  }
  return pass();
}

Finding check_exports(const LoadedPlugin& plugin, const LoadedModel& /*model*/) {
  const auto elf = read_elf(plugin.path);
  if (!elf.has_symbol_table) return skip("the file has no section headers");
  std::vector<std::string> others;
  for (const auto& name : elf.exports) {
    if (name.rfind("cdrzoo_plugin_v", 0) != 0) others.push_back(name);
  }
  if (others.empty()) return pass();
  return fail("it exports " + std::to_string(others.size()) + " other symbol(s), such as " + others.front() +
              ": build with hidden visibility and a version script (cdrzoo_add_plugin does)");
}

// ----------------------------------------------------------------------------------------------------- life cycle

double resident_mb() {
  std::ifstream file("/proc/self/statm");
  double total = 0;
  double resident = 0;
  file >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

Finding check_lifecycle(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  step("destroy of no model");
  model.ops.destroy(nullptr);
  constexpr int kRounds = 200;
  double before = 0;
  for (int round = 0; round < kRounds; ++round) {
    if (round == kRounds / 4) before = resident_mb();  // the first rounds fill caches and pools
    step("create and destroy, round " + std::to_string(round));
    Session session(model, toy, relaxed());
    expect(session.create(), "create");
  }
  const double grown = resident_mb() - before;
  if (grown > 8) {
    return fail(std::to_string(kRounds * 3 / 4) + " times create and destroy leak " + number(grown) + " MB");
  }
  {
    Session session(model, toy, relaxed());
    train(session);
    step("destroy of a fitted model");
    session.destroy();
  }
  {
    Session session(model, toy, relaxed());
    expect(session.create(), "create");
    session.cancel = true;
    step("cancelled fit");
    (void)session.fit();
    step("destroy after a cancelled fit");
    session.destroy();
  }
  return pass();
}

Finding check_refit(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (!repeatable(model)) return skip("the card promises no repeatability");
  const Toy toy = toy_of(model);
  Session fresh(model, toy, relaxed());
  train(fresh);
  const auto expected = predict(fresh).values();
  Session session(model, toy, relaxed());
  expect(session.create(), "create");
  auto other = session.train_plan();
  other.rows.resize(other.rows.size() / 2);
  for (auto& row : other.rows) {
    for (auto& y : row.target) y = 3.0F - y;
  }
  step("first fit");
  expect(session.fit(other), "the first fit");
  step("second fit");
  expect(session.fit(), "the second fit");
  const double d = distance(expected, predict(session).values());
  if (d > run_tolerance(model)) {
    return fail("a second fit remembers the first: predictions differ by " + number(d) + " standard deviations");
  }
  return pass();
}

/// Values just outside the declared range, which the host would refuse.
std::vector<Param> forbidden_values(const ParamSpec& spec) {
  std::vector<Param> out;
  const auto beyond = [&](double low, double high) {
    std::vector<double> values;
    if (spec.min) values.push_back(low);
    if (spec.max) values.push_back(high);
    return values;
  };
  if (spec.type == "int" || spec.type == "int_list") {
    for (const double x : beyond(spec.min.value_or(0) - 1, spec.max.value_or(0) + 1)) {
      const auto i = static_cast<std::int64_t>(x);
      if (spec.type == "int")
        out.push_back({spec.key, i});
      else
        out.push_back({spec.key, std::vector<std::int64_t>{i}});
    }
    if (spec.type == "int_list") out.push_back({spec.key, std::vector<std::int64_t>{}});
  } else if (spec.type == "real" || spec.type == "real_list") {
    auto values = beyond(spec.min.value_or(0) - 1, spec.max.value_or(0) * 2 + 1);
    values.push_back(std::numeric_limits<double>::quiet_NaN());
    for (const double x : values) {
      if (spec.type == "real")
        out.push_back({spec.key, x});
      else
        out.push_back({spec.key, std::vector<double>{x}});
    }
    if (spec.type == "real_list") out.push_back({spec.key, std::vector<double>{}});
  } else if (spec.type == "enum") {
    out.push_back({spec.key, std::string("no_such_choice")});
    out.push_back({spec.key, std::string()});
  } else if (spec.type == "bool") {
    out.push_back({spec.key, std::int64_t{7}});
  }
  return out;
}

Finding check_params(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  int tried = 0;
  for (std::size_t i = 0; i < model.card.params.size(); ++i) {
    for (const auto& bad : forbidden_values(model.card.params[i])) {
      auto params = model.card.resolve(nullptr);
      params[i] = bad;
      const std::string what = bad.key + " = " + to_json(bad.value).dump();
      step("create with " + what);
      Session session(model, toy, relaxed());
      const auto created = session.create_unchecked(params);
      ++tried;
      if (created.status > 0) return fail("create with " + what + " gave " + created.text());
      if (!created.ok() && session.model() != nullptr) return fail("create with " + what + " failed and gave a model");
    }
  }
  return tried == 0 ? skip("no parameter has a range") : pass(std::to_string(tried) + " values outside the ranges");
}

Finding check_states(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  Session session(model, toy, relaxed());
  expect(session.create(), "create");
  step("predict before fit");
  const auto early = session.predict();
  if (early.status != CDRZOO_E_STATE) {
    return fail("predict before fit gave " + early.text() + ", expected E_STATE (-7)");
  }
  step("save before fit");
  State state;
  const auto saved = session.save(state);
  if (saved.ok()) return fail("save before fit gave OK, expected E_STATE (-7)");
  step("info before fit");
  cdrzoo_model_info info{};
  const auto told = session.info(info);
  if (!told.ok()) return fail("info before fit gave " + told.text() + ", expected OK: it is allowed in any state");
  step("fit after that");
  expect(session.fit(), "fit after that");
  (void)predict(session);
  session.cancel = true;
  step("cancelled second fit");
  const auto cancelled = session.fit();
  session.cancel = false;
  step("predict after a failed fit");
  if (!cancelled.ok() && session.predict().ok())
    return fail("predict after a failed fit gave OK, expected E_STATE (-7)");
  return pass();
}

Finding check_explains(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  int failures = 0;
  std::string silent;
  const auto look = [&](const Outcome& outcome, const std::string& what) {
    if (outcome.ok()) return;
    ++failures;
    if (outcome.message.empty() && silent.empty()) {
      silent = what + " gave " + outcome.text() + " and did not call fail() with a reason";
    }
  };
  {
    Session session(model, toy, relaxed());
    expect(session.create(), "create");
    step("predict before fit");
    look(session.predict(), "predict before fit");
    State state;
    step("save before fit");
    look(session.save(state), "save before fit");
    session.cancel = true;
    step("cancelled fit");
    look(session.fit(), "a cancelled fit");
  }
  if (!silent.empty()) return fail(silent);
  return failures == 0 ? skip("nothing failed") : pass(std::to_string(failures) + " errors came with a reason");
}

// ------------------------------------------------------------------------------------------------------ determinism

Finding check_determinism(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (model.card.determinism == "none") return skip("the card promises none");
  const Toy toy = toy_of(model);
  std::vector<std::vector<float>> runs;
  for (int i = 0; i < 2; ++i) {
    auto options = relaxed();
    options.determinism = 1;
    Session session(model, toy, options);
    train(session);
    runs.push_back(predict(session).values());
  }
  if (model.card.determinism == "bitwise" && !same_bytes(runs[0], runs[1])) {
    return fail("the same seed gave other bytes: predictions differ by up to " + number(distance(runs[0], runs[1])) +
                " standard deviations, and the card says \"bitwise\"");
  }
  const double d = distance(runs[0], runs[1]);
  return d <= 0.05 ? pass() : fail("the same seed gave predictions " + number(d) + " standard deviations apart");
}

Finding check_stochastic(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  std::vector<std::vector<float>> runs;
  for (const std::uint64_t seed : {11ULL, 12ULL}) {
    auto options = relaxed();
    options.seed = seed;
    Session session(model, toy, options);
    train(session);
    runs.push_back(predict(session).values());
  }
  const bool same = distance(runs[0], runs[1]) <= (model.card.stochastic ? 0 : run_tolerance(model));
  if (model.card.stochastic && same) return fail("the card says that the seed matters, and two seeds gave the same");
  if (!model.card.stochastic && !same && repeatable(model)) {
    return fail("the card says that the seed does not matter, and two seeds gave predictions " +
                number(distance(runs[0], runs[1])) + " standard deviations apart");
  }
  return pass();
}

Finding check_rows(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (model.card.transductive) return skip("the card says transductive");
  const Toy toy = toy_of(model);
  Session session(model, toy, relaxed());
  train(session);
  const ViewPlan all = session.query_plan();
  const auto full = predict(session, all);
  const auto compare = [&](const std::vector<int>& rows, const std::string& what) -> std::string {
    ViewPlan plan = all;
    plan.rows.clear();
    std::vector<float> expected;
    for (const int row : rows) {
      plan.rows.push_back(all.rows[static_cast<std::size_t>(row)]);
      for (std::int64_t k = 0; k < full.n_targets; ++k) expected.push_back(full.at(row, k));
    }
    step("predict of " + what);
    const auto found = predict(session, plan).values();
    double largest = 0;
    const double unit = standard_deviation(full.values()) + 1e-3;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double d = std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i])) / unit;
      largest = std::max(largest, std::isfinite(d) ? d : std::numeric_limits<double>::infinity());
    }
    if (largest <= kRowTolerance) return "";
    return "predictions of " + what + " differ by up to " + number(largest) +
           " standard deviations from those of all rows together, and the card does not say transductive";
  };
  const int n = static_cast<int>(all.rows.size());
  std::vector<int> third;
  for (int i = 0; i < n; i += 3) third.push_back(i);
  for (const auto& [rows, what] : {std::pair{random_order(n, 5, 5), std::string("the rows in another order")},
                                   std::pair{third, std::string("every third row")},
                                   std::pair{std::vector<int>{n / 2}, std::string("one row alone")}}) {
    auto problem = compare(rows, what);
    if (!problem.empty()) return fail(problem);
  }
  return pass();
}

/// Trains and predicts twice, with and without a change that must not matter.
Finding compare_runs(const LoadedModel& model, const std::function<void(ViewPlan&)>& change, const std::string& what) {
  const Toy toy = toy_of(model);
  std::vector<std::vector<float>> runs;
  for (const bool changed : {false, true}) {
    step(changed ? "the run with " + what : "the plain run");
    Session session(model, toy, relaxed());
    auto train_plan = session.train_plan();
    auto query = session.query_plan();
    ViewPlan schema;
    if (changed) {
      change(train_plan);
      change(query);
      change(schema);
    }
    expect(session.create(nullptr, schema), "create");
    expect(session.fit(train_plan), "fit");
    runs.push_back(predict(session, query).values());
  }
  const double d = distance(runs[0], runs[1]);
  if (d <= run_tolerance(model)) return pass();
  return fail("with " + what + " predictions differ by up to " + number(d) + " standard deviations");
}

Finding check_keys(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (!repeatable(model)) return skip("the card promises no repeatability");
  return compare_runs(
      model, [](ViewPlan& plan) { plan.key_salt = 77; }, "other entity keys");
}

/// Root mean square difference in units of the first one's standard deviation.
double rms_distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty()) return a.size() == b.size() ? 0 : std::numeric_limits<double>::infinity();
  double squares = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    squares += d * d;
  }
  return std::sqrt(squares / static_cast<double>(a.size())) / (standard_deviation(a) + 1e-3);
}

/// Where training draws per entity (dropout over a table), another order of the table is another draw. It may then do
/// what another seed does, and no more.
Finding check_entity_order(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (!repeatable(model)) return skip("the card promises no repeatability");
  const Toy toy = toy_of(model);
  const auto run = [&](std::uint64_t order, std::uint64_t seed, const std::string& what) {
    step(what);
    auto options = relaxed();
    options.seed = seed;
    Session session(model, toy, options);
    auto train_plan = session.train_plan();
    auto query = session.query_plan();
    train_plan.entity_order = order;
    query.entity_order = order;
    expect(session.create(), "create");
    expect(session.fit(train_plan), "fit");
    return predict(session, query).values();
  };
  const auto plain = run(0, 1, "the plain run");
  const auto other = run(99, 1, "the run with entity tables in another order");
  const double d = distance(plain, other);
  if (d <= run_tolerance(model)) return pass();
  const std::string found =
      "with entity tables in another order predictions differ by up to " + number(d) + " standard deviations";
  if (!model.card.stochastic) return fail(found);
  double by_seed = 0;
  for (const std::uint64_t seed : {2ULL, 3ULL}) {
    by_seed = std::max(by_seed, rms_distance(plain, run(0, seed, "the run with another seed")));
  }
  const double by_order = rms_distance(plain, other);
  const std::string compared = "root mean square " + number(by_order) + ", another seed " + number(by_seed);
  return by_order <= 1.5 * by_seed ? pass(compared) : fail(found + " (" + compared + ")");
}

Finding check_strangers(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (!repeatable(model)) return skip("the card promises no repeatability");
  return compare_runs(
      model, [](ViewPlan& plan) { plan.strangers = true; },
      "blocks, parts, columns, axes and flags of a later release");
}

Finding check_blindness(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (!repeatable(model)) return skip("the card promises no repeatability");
  const Toy toy = toy_of(model);
  std::vector<std::vector<float>> runs;
  for (const bool inverted : {false, true}) {
    std::vector<float> withheld;
    for (const auto& row : toy.query) {
      for (const float y : row.target) withheld.push_back(inverted ? 100.0F - y : y);
    }
    auto options = relaxed();
    options.withheld_labels = withheld.data();
    Session session(model, toy, options);
    train(session);
    runs.push_back(predict(session).values());
  }
  const double d = distance(runs[0], runs[1]);
  if (d <= run_tolerance(model)) return pass();
  return fail("other withheld labels gave predictions up to " + number(d) +
              " standard deviations apart: the plugin looks where it may not");
}

// ------------------------------------------------------------------------------------------------------------ state

Finding check_state(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  Session session(model, toy, relaxed());
  train(session);
  const auto before = predict(session).values();
  State state;
  step("save");
  expect(session.save(state), "save");
  if (!state.violation.empty()) return fail("save: " + state.violation);
  State again;
  step("second save");
  expect(session.save(again), "the second save");
  if (!(again.tensors == state.tensors) || again.texts != state.texts) {
    return fail("a second save of the same model gave another state");
  }
  if (!same_bytes(before, predict(session).values())) return fail("saving changed the predictions");
  Session loaded(model, toy, relaxed());
  step("load");
  expect(loaded.load(state), "load");
  if (loaded.model() == nullptr) return fail("load gave OK and no model");
  const auto after = predict(loaded).values();
  if (!same_bytes(before, after)) {
    return fail("the loaded model predicts otherwise, by up to " + number(distance(before, after)) +
                " standard deviations, expected the same bytes");
  }
  State resaved;
  step("save of the loaded model");
  expect(loaded.save(resaved), "save of the loaded model");
  if (!(resaved.tensors == state.tensors) || resaved.texts != state.texts) {
    return fail("a loaded model saves another state than the one it was loaded from");
  }
  return pass(std::to_string(state.tensors.size()) + " tensors");
}

Finding check_damage(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  State state;
  {
    Session session(model, toy, relaxed());
    train(session);
    expect(session.save(state), "save");
  }
  std::vector<std::pair<std::string, State>> damaged;
  damaged.emplace_back("a state without tensors", State{});
  for (std::size_t i = 0; i < state.tensors.size(); ++i) {
    const auto& name = state.tensors[i].name;
    State missing = state;
    missing.tensors.erase(missing.tensors.begin() + static_cast<std::ptrdiff_t>(i));
    damaged.emplace_back("a state without tensor \"" + name + "\"", missing);
    if (state.tensors[i].shape.empty() || state.tensors[i].shape[0] == 0) continue;
    const auto rows = state.tensors[i].shape[0];
    const auto row_bytes = static_cast<std::ptrdiff_t>(state.tensors[i].bytes.size() / static_cast<std::size_t>(rows));
    State shorter = state;
    shorter.tensors[i].shape[0] = rows - 1;
    shorter.tensors[i].bytes.resize(static_cast<std::size_t>(row_bytes * (rows - 1)));
    damaged.emplace_back("tensor \"" + name + "\" one row short", shorter);
    State empty = state;
    empty.tensors[i].shape[0] = 0;
    empty.tensors[i].bytes.clear();
    damaged.emplace_back("tensor \"" + name + "\" without rows", empty);
    State deeper = state;
    deeper.tensors[i].shape.insert(deeper.tensors[i].shape.begin(), 1);
    if (deeper.tensors[i].shape.size() <= 4) damaged.emplace_back("tensor \"" + name + "\" with another rank", deeper);
    State typed = state;
    typed.tensors[i].dtype = CDRZOO_U8;
    typed.tensors[i].bytes.resize(std::max<std::size_t>(1, state.tensors[i].bytes.size() / 8));
    typed.tensors[i].shape = {static_cast<std::int64_t>(typed.tensors[i].bytes.size())};
    if (state.tensors[i].dtype != CDRZOO_U8) damaged.emplace_back("tensor \"" + name + "\" as bytes", typed);
  }
  int refused = 0;
  for (const auto& [what, broken] : damaged) {
    step("load of " + what);
    auto options = relaxed();
    options.memory = Memory::guarded;  // a read behind a shortened tensor ends at an inaccessible page
    Session session(model, toy, options);
    const auto outcome = session.load(broken);
    if (outcome.status > 0) return fail("load of " + what + " gave " + outcome.text());
    if (outcome.ok()) {
      // Some shortened tensors are states in their own right (a model that knows one drug less). They must work.
      step("predict after load of " + what);
      const auto prediction = session.predict();
      if (!prediction.ok()) continue;
      if (const auto defect = prediction.defect(); !defect.empty()) {
        return fail(std::string("load of ").append(what).append(" gave OK, and then ").append(defect));
      }
    } else {
      ++refused;
      if (session.model() != nullptr) return fail("load of " + what + " failed and gave a model");
    }
  }
  if (refused == 0 && !state.tensors.empty())
    return fail("none of " + std::to_string(damaged.size()) + " damaged states was refused");
  return pass(std::to_string(refused) + " of " + std::to_string(damaged.size()) + " damaged states refused");
}

// ----------------------------------------------------------------------------------------------- memory and outputs

Finding check_outputs(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  for (const auto& task : model.card.tasks) {
    const std::string which = "task " + task;
    step(which);
    const Toy toy = make_toy(model, task);
    auto options = relaxed();
    options.stride_padding = 3;
    Session session(model, toy, options);
    train(session);
    if (const auto defect = predict(session).defect(); !defect.empty()) return fail(which + ": " + defect);
  }
  return pass();
}

Finding full_cycle(const LoadedModel& model, const SessionOptions& options) {
  const Toy toy = toy_of(model);
  Session session(model, toy, options);
  train(session);
  if (const auto defect = predict(session).defect(); !defect.empty()) return fail(defect);
  State state;
  step("save");
  expect(session.save(state), "save");
  cdrzoo_model_info info{};
  step("info");
  expect(session.info(info), "info");
  Session loaded(model, toy, options);
  step("load");
  expect(loaded.load(state), "load");
  (void)predict(loaded);
  return pass();
}

Finding check_guards(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  auto options = relaxed();
  options.memory = Memory::guarded;
  return full_cycle(model, options);
}

Finding check_read_only(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  auto options = relaxed();
  options.memory = Memory::pages;
  options.sealed = true;
  return full_cycle(model, options);
}

Finding check_future(const LoadedPlugin& plugin, const LoadedModel& model) {
  SessionOptions options = relaxed();
  options.shape.minor = plugin.minor;
  options.shape.tail.assign(64, 0xA5);
  options.shape.stride_extra = 24;
  return full_cycle(model, options);
}

Finding check_quiet(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  return full_cycle(model, relaxed());  // the program that started this one looks at stdout and stderr
}

// ------------------------------------------------------------------------------------------------------------- data

Finding check_refusal(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  {
    const Toy toy("a_task_of_a_later_release", kToySeed);
    // task_code falls back to a known code; this one is no code at all.
    Arena arena(Memory::plain);
    auto* problem = const_cast<cdrzoo_problem*>(build_problem(toy, model.card, {}, arena, {}));
    problem->task = 977;
    struct Nobody {
      static void log(cdrzoo_call*, std::int32_t, cdrzoo_str) {}
      static void fail(cdrzoo_call*, cdrzoo_status, cdrzoo_str, cdrzoo_str) {}
      static std::int32_t cancelled(cdrzoo_call*) { return 0; }
      static void progress(cdrzoo_call*, cdrzoo_str, std::uint64_t, std::uint64_t, cdrzoo_span) {}
      static void* alloc(cdrzoo_call*, std::uint64_t, std::uint64_t) { return nullptr; }
      static std::uint64_t random_u64(cdrzoo_call*, std::uint64_t, std::uint64_t) { return 0; }
      static cdrzoo_status asset(cdrzoo_call*, cdrzoo_str, cdrzoo_asset*) { return CDRZOO_E_ASSET; }
      static const void* extension(cdrzoo_call*, cdrzoo_str) { return nullptr; }
    };
    cdrzoo_host host{sizeof(cdrzoo_host), 0,
                     Nobody::log,         Nobody::fail,
                     Nobody::cancelled,   Nobody::progress,
                     Nobody::alloc,       Nobody::random_u64,
                     Nobody::asset,       Nobody::extension};
    cdrzoo_call call{};
    call.size = sizeof call;
    call.host = &host;
    call.threads = 1;
    call.device_kind = CDRZOO_DEVICE_CPU;
    cdrzoo_model* instance = nullptr;
    step("create for an unknown task");
    const auto status =
        model.ops.create(&call, problem, build_params(model.card.resolve(nullptr), arena, {}), &instance);
    model.ops.destroy(instance);
    if (status >= 0)
      return fail("create for a task that does not exist gave " + status_text(status) +
                  ", expected E_UNSUPPORTED (-5)");
  }
  const Toy toy = toy_of(model);
  auto needed = model.card.sample_blocks;
  needed.insert(needed.end(), model.card.drug_blocks.begin(), model.card.drug_blocks.end());
  for (const auto& name : needed) {
    Session session(model, toy, relaxed());
    ViewPlan schema;
    schema.leave_out = {name};
    step("create without the block " + name);
    const auto created = session.create(nullptr, schema);
    if (!created.ok()) continue;
    auto rows = session.train_plan();
    rows.leave_out = {name};
    step("fit without the block " + name);
    const auto fitted = session.fit(rows);
    if (fitted.ok()) return fail("it needs the block \"" + name + "\" and trains without it");
  }
  return pass();
}

Finding check_edges(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}}) {
    Session session(model, toy, relaxed());
    expect(session.create(), "create");
    auto rows = session.train_plan();
    rows.rows.resize(n);
    step("fit with " + std::to_string(n) + " row(s)");
    const auto fitted = session.fit(rows);
    if (fitted.status > 0) return fail("fit with " + std::to_string(n) + " row(s) gave " + fitted.text());
    step("predict after that");
    const auto prediction = session.predict();
    if (fitted.ok() && prediction.ok()) {
      if (const auto defect = prediction.defect(); !defect.empty()) {
        return fail("fitted with " + std::to_string(n) + " row(s): " + defect);
      }
    }
  }
  Session session(model, toy, relaxed());
  train(session);
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}}) {
    auto rows = session.query_plan();
    rows.rows.resize(n);
    step("predict of " + std::to_string(n) + " row(s)");
    const auto prediction = session.predict(rows);
    if (!prediction.ok()) return fail("predict of " + std::to_string(n) + " row(s) gave " + prediction.text());
    if (const auto defect = prediction.defect(); !defect.empty()) return fail(defect);
  }
  auto constant = session.train_plan();
  for (auto& row : constant.rows) std::fill(row.target.begin(), row.target.end(), 1.0F);
  step("fit with one value everywhere");
  const auto fitted = session.fit(constant);
  if (fitted.status > 0) return fail("fit with one value everywhere gave " + fitted.text());
  if (fitted.ok()) {
    if (const auto defect = predict(session).defect(); !defect.empty()) return fail("one value everywhere: " + defect);
  }
  return pass();
}

Finding check_missing(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (!model.card.accepts_missing) return skip("the card leaves missing values to the host");
  const Toy toy = toy_of(model);
  Session session(model, toy, relaxed());
  expect(session.create(), "create");
  auto rows = session.train_plan();
  rows.missing = true;
  step("fit with missing values");
  expect(session.fit(rows), "fit with missing values");
  auto query = session.query_plan();
  query.missing = true;
  const auto defect = predict(session, query).defect();
  return defect.empty() ? pass() : fail("with missing values: " + defect);
}

Finding check_sparse_targets(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (!model.card.accepts_sparse_targets) return skip("the card does not say accepts_sparse_targets");
  const Toy toy = toy_of(model);
  const auto trained_on = [&](bool sparse) {
    // Where nothing is written and nothing lies beyond what was handed over, so that the withheld dense target shows.
    Session session(model, toy);
    step("create");
    expect(session.create(), "create");
    auto plan = session.train_plan();
    plan.sparse_targets = sparse;
    for (auto& row : plan.rows) {
      for (std::size_t j = 0; j < row.target.size(); ++j)
        if ((j + static_cast<std::size_t>(row.drug)) % 3 == 0) row.target[j] = 0;
    }
    plan.rows[0].target.assign(plan.rows[0].target.size(), 0.0F);  // a row without any value
    step(sparse ? "fit on sparse targets" : "fit on the same targets, dense");
    expect(session.fit(plan), sparse ? "fit on sparse targets" : "fit on dense targets");
    return predict(session).values();
  };
  const auto dense = trained_on(false);
  const auto sparse = trained_on(true);
  if (model.card.determinism == "bitwise" && !same_bytes(dense, sparse)) {
    return fail("the same targets, dense and sparse, give predictions " + number(distance(dense, sparse)) +
                " standard deviations apart, though the card says that training is repeatable to the bit");
  }
  if (repeatable(model) && distance(dense, sparse) > run_tolerance(model)) {
    return fail("the same targets, dense and sparse, give predictions " + number(distance(dense, sparse)) +
                " standard deviations apart");
  }
  return pass();
}

Finding check_probabilities(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (!model.card.probabilities || !model.card.supports("binary")) return skip("the card promises none");
  const Toy toy("binary", kToySeed);
  Session session(model, toy, relaxed());
  train(session);
  for (const float p : predict(session).values()) {
    if (!(p >= 0.0F && p <= 1.0F)) {
      return fail("a binary prediction is " + number(static_cast<double>(p)) + ", and the card promises probabilities");
    }
  }
  return pass();
}

Finding check_embed(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  Session session(model, toy, relaxed());
  train(session);
  cdrzoo_model_info info{};
  expect(session.info(info), "info");
  const auto claims = [&](const char* axis) {
    const auto& list = model.card.embeds;
    return std::find(list.begin(), list.end(), axis) != list.end();
  };
  for (const auto& [name, axis, dim] : {std::tuple{"sample", CDRZOO_AXIS_SAMPLE, info.embed_dim_sample},
                                        std::tuple{"drug", CDRZOO_AXIS_DRUG, info.embed_dim_drug}}) {
    std::vector<float> values;
    std::int64_t count = 0;
    step(std::string("embed of axis ") + name);
    if (!claims(name)) {
      if (session.embed(axis, 1, values, count).ok()) {
        return fail(std::string("embed of axis ") + name + " gave OK, and the card does not offer it");
      }
      continue;
    }
    if (dim <= 0)
      return fail(std::string("the card offers embeddings of axis ") + name + ", and info says dimension 0");
    expect(session.embed(axis, dim, values, count), std::string("embed of axis ") + name);
    for (const float v : values) {
      if (!std::isfinite(v)) return fail(std::string("an embedding of axis ") + name + " is not finite or not written");
    }
  }
  return model.card.embeds.empty() ? skip("the card offers none") : pass();
}

// ---------------------------------------------------------------------------------------------------------- control

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Finding check_cancel(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  const double limit = model.card.cancel_latency_s + kSlack_s;
  const auto judge = [&](const Outcome& outcome, double seconds, const std::string& what) -> std::string {
    if (!outcome.ok() && outcome.status != CDRZOO_E_CANCELLED) {
      return what + " gave " + outcome.text() + ", expected E_CANCELLED (-2)";
    }
    if (seconds > limit) {
      return what + " returned after " + number(seconds) + " s, and the card promises " +
             number(model.card.cancel_latency_s) + " s";
    }
    return "";
  };
  Session session(model, toy, fully_trained());
  expect(session.create(), "create");
  session.cancel = true;
  step("fit, cancelled before it began");
  auto outcome = session.fit();
  auto problem = judge(outcome, outcome.seconds, "a fit that was cancelled before it began");
  if (!problem.empty()) return fail(problem);

  for (const bool by_poll : {true, false}) {
    session.cancel = false;
    std::atomic<bool> done{false};
    Clock::time_point asked = Clock::now();
    std::thread canceller([&] {
      // Either as soon as the plugin has asked twice, or after a moment, for those that never ask.
      const auto start = Clock::now();
      while (!done && seconds_since(start) < 0.05 && !(by_poll && session.polls >= 2)) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
      asked = Clock::now();
      session.cancel = true;
    });
    step("fit, cancelled while it ran");
    outcome = session.fit();
    const auto returned = Clock::now();
    done = true;
    canceller.join();
    problem = judge(outcome, std::chrono::duration<double>(returned - asked).count(), "a fit that was cancelled");
    if (!problem.empty()) return fail(problem);
  }
  session.cancel = false;
  step("fit after a cancelled one");
  expect(session.fit(), "fit after a cancelled one");
  session.cancel = true;
  step("cancelled predict");
  const auto late = session.predict();
  problem = judge(late, late.seconds, "a predict that was cancelled");
  return problem.empty() ? pass() : fail(problem);
}

Finding check_deadline(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  const double limit = model.card.cancel_latency_s + kSlack_s;
  for (const double deadline_s : {-1.0, 0.02}) {
    auto options = fully_trained();
    Session session(model, toy, options);
    expect(session.create(), "create");
    session.options().deadline_s = deadline_s;
    step("fit with a deadline");
    const auto outcome = session.fit();
    if (!outcome.ok() && outcome.status != CDRZOO_E_DEADLINE && outcome.status != CDRZOO_E_CANCELLED) {
      return fail("fit beyond its deadline gave " + outcome.text() + ", expected E_DEADLINE (-15) or E_CANCELLED (-2)");
    }
    const double late = outcome.seconds - std::max(0.0, deadline_s);
    if (late > limit) {
      return fail("fit returned " + number(late) + " s after its deadline, expected within " +
                  number(model.card.cancel_latency_s) + " s");
    }
  }
  return pass();
}

/// Threads of this process that run or wait for a processor, the calling one left out.
int running_threads() {
  const auto self = static_cast<long>(syscall(SYS_gettid));
  int running = 0;
  DIR* folder = opendir("/proc/self/task");
  if (folder == nullptr) return 0;
  while (const dirent* entry = readdir(folder)) {
    const long tid = std::strtol(entry->d_name, nullptr, 10);
    if (tid == 0 || tid == self) continue;
    std::ifstream file(std::string("/proc/self/task/") + entry->d_name + "/stat");
    std::string text;
    std::getline(file, text);
    const auto end = text.rfind(')');
    if (end != std::string::npos && end + 2 < text.size() && text[end + 2] == 'R') ++running;
  }
  closedir(folder);
  return running;
}

Finding check_threads(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  Session session(model, toy, relaxed());
  expect(session.create(), "create");
  std::atomic<bool> busy{true};
  int samples = 0;
  int above = 0;
  int most = 0;
  std::thread sampler([&] {
    while (busy) {
      const int n = running_threads();
      ++samples;
      above += n > 1 ? 1 : 0;
      most = std::max(most, n);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  const auto start = Clock::now();
  const auto cpu = [] {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  const double cpu_before = cpu();
  Outcome fitted;
  Prediction prediction;
  for (int round = 0; round < 1000 && fitted.ok() && prediction.ok() && seconds_since(start) < 0.4; ++round) {
    step("fit with one thread");
    fitted = session.fit();
    if (fitted.ok()) prediction = session.predict();
  }
  const double wall = seconds_since(start);
  const double used = cpu() - cpu_before;
  busy = false;
  sampler.join();
  expect(fitted, "fit");
  expect(prediction, "predict");
  // A hand-over between two threads may show both for a moment; work beyond the budget shows all the time.
  if (samples >= 5 && above * 4 > samples) {
    return fail("with a budget of 1 thread up to " + std::to_string(most) + " ran at once (in " +
                std::to_string(above) + " of " + std::to_string(samples) + " samples; " + number(used) +
                " s of CPU in " + number(wall) + " s)");
  }
  step("quiet after the operations");
  int still = 0;
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    still += running_threads() > 0 ? 1 : 0;
  }
  if (still > 10) return fail("threads went on working after the operations had returned");
  return pass(number(used / wall) + " CPUs on average");
}

Finding check_any_thread(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (!repeatable(model)) return skip("the card promises no repeatability");
  const Toy toy = toy_of(model);
  std::vector<float> expected;
  {
    Session session(model, toy, relaxed());
    train(session);
    expected = predict(session).values();
  }
  Session session(model, toy, relaxed());
  std::string problem;
  std::vector<float> found;
  const auto on_new_thread = [&](const std::function<void()>& work) {
    std::thread thread([&] {
      try {
        work();
      } catch (const std::exception& e) {
        problem = e.what();
      }
    });
    thread.join();
  };
  on_new_thread([&] { expect(session.create(), "create"); });
  if (problem.empty()) on_new_thread([&] { expect(session.fit(), "fit on another thread than create"); });
  if (problem.empty()) on_new_thread([&] { found = predict(session).values(); });
  on_new_thread([&] { session.destroy(); });
  if (!problem.empty()) return fail(problem);
  const double d = distance(expected, found);
  if (d <= run_tolerance(model)) return pass();
  return fail("operations on different threads gave predictions " + number(d) + " standard deviations apart");
}

Finding check_instances(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  if (!repeatable(model)) return skip("the card promises no repeatability");
  const Toy toy = toy_of(model);
  const Toy other = make_toy(model, model.card.tasks.front(), kToySeed + 1);
  std::vector<float> expected;
  Session alone(model, toy, relaxed());
  train(alone);
  expected = predict(alone).values();
  step("two models side by side");
  Session second(model, other, relaxed());
  train(second);
  const double d = distance(expected, predict(alone).values());
  if (d > run_tolerance(model)) {
    return fail("training another model changed the predictions of the first by " + number(d) + " standard deviations");
  }
  return pass();
}

Finding check_progress(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const Toy toy = toy_of(model);
  Session session(model, toy, relaxed());
  train(session);
  std::map<std::string, std::uint64_t> last;
  for (const auto& event : session.progress) {
    const auto [it, is_new] = last.emplace(event.phase, event.done);
    if (!is_new && event.done < it->second) {
      return fail("progress of phase \"" + event.phase + "\" went from " + std::to_string(it->second) + " back to " +
                  std::to_string(event.done));
    }
    it->second = event.done;
    if (event.total != 0 && event.done > event.total) {
      return fail("progress of phase \"" + event.phase + "\" reports " + std::to_string(event.done) + " of " +
                  std::to_string(event.total));
    }
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  if (session.late_calls > 0) return fail("host services were called after the operation had returned");
  return pass(std::to_string(session.progress.size()) + " reports");
}

// --------------------------------------------------------------------------------------------------------- learning

/// Root mean square error of the predictions over that of the training means (one per target); for binary, the AUROC.
double score(const LoadedModel& model, const std::string& task, bool permuted) {
  const Toy toy = make_toy(model, task, kToySeed, permuted);
  Session session(model, toy, fully_trained());
  train(session);
  const auto prediction = predict(session);
  if (task == "binary") {
    double wins = 0;
    double pairs = 0;
    for (std::size_t i = 0; i < toy.query.size(); ++i) {
      for (std::size_t j = 0; j < toy.query.size(); ++j) {
        if (toy.label(toy.query[i]) <= toy.label(toy.query[j])) continue;
        const float a = prediction.at(static_cast<std::int64_t>(i));
        const float b = prediction.at(static_cast<std::int64_t>(j));
        wins += a > b ? 1.0 : a == b ? 0.5 : 0.0;
        pairs += 1;
      }
    }
    return wins / pairs;
  }
  double model_error = 0;
  double mean_error = 0;
  for (int k = 0; k < toy.n_targets; ++k) {
    double mean = 0;
    for (const auto& row : toy.train) mean += static_cast<double>(row.target[static_cast<std::size_t>(k)]);
    mean /= static_cast<double>(toy.train.size());
    for (std::size_t i = 0; i < toy.query.size(); ++i) {
      if (prediction.row_status[i] != CDRZOO_ROW_OK) continue;  // a query without a reference
      const auto truth = static_cast<double>(toy.query[i].target[static_cast<std::size_t>(k)]);
      const double e = static_cast<double>(prediction.at(static_cast<std::int64_t>(i), k)) - truth;
      model_error += e * e;
      mean_error += (mean - truth) * (mean - truth);
    }
  }
  return std::sqrt(model_error / mean_error);
}

Finding check_learns(const LoadedPlugin& /*plugin*/, const LoadedModel& model) {
  const auto rich = [](const std::vector<std::string>& blocks) {
    return std::any_of(blocks.begin(), blocks.end(), [](const auto& b) { return b != "tissue" && b != "domain"; });
  };
  const bool could = rich(model.card.sample_blocks) || rich(model.card.drug_blocks);
  std::string detail;
  std::string problem;
  for (const auto& task : model.card.tasks) {
    const bool binary = task == "binary";
    step("task " + task + ", planted signal");
    const double planted = score(model, task, false);
    detail += (detail.empty() ? "" : "; ") + task + ": " + (binary ? "AUROC " : "RMSE over mean predictor ") +
              number(planted);
    if (!(binary ? planted > 0.65 : planted < 0.9)) problem = "a planted signal was not found: ";
    if (task == "expression") continue;  // the control profile predicts without any learning
    step("task " + task + ", permuted labels");
    const double permuted = score(model, task, true);
    detail += ", permuted " + number(permuted);
    if (binary ? permuted > 0.8 : permuted < 0.9) problem = "it predicts although the labels were permuted: ";
  }
  if (!could) return {Verdict::info, detail};
  return problem.empty() ? pass(detail) : fail(problem + detail);
}

}  // namespace

const std::vector<Check>& all_checks() {
  static const std::vector<Check> checks = {
      {"card", "the card is kept: every task that it offers can be created, unknown parameters are refused",
       check_card},
      {"entry", "the entry function is quick and gives the same answer twice", check_entry},
      {"versions", "another host version is refused or understood, never misread", check_versions},
      {"exports", "nothing but the entry function is exported", check_exports},
      {"lifecycle", "create and destroy work in any state and leak nothing", check_lifecycle},
      {"refit", "a second fit forgets the first", check_refit},
      {"params", "parameters outside their range are survived", check_params},
      {"states", "operations in the wrong state give E_STATE", check_states},
      {"explains", "every error comes with a reason", check_explains},
      {"determinism", "the same seed gives the same predictions, as the card promises", check_determinism},
      {"stochastic", "the seed matters if and only if the card says so", check_stochastic},
      {"rows", "a prediction depends on its own row only, unless declared transductive", check_rows},
      {"blindness", "withheld labels have no influence", check_blindness},
      {"keys", "entity keys are opaque", check_keys},
      {"entity_order", "the order of the entity tables does not matter", check_entity_order},
      {"state", "saving and loading is exact and repeatable", check_state},
      {"damage", "damaged states are refused without a crash", check_damage},
      {"outputs", "every output is written, finite and in its place, for every task", check_outputs},
      {"guards", "no access beyond what was handed over", check_guards},
      {"read_only", "inputs are not written to", check_read_only},
      {"future", "structs of a later host, larger and further apart, are read rightly", check_future},
      {"strangers", "unknown blocks, parts, columns, axes and flags are stepped over", check_strangers},
      {"refusal", "an unknown task and a missing block are refused", check_refusal},
      {"edges", "no rows, one row and constant targets are survived", check_edges},
      {"missing", "missing values are handled, if the card says so", check_missing},
      {"sparse_targets", "sparse targets give the same model as dense ones, if the card says so", check_sparse_targets},
      {"probabilities", "binary predictions are probabilities, if the card says so", check_probabilities},
      {"embed", "embeddings are finite, if the card offers them", check_embed},
      {"cancel", "a cancelled operation ends within the promised time", check_cancel},
      {"deadline", "a deadline is kept within the promised time", check_deadline},
      {"threads", "the thread budget is kept, and all is quiet afterwards", check_threads},
      {"any_thread", "operations may come on any thread", check_any_thread},
      {"instances", "two models in one process are independent", check_instances},
      {"quiet", "nothing is written to stdout or stderr", check_quiet},
      {"progress", "progress grows, and no service is called after the operation", check_progress},
      {"learns", "a planted signal is found, and none where labels are permuted", check_learns},
  };
  return checks;
}

const Check& find_check(const std::string& id) {
  std::string known;
  for (const auto& check : all_checks()) {
    if (id == check.id) return check;
    known += (known.empty() ? "" : ", ") + std::string(check.id);
  }
  throw UsageError("unknown check \"" + id + "\"; known: " + known);
}

const char* to_text(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass: return "pass";
    case Verdict::fail: return "fail";
    case Verdict::skip: return "skip";
    case Verdict::info: return "info";
  }
  return "fail";
}

void set_step_sink(void (*sink)(const std::string& step)) { g_step_sink = sink; }

}  // namespace cdrzoo::verify
