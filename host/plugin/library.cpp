// SPDX-License-Identifier: Apache-2.0
#define BOOST_DLL_USE_STD_FS
#include "plugin/library.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "base/error.hpp"
#include "plugin/elf.hpp"

namespace cdrzoo {

namespace {

constexpr char kEntryPrefix[] = "cdrzoo_plugin_v";
constexpr std::uint32_t kSparseTargetsMinor = 2;
constexpr std::uint64_t kMaxModels = 1000;
constexpr std::uint64_t kMaxIdBytes = 64;
constexpr std::uint64_t kMaxCardBytes = std::uint64_t{1} << 20U;
constexpr std::uint32_t kMaxStride = 4096;

/// Stands in for the optional operation where a plugin has none, so that callers need no null checks.
cdrzoo_status embed_is_missing(cdrzoo_call* call, const cdrzoo_model* /*model*/, std::int32_t /*axis*/,
                               const cdrzoo_view* /*view*/, cdrzoo_embed_out* /*out*/) {
  static const char text[] = "this model has no embeddings";
  if (CDRZOO_HAS(call, cdrzoo_call, host) && CDRZOO_HAS(call->host, cdrzoo_host, fail)) {
    call->host->fail(call, CDRZOO_E_UNSUPPORTED, {text, sizeof text - 1}, {nullptr, 0});
  }
  return CDRZOO_E_UNSUPPORTED;
}

std::string interval(std::uint32_t low, std::uint32_t high) {
  return low == high ? std::to_string(low) : std::to_string(low) + " to " + std::to_string(high);
}

std::string text_of(cdrzoo_str text, std::uint64_t limit, const std::string& what) {
  if (text.ptr == nullptr || text.len == 0) throw PluginError(what + " is empty");
  if (text.len > limit) {
    throw PluginError(what + " claims " + std::to_string(text.len) + " bytes, expected at most " +
                      std::to_string(limit));
  }
  return {text.ptr, text.len};
}

/// The loader's own words out of Boost's, which wraps them in a general failure; everything if they are not there.
std::string loader_message(const std::string& what) {
  static const std::string begin = "dlerror system message: ";
  const auto from = what.find(begin);
  const auto to = what.rfind(')');
  if (from == std::string::npos || to == std::string::npos || to <= from) return what;
  return what.substr(from + begin.size(), to - from - begin.size());
}

/// Copies what the plugin's table defines over a table of defaults, and insists on the mandatory slots.
LoadedModel check_model(const cdrzoo_model_type& type, std::uint32_t stride, const std::string& where) {
  if (type.size < CDRZOO_FIELD_END(cdrzoo_model_type, ops) || type.size > stride) {
    throw PluginError(where + ": a model type of " + std::to_string(type.size) + " bytes every " +
                      std::to_string(stride) + " bytes, expected at least " +
                      std::to_string(CDRZOO_FIELD_END(cdrzoo_model_type, ops)) + " and not more than the stride");
  }
  LoadedModel model;
  model.id = text_of(type.id, kMaxIdBytes, where + ": the id of a model");
  const std::string who = where + ", model " + model.id;
  const cdrzoo_ops* ops = type.ops;
  if (ops == nullptr) throw PluginError(who + ": it has no table of operations");
  if (ops->size < CDRZOO_FIELD_END(cdrzoo_ops, info)) {
    throw PluginError(who + ": its table of operations has " + std::to_string(ops->size) +
                      " bytes, expected at least " + std::to_string(CDRZOO_FIELD_END(cdrzoo_ops, info)) +
                      " (everything up to info)");
  }
  std::memset(&model.ops, 0, sizeof model.ops);
  std::memcpy(&model.ops, ops, std::min<std::size_t>(ops->size, sizeof model.ops));
  model.ops.size = sizeof model.ops;
  const std::pair<const char*, bool> slots[] = {
      {"create", model.ops.create != nullptr}, {"destroy", model.ops.destroy != nullptr},
      {"fit", model.ops.fit != nullptr},       {"predict", model.ops.predict != nullptr},
      {"save", model.ops.save != nullptr},     {"load", model.ops.load != nullptr},
      {"info", model.ops.info != nullptr},
  };
  for (const auto& [name, present] : slots) {
    if (!present) throw PluginError(who + ": the mandatory operation \"" + name + "\" is missing");
  }
  model.has_embed = model.ops.embed != nullptr;
  if (!model.has_embed) model.ops.embed = embed_is_missing;

  model.card =
      Card::parse(text_of(type.card, kMaxCardBytes, who + ": the card"), "card of " + model.id + " in " + where);
  if (model.card.id != model.id) {
    throw PluginError(who + ": its card says \"" + model.card.id + "\", expected the same id");
  }
  if (!model.card.embeds.empty() && !model.has_embed) {
    throw PluginError(who + ": its card offers embeddings, and the operation \"embed\" is missing");
  }
  return model;
}

cdrzoo_plugin_entry find_entry(const std::filesystem::path& path) {
  const ElfInfo elf = read_elf(path);
  if (!elf.problem.empty()) throw PluginError(path.string() + " " + elf.problem);
  if (elf.has_symbol_table &&
      !std::binary_search(elf.exports.begin(), elf.exports.end(), std::string(CDRZOO_PLUGIN_ENTRY_NAME))) {
    std::string others;
    for (const auto& name : elf.exports) {
      if (name.rfind(kEntryPrefix, 0) == 0) others += (others.empty() ? "" : ", ") + name;
    }
    if (others.empty()) {
      throw PluginError(path.string() + " exports no " CDRZOO_PLUGIN_ENTRY_NAME ": it is no cdrzoo plugin");
    }
    throw PluginError(
        path.string() + " exports " + others + ", this host speaks epoch " + std::to_string(CDRZOO_ABI_EPOCH) +
        " (" CDRZOO_PLUGIN_ENTRY_NAME "): rebuild the plugin with the headers of this cdrzoo, or use another cdrzoo");
  }
  namespace dll = boost::dll;
  // Kept for good and reachable: no static destructor of the host may unload it, and no leak checker miss it.
  static auto* const kept = new std::vector<std::unique_ptr<dll::shared_library>>;
  auto* library = kept->emplace_back(std::make_unique<dll::shared_library>()).get();
  try {
    library->load(path, static_cast<dll::load_mode::type>(static_cast<unsigned>(dll::load_mode::rtld_now) |
                                                          static_cast<unsigned>(dll::load_mode::rtld_local) |
                                                          static_cast<unsigned>(RTLD_NODELETE)));
  } catch (const std::exception& e) {
    throw PluginError(path.string() + " cannot be loaded: " + loader_message(e.what()));
  }
  if (!library->has(CDRZOO_PLUGIN_ENTRY_NAME)) {
    throw PluginError(path.string() + " exports no " CDRZOO_PLUGIN_ENTRY_NAME ": it is no cdrzoo plugin");
  }
  return &library->get<std::remove_pointer_t<cdrzoo_plugin_entry>>(CDRZOO_PLUGIN_ENTRY_NAME);
}

}  // namespace

const LoadedModel& LoadedPlugin::find(const std::string& model_id) const {
  std::string known;
  for (const auto& model : models) {
    if (model.id == model_id) return model;
    known += (known.empty() ? "" : ", ") + model.id;
  }
  throw UsageError(path.string() + " has no model \"" + model_id + "\"; it has: " + known);
}

LoadedPlugin negotiate(cdrzoo_plugin_entry entry, const std::string& where, const std::filesystem::path& plugin_dir,
                       MinorRange minors) {
  static const std::string host_name = "cdrzoo " CDRZOO_VERSION;
  const std::string directory = plugin_dir.string();
  cdrzoo_offer offer{};
  offer.size = sizeof offer;
  offer.host_minor_min = minors.min;
  offer.host_minor_max = minors.max;
  offer.host_name = {host_name.data(), host_name.size()};
  offer.plugin_dir = {directory.data(), directory.size()};

  struct Guarded {
    cdrzoo_answer answer;
    std::uint8_t canary[64];
  } guarded;
  std::memset(&guarded, 0, sizeof guarded);
  std::memset(guarded.canary, 0xA5, sizeof guarded.canary);
  cdrzoo_answer& answer = guarded.answer;
  answer.size = sizeof answer;

  cdrzoo_status status = CDRZOO_OK;
  try {
    status = entry(&offer, &answer);
  } catch (...) {
    throw PluginError(where + ": an exception left its entry function");
  }
  if (std::any_of(std::begin(guarded.canary), std::end(guarded.canary), [](std::uint8_t b) { return b != 0xA5; })) {
    throw PluginError(where + ": its entry function wrote beyond the answer that it was given");
  }
  const std::string mine = "this cdrzoo speaks minor " + interval(minors.min, minors.max) + " of ABI epoch " +
                           std::to_string(CDRZOO_ABI_EPOCH);
  if (status == CDRZOO_E_VERSION) {
    const bool told = answer.size >= CDRZOO_FIELD_END(cdrzoo_answer, needs_minor);
    if (!told) throw PluginError(where + " refuses: no common ABI minor; " + mine);
    throw PluginError(where + " speaks minor " + interval(answer.needs_minor, answer.built_minor) + ", " + mine + ": " +
                      (answer.needs_minor > minors.max ? "update cdrzoo, or use an older build of the plugin"
                                                       : "rebuild the plugin with current headers"));
  }
  if (status != CDRZOO_OK) {
    throw PluginError(where + ": its entry function returned " + status_text(status) + ", expected 0");
  }
  if (answer.size < CDRZOO_FIELD_END(cdrzoo_answer, models) || answer.size > sizeof answer) {
    throw PluginError(where + ": its answer has " + std::to_string(answer.size) + " bytes, expected " +
                      std::to_string(CDRZOO_FIELD_END(cdrzoo_answer, models)) + " to " + std::to_string(sizeof answer));
  }
  if (answer.minor < minors.min || answer.minor > minors.max || answer.minor > answer.built_minor ||
      answer.needs_minor > answer.minor) {
    throw PluginError(where + " answers minor " + std::to_string(answer.minor) + " (built for " +
                      std::to_string(answer.built_minor) + ", needs " + std::to_string(answer.needs_minor) + "), " +
                      mine + ": the answer must lie in both intervals");
  }
  const cdrzoo_span models = answer.models;
  if (models.count == 0 || models.count > kMaxModels || models.data == nullptr) {
    throw PluginError(where + ": it offers " + std::to_string(models.count) + " models, expected 1 to " +
                      std::to_string(kMaxModels));
  }
  if (models.stride < CDRZOO_FIELD_END(cdrzoo_model_type, ops) || models.stride > kMaxStride ||
      models.stride % alignof(cdrzoo_model_type) != 0) {
    throw PluginError(where + ": its models lie " + std::to_string(models.stride) +
                      " bytes apart, expected a multiple of " + std::to_string(alignof(cdrzoo_model_type)) + " from " +
                      std::to_string(CDRZOO_FIELD_END(cdrzoo_model_type, ops)) + " to " + std::to_string(kMaxStride));
  }
  LoadedPlugin plugin;
  plugin.minor = answer.minor;
  plugin.built_minor = answer.built_minor;
  plugin.needs_minor = answer.needs_minor;
  std::set<std::string> ids;
  for (std::uint64_t i = 0; i < models.count; ++i) {
    plugin.models.push_back(check_model(*CDRZOO_AT(models, cdrzoo_model_type, i), models.stride, where));
    if (!ids.insert(plugin.models.back().id).second) {
      throw PluginError(where + ": two of its models are called " + plugin.models.back().id);
    }
    if (plugin.models.back().card.accepts_sparse_targets && plugin.built_minor < kSparseTargetsMinor) {
      throw PluginError(where + ": the card of " + plugin.models.back().id +
                        " says accepts_sparse_targets, which ABI minor " + std::to_string(kSparseTargetsMinor) +
                        " has brought, and the plugin was built for minor " + std::to_string(plugin.built_minor));
    }
  }
  return plugin;
}

const LoadedPlugin& load_plugin(const std::filesystem::path& path) {
  // Leaked on purpose: what was loaded once stays until the process ends.
  static auto* const mutex = new std::mutex;
  static auto* const loaded = new std::map<std::filesystem::path, LoadedPlugin>;
  const std::lock_guard<std::mutex> lock(*mutex);
  std::error_code failed;
  const auto absolute = std::filesystem::canonical(path, failed);
  if (failed) throw PluginError(path.string() + " cannot be loaded: " + failed.message());
  if (std::filesystem::is_directory(absolute))
    throw PluginError(path.string() + " is a folder, expected a plugin file");
  const auto known = loaded->find(absolute);
  if (known != loaded->end()) return known->second;
  LoadedPlugin plugin = negotiate(find_entry(absolute), absolute.string(), absolute.parent_path());
  plugin.path = absolute;
  return loaded->emplace(absolute, std::move(plugin)).first->second;
}

nlohmann::json describe(const LoadedPlugin& plugin) {
  nlohmann::json models = nlohmann::json::array();
  for (const auto& model : plugin.models) models.push_back({{"id", model.id}, {"card", model.card.json}});
  return {{"models", models}, {"minor", plugin.minor}, {"built_minor", plugin.built_minor}};
}

std::string describe_plugin_json(const std::filesystem::path& path) { return describe(load_plugin(path)).dump(); }

void describe_and_exit(const std::filesystem::path& path) {
  std::fflush(nullptr);
  const int result = dup(STDOUT_FILENO);
  dup2(STDERR_FILENO, STDOUT_FILENO);
  int code = 0;
  std::string text;
  try {
    text = describe_plugin_json(path);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    code = 1;
  }
  std::fflush(nullptr);
  text += "\n";
  for (std::size_t done = 0; code == 0 && done < text.size();) {
    const auto n = write(result, text.data() + done, text.size() - done);
    if (n < 0)
      code = 1;
    else
      done += static_cast<std::size_t>(n);
  }
  _exit(code);
}

std::string status_text(cdrzoo_status status) {
  const auto name = [&]() -> const char* {
    switch (status) {
      case CDRZOO_OK: return "OK";
      case CDRZOO_E_UNKNOWN: return "E_UNKNOWN";
      case CDRZOO_E_CANCELLED: return "E_CANCELLED";
      case CDRZOO_E_ARGUMENT: return "E_ARGUMENT";
      case CDRZOO_E_PARAM: return "E_PARAM";
      case CDRZOO_E_UNSUPPORTED: return "E_UNSUPPORTED";
      case CDRZOO_E_VERSION: return "E_VERSION";
      case CDRZOO_E_STATE: return "E_STATE";
      case CDRZOO_E_DATA: return "E_DATA";
      case CDRZOO_E_NUMERIC: return "E_NUMERIC";
      case CDRZOO_E_MEMORY: return "E_MEMORY";
      case CDRZOO_E_DEVICE: return "E_DEVICE";
      case CDRZOO_E_ASSET: return "E_ASSET";
      case CDRZOO_E_IO: return "E_IO";
      case CDRZOO_E_CORRUPT: return "E_CORRUPT";
      case CDRZOO_E_DEADLINE: return "E_DEADLINE";
      case CDRZOO_E_INTERNAL: return "E_INTERNAL";
      default: return status > 0 ? "violation" : "unknown error";
    }
  }();
  return std::string(name) + " (" + std::to_string(status) + ")";
}

}  // namespace cdrzoo
