// SPDX-License-Identifier: Apache-2.0
// One operation's host side that remembers everything it was told.
#pragma once

#include <cdrzoo/plugin.h>
#include <cdrzoo/random.h>

#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace cdrzoo::test {

class FakeCall {
 public:
  explicit FakeCall(std::uint64_t seed = 0, int threads = 1) {
    host.size = sizeof host;
    host.log = [](cdrzoo_call* c, std::int32_t, cdrzoo_str text) { self(c).logs.push_back(copy(text)); };
    host.fail = [](cdrzoo_call* c, cdrzoo_status status, cdrzoo_str text, cdrzoo_str step) {
      ++self(c).n_fails;
      self(c).code = status;
      self(c).message = copy(text);
      self(c).where = copy(step);
    };
    host.cancelled = [](cdrzoo_call* c) -> std::int32_t { return self(c).n_checks++ >= self(c).cancel_after ? 1 : 0; };
    host.progress = [](cdrzoo_call* c, cdrzoo_str phase, std::uint64_t done, std::uint64_t total, cdrzoo_span metrics) {
      std::string line = copy(phase) + " " + std::to_string(done) + "/" + std::to_string(total);
      for (std::uint64_t i = 0; i < metrics.count; ++i) {
        const auto* v = CDRZOO_AT(metrics, cdrzoo_value, i);
        line += " " + copy(v->key) + "=" + std::to_string(v->f);
      }
      self(c).progress.push_back(line);
    };
    host.alloc = [](cdrzoo_call* c, std::uint64_t bytes, std::uint64_t align) -> void* {
      if (bytes > self(c).memory_left) return nullptr;
      void* p = std::aligned_alloc(align, (bytes + align - 1) / align * align);
      self(c).memory_.emplace_back(p, &std::free);
      return p;
    };
    host.random_u64 = [](cdrzoo_call* c, std::uint64_t stream, std::uint64_t index) {
      return cdrzoo_random_u64(c->seed, stream, index);
    };
    host.asset = [](cdrzoo_call*, cdrzoo_str, cdrzoo_asset*) -> cdrzoo_status { return CDRZOO_E_ASSET; };
    host.extension = [](cdrzoo_call*, cdrzoo_str) -> const void* { return nullptr; };
    call.size = sizeof call;
    call.host = &host;
    call.host_ctx = this;
    call.seed = seed;
    call.threads = threads;
    call.device_kind = CDRZOO_DEVICE_CPU;
  }
  FakeCall(const FakeCall&) = delete;
  FakeCall& operator=(const FakeCall&) = delete;

  cdrzoo_call* get() { return &call; }

  cdrzoo_host host{};
  cdrzoo_call call{};
  int n_fails = 0;
  cdrzoo_status code = 0;
  std::string message, where;
  std::vector<std::string> logs, progress;
  std::uint64_t cancel_after = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t n_checks = 0;
  std::uint64_t memory_left = std::numeric_limits<std::uint64_t>::max();

 private:
  static FakeCall& self(cdrzoo_call* c) { return *static_cast<FakeCall*>(c->host_ctx); }
  static std::string copy(cdrzoo_str s) { return {s.ptr, static_cast<std::size_t>(s.len)}; }
  std::vector<std::unique_ptr<void, decltype(&std::free)>> memory_;
};

}  // namespace cdrzoo::test
