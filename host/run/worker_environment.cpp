// SPDX-License-Identifier: Apache-2.0
#include "run/worker_environment.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string_view>

namespace cdrzoo {

namespace fs = std::filesystem;

namespace {

constexpr std::array<const char*, 3> kThreadVariables = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"};

/// Recorded and passed through where the user sets them, not set here.
constexpr std::array<const char*, 12> kTuningVariables = {
    "OMP_PROC_BIND",       "OMP_PLACES",      "OMP_DYNAMIC", "OMP_SCHEDULE", "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",        "KMP_BLOCKTIME",   "MKL_DYNAMIC", "MKL_CBWR",     "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA"};

constexpr std::array<const char*, 6> kPassed = {"PATH",          "TZ",          "ASAN_OPTIONS", "LSAN_OPTIONS",
                                                "UBSAN_OPTIONS", "TSAN_OPTIONS"};
constexpr std::array<const char*, 4> kPassedPrefixes = {"CUDA_", "NVIDIA_", "HIP_", "ROCR_"};

constexpr const char* kLibraries = "LD_LIBRARY_PATH";

bool starts_with(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

/// OMP_NUM_THREADS may be a list ("4,2"): the first number counts.
int leading_number(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = end == text.data() + text.size() || *end == ',';
  return error == std::errc() && whole ? value : 0;
}

}  // namespace

CpuFeatures detect_cpu() {
  CpuFeatures cpu;
#if defined(__x86_64__) && defined(__GNUC__)
  // These ask the operating system too: a CPU flag whose registers are not saved at a context switch is not usable.
  __builtin_cpu_init();
  cpu.avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  cpu.avx512 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
               __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
               __builtin_cpu_supports("avx512cd") != 0;
#endif
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const auto colon = line.find(": ");
    if (starts_with(line, "model name") && colon != std::string::npos) {
      cpu.model = line.substr(colon + 2);
      break;
    }
  }
  return cpu;
}

fs::path find_openmp_blas(const fs::path& libraries) {
  struct utsname system = {};
  if (::uname(&system) != 0) return {};
  const fs::path folder = libraries / (std::string(system.machine) + "-linux-gnu") / "openblas-openmp";
  std::error_code none;
  return fs::is_regular_file(folder / "libblas.so.3", none) ? folder : fs::path();
}

Machine detect_machine() { return {detect_cpu(), find_openmp_blas("/usr/lib")}; }

std::string openblas_core_type(const CpuFeatures& cpu) {
  if (cpu.avx512) return "SkylakeX";
  if (cpu.avx2) return "Haswell";
  return "";
}

std::vector<std::string> WorkerEnvironment::strings() const {
  std::vector<std::string> out;
  out.reserve(variables.size());
  for (const auto& [name, value] : variables) {
    out.push_back(name);
    out.back().append("=").append(value);
  }
  return out;
}

WorkerEnvironment make_worker_environment(int threads, const fs::path& scratch, const Machine& machine,
                                          const std::map<std::string, std::string>& caller) {
  WorkerEnvironment out;
  nlohmann::json variables = nlohmann::json::object();
  nlohmann::json from_user = nlohmann::json::array();
  const auto user_value = [&](const char* name) -> const std::string* {
    const auto found = caller.find(name);
    return found == caller.end() || found->second.empty() ? nullptr : &found->second;
  };
  const auto choose = [&](const char* name, const std::string& value, bool users) {
    out.variables[name] = value;
    variables[name] = value;
    if (users) from_user.push_back(name);
  };

  for (const auto& variable : caller) {
    const std::string& name = variable.first;
    const bool passed = std::any_of(kPassed.begin(), kPassed.end(), [&](const char* p) { return name == p; }) ||
                        std::any_of(kPassedPrefixes.begin(), kPassedPrefixes.end(),
                                    [&](const char* p) { return starts_with(name, p); });
    if (passed) out.variables[name] = variable.second;
  }

  for (const char* name : kThreadVariables) {
    const std::string* users = user_value(name);
    const int wanted = users == nullptr ? 0 : leading_number(*users);
    if (users != nullptr && wanted > threads) {
      out.warnings.push_back(std::string(name) + "=" + *users + " is above the budget of " + std::to_string(threads) +
                             " threads per worker; workers get " + std::to_string(threads));
    }
    const bool keep = wanted >= 1 && wanted <= threads;
    choose(name, keep ? *users : std::to_string(threads), keep);
  }
  // Threads that spin while they wait take the cores from those of other libraries. Where BLAS uses the same ones,
  // about half a millisecond of it is less than it takes to wake them for each of many small products.
  const std::string spins = machine.openmp_blas.empty() ? "0" : "30000";
  const std::array<std::pair<const char*, std::string>, 3> tuned = {
      {{"OMP_WAIT_POLICY", "PASSIVE"},
       {"GOMP_SPINCOUNT", spins},
       {"OPENBLAS_CORETYPE", openblas_core_type(machine.cpu)}}};
  for (const auto& [name, value] : tuned) {
    const std::string* users = user_value(name);
    if (users != nullptr) {
      choose(name, *users, true);
    } else if (!value.empty()) {
      choose(name, value, false);
    }
  }
  const std::string* libraries = user_value(kLibraries);
  if (libraries != nullptr || !machine.openmp_blas.empty()) {
    std::string folders = libraries == nullptr ? "" : *libraries;
    if (!machine.openmp_blas.empty()) folders += (folders.empty() ? "" : ":") + machine.openmp_blas.string();
    choose(kLibraries, folders, libraries != nullptr);
  }
  for (const char* name : kTuningVariables) {
    if (const std::string* users = user_value(name)) choose(name, *users, true);
  }
  if (const std::string* names = user_value("CDRZOO_WORKER_ENV")) {
    for (std::size_t begin = 0; begin <= names->size();) {
      const std::size_t end = std::min(names->find(',', begin), names->size());
      const std::string name = names->substr(begin, end - begin);
      if (const auto found = caller.find(name); found != caller.end()) choose(name.c_str(), found->second, true);
      begin = end + 1;
    }
  }
  choose("LC_ALL", "C", false);
  out.variables["HOME"] = scratch.string();
  out.variables["TMPDIR"] = scratch.string();

  out.record = {{"variables", variables},
                {"from_user", from_user},
                {"cpu", {{"model", machine.cpu.model}, {"avx2", machine.cpu.avx2}, {"avx512", machine.cpu.avx512}}}};
  return out;
}

std::map<std::string, std::string> caller_environment() {
  std::map<std::string, std::string> out;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    const char* equals = std::strchr(*entry, '=');
    if (equals != nullptr) out.emplace(std::string(*entry, static_cast<std::size_t>(equals - *entry)), equals + 1);
  }
  return out;
}

}  // namespace cdrzoo
