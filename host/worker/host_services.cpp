// SPDX-License-Identifier: Apache-2.0
#include "worker/host_services.hpp"

#include <cdrzoo/random.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>

#include "worker/task.hpp"

namespace cdrzoo::worker {
namespace {

constexpr std::size_t kMaxText = 8192;  // of one message; a plugin in a loop must not fill the disk with one line

std::string clipped(cdrzoo_str text) {
  auto result = to_string(text);
  if (result.size() > kMaxText) result = result.substr(0, kMaxText) + " ...";
  return result;
}

const char* level_name(std::int32_t level) {
  switch (level) {
    case CDRZOO_LOG_DEBUG: return "debug";
    case CDRZOO_LOG_WARN: return "warn";
    case CDRZOO_LOG_ERROR: return "error";
    default: return "info";
  }
}

void write_all(int fd, const std::string& line) {
  const char* at = line.data();
  std::size_t left = line.size();
  while (left > 0) {
    const auto n = ::write(fd, at, left);
    if (n < 0 && errno == EINTR) continue;
    // The runner is gone: nobody will read the result either.
    if (n < 0 && errno == EPIPE) ::_exit(1);
    if (n <= 0) return;
    at += n;
    left -= static_cast<std::size_t>(n);
  }
}

}  // namespace

std::uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000ULL + static_cast<std::uint64_t>(now.tv_nsec);
}

void EventSink::write(const nlohmann::json& event) {
  if (fd_ < 0) return;
  // A plugin's text may be no UTF-8.
  write_all(fd_, event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void EventSink::stage(const std::string& stage) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stage_ = stage;
  phase_.clear();
  write({{"stage", stage}});
}

void EventSink::progress(const std::string& phase, std::uint64_t done, std::uint64_t total,
                         const nlohmann::json& metrics) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  const bool due =
      phase != phase_ || (total > 0 && done >= total) || now - last_progress_ >= std::chrono::milliseconds(100);
  if (!due) return;
  phase_ = phase;
  last_progress_ = now;
  write({{"stage", stage_}, {"phase", phase}, {"done", done}, {"total", total}, {"metrics", metrics}});
}

void EventSink::log(const char* level, const std::string& message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  write_all(STDERR_FILENO, std::string("[") + level + "] " + message + "\n");
}

// The functions of cdrzoo_host. None of them may throw: plugins of any language call them.
struct Operation::Services {
  static Operation& of(cdrzoo_call* call) { return *static_cast<Operation*>(call->host_ctx); }

  static void log(cdrzoo_call* call, std::int32_t level, cdrzoo_str message) noexcept {
    try {
      of(call).events_.log(level_name(level), clipped(message));
    } catch (...) {  // out of memory: a log line is not worth a model
    }
  }

  static void fail(cdrzoo_call* call, cdrzoo_status code, cdrzoo_str message, cdrzoo_str where) noexcept {
    try {
      auto& self = of(call);
      const std::lock_guard<std::mutex> lock(self.mutex_);
      if (self.failure_.code == CDRZOO_OK && self.failure_.message.empty()) {
        self.failure_ = {code, clipped(message), clipped(where)};
      } else if (self.failure_.message.size() < kMaxText) {
        self.failure_.message += "; " + clipped(message);
      }
    } catch (...) {
    }
  }

  static std::int32_t cancelled(cdrzoo_call* call) noexcept {
    const auto& settings = of(call).settings_;
    if (settings.cancel != nullptr && settings.cancel->load(std::memory_order_relaxed)) return 1;
    return settings.deadline_ns != 0 && monotonic_ns() >= settings.deadline_ns ? 1 : 0;
  }

  static void progress(cdrzoo_call* call, cdrzoo_str phase, std::uint64_t done, std::uint64_t total,
                       cdrzoo_span metrics) noexcept {
    try {
      nlohmann::json values = nlohmann::json::object();
      for (std::uint64_t i = 0; i < std::min<std::uint64_t>(metrics.count, 64); ++i) {
        const auto* value = CDRZOO_AT(metrics, cdrzoo_value, i);
        if (value->type == CDRZOO_VALUE_REAL) values[clipped(value->key)] = value->f;
        if (value->type == CDRZOO_VALUE_INT) values[clipped(value->key)] = value->i;
      }
      of(call).events_.progress(clipped(phase), done, total, values);
    } catch (...) {
    }
  }

  static void* alloc(cdrzoo_call* call, std::uint64_t bytes, std::uint64_t align) noexcept {
    if (align == 0 || (align & (align - 1)) != 0 || align > (1ULL << 30U) || bytes > (1ULL << 46U)) return nullptr;
    const auto alignment = std::max<std::size_t>(align, sizeof(void*));
    const auto size = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
    void* memory = std::aligned_alloc(alignment, size);
    if (memory == nullptr) return nullptr;
    try {
      auto& self = of(call);
      const std::lock_guard<std::mutex> lock(self.mutex_);
      self.arena_.push_back(memory);
    } catch (...) {
      std::free(memory);
      return nullptr;
    }
    return memory;
  }

  static std::uint64_t random(cdrzoo_call* call, std::uint64_t stream, std::uint64_t index) noexcept {
    return cdrzoo_random_u64(call->seed, stream, index);
  }

  static cdrzoo_status asset(cdrzoo_call* call, cdrzoo_str id, cdrzoo_asset* out) noexcept {
    try {
      auto& self = of(call);
      const std::lock_guard<std::mutex> lock(self.mutex_);
      const auto name = to_string(id);
      const auto known = self.settings_.assets.find(name);
      if (known == self.settings_.assets.end()) return CDRZOO_E_ASSET;
      auto held = self.assets_.find(name);
      if (held == self.assets_.end()) held = self.assets_.emplace(name, open_asset(known->second)).first;
      const auto& asset = held->second;
      cdrzoo_asset filled{};
      filled.size = std::min<std::uint32_t>(out->size, sizeof(cdrzoo_asset));
      filled.bytes.dtype = CDRZOO_U8;
      filled.bytes.rank = 1;
      filled.bytes.data = asset.bytes == 0 ? nullptr : asset.mapping.get();
      filled.bytes.bytes = asset.bytes;
      filled.bytes.shape[0] = static_cast<std::int64_t>(asset.bytes);
      filled.bytes.stride[0] = 1;
      filled.path = abi_str(asset.path);
      filled.tensors = asset.tensors == nullptr ? nullptr : asset.tensors->abi();
      std::memcpy(out, &filled, filled.size);
      return CDRZOO_OK;
    } catch (const std::bad_alloc&) {
      return CDRZOO_E_MEMORY;
    } catch (const std::exception& e) {
      const std::string text = e.what();
      fail(call, CDRZOO_E_ASSET, abi_str(text), abi_str(""));
      return CDRZOO_E_ASSET;
    } catch (...) {
      return CDRZOO_E_INTERNAL;
    }
  }

  static const void* extension(cdrzoo_call*, cdrzoo_str) noexcept { return nullptr; }

  static Asset open_asset(const std::filesystem::path& path) {
    Asset asset;
    asset.path = path.string();
    const safetensors::detail::FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status {};
    if (fd.get() < 0 || ::fstat(fd.get(), &status) != 0)
      throw safetensors::Error("cannot open asset " + asset.path + ": " + std::strerror(errno));
    asset.bytes = static_cast<std::uint64_t>(status.st_size);
    if (asset.bytes > 0) {
      const auto size = static_cast<std::size_t>(asset.bytes);
      void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
      if (address == MAP_FAILED)
        throw safetensors::Error("cannot map asset " + asset.path + ": " + std::strerror(errno));
      asset.mapping =
          std::shared_ptr<const void>(address, [size](const void* p) { ::munmap(const_cast<void*>(p), size); });
    }
    if (path.extension() == ".safetensors")
      asset.tensors =
          std::make_unique<ArchiveReader>(safetensors::Archive::parse(asset.mapping.get(), asset.bytes, asset.path));
    return asset;
  }

  static cdrzoo_str abi_str(const char* text) { return {text, std::strlen(text)}; }
  static cdrzoo_str abi_str(const std::string& text) { return worker::abi_str(text); }
};

Operation::Operation(const CallSettings& settings, EventSink& events, const std::string& name)
    : settings_(settings), events_(events), scratch_((settings.scratch / name).string()) {
  std::error_code ignored;  // a plugin that writes there will say what is wrong
  std::filesystem::create_directories(scratch_, ignored);
  host_.size = sizeof(cdrzoo_host);
  host_.minor = settings.minor;
  host_.log = &Services::log;
  host_.fail = &Services::fail;
  host_.cancelled = &Services::cancelled;
  host_.progress = &Services::progress;
  host_.alloc = &Services::alloc;
  host_.random_u64 = &Services::random;
  host_.asset = &Services::asset;
  host_.extension = &Services::extension;
  call_.size = sizeof(cdrzoo_call);
  call_.host = &host_;
  call_.host_ctx = this;
  call_.seed = settings.seed;
  call_.deadline_ns = settings.deadline_ns;
  call_.memory_bytes = settings.memory_bytes;
  call_.threads = settings.threads;
  call_.device_kind = settings.device_kind;
  call_.device_index = settings.device_index;
  call_.determinism = settings.determinism ? 1 : 0;
  call_.scratch_dir = worker::abi_str(scratch_);
}

Operation::~Operation() {
  for (void* memory : arena_) std::free(memory);
  std::error_code ignored;
  std::filesystem::remove_all(scratch_, ignored);
}

Failure Operation::failure() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return failure_;
}

}  // namespace cdrzoo::worker
