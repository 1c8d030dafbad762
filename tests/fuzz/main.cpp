// SPDX-License-Identifier: Apache-2.0
// Self-driving mode, for compilers without libFuzzer: seeded mutation of valid inputs, each target in a child process
// so that a crash ends one input and not the campaign.
//
//   fuzz_readers SECONDS [TARGET]... [--seed N] [--out DIR]     SECONDS per target; exit status 1 if there is a finding
//   fuzz_readers --replay TARGET FILE                           run one input in this process
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>

#include "base/random.hpp"
#include "fuzz/targets.hpp"

#if defined(__SANITIZE_ADDRESS__)
/// HDF5 1.10.8 loses a buffer each time that it gives up on a damaged object header. Ours are still reported.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }
#endif

namespace {

using cdrzoo::fuzz::Target;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kLargestInput = 1U << 20U;
constexpr int kInputCpuS = 20;  // processor time: a busy machine is no finding
constexpr unsigned kInputTimeoutS = 300;

/// What the child is at, visible to the parent after a crash.
struct Shared {
  std::uint64_t runs;
  std::uint64_t size;
  std::uint8_t data[kLargestInput];
};

class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, std::uint64_t seed) : seeds_(std::move(seeds)), seed_(seed) {}

  std::string next() {
    std::string text = seeds_[below(seeds_.size())];
    for (std::uint64_t n = 1 + below(below(4) == 0 ? 16 : 3); n > 0; --n) mutate(text);
    if (text.size() > kLargestInput) text.resize(kLargestInput);
    return text;
  }

 private:
  std::uint64_t draw() { return cdrzoo::splitmix64(seed_, counter_++); }
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : static_cast<std::size_t>(draw() % bound); }

  void mutate(std::string& text) {
    static constexpr std::uint64_t kValues[] = {0,
                                                1,
                                                2,
                                                7,
                                                8,
                                                63,
                                                64,
                                                127,
                                                128,
                                                255,
                                                256,
                                                0x7FFF,
                                                0x8000,
                                                0xFFFF,
                                                0x7FFFFFFF,
                                                0x80000000,
                                                0xFFFFFFFF,
                                                0x7FFFFFFFFFFFFFFF,
                                                0x8000000000000000,
                                                0xFFFFFFFFFFFFFFFF,
                                                0x10000,
                                                1ULL << 40U};
    static constexpr const char* kWords[] = {"\"",           "{",        "}",    "[",      "]",     ",",       "\n",
                                             "\r\n",         "=",        "NaN",  "-1",     "1e999", "inf",     "null",
                                             "\xEF\xBB\xBF", "\xC0\x80", "'''",  "\"\"\"", "#",     "\\u0000", "TREE",
                                             "SNOD",         "OHDR",     "GCOL", "FRHP"};
    const std::size_t at = below(text.size());
    const std::size_t length = std::min(text.size() - at, 1 + below(below(3) == 0 ? 4096 : 16));
    switch (below(9)) {
      case 0:
        if (!text.empty()) text[at] = static_cast<char>(text[at] ^ static_cast<char>(1U << below(8)));
        break;
      case 1:
        if (!text.empty()) text[at] = static_cast<char>(draw());
        break;
      case 2: {  // a number of 1 to 8 bytes
        std::uint64_t value = kValues[below(sizeof kValues / sizeof kValues[0])];
        if (below(2) == 0) value += draw() % 5 - 2;
        const std::size_t bytes = std::min<std::size_t>(std::size_t{1} << below(4), text.size() - at);
        if (bytes > 0) std::memcpy(text.data() + at, &value, bytes);
        break;
      }
      case 3: text.erase(at, length); break;
      case 4: text.insert(at, text.substr(below(text.size()), length)); break;
      case 5: text.insert(at, kWords[below(sizeof kWords / sizeof kWords[0])]); break;
      case 6: text.resize(below(4) == 0 ? at : text.size()); break;
      case 7: {  // a piece of another seed, in place
        const std::string& other = seeds_[below(seeds_.size())];
        const std::string piece = other.substr(below(other.size()), length);
        text.replace(at, std::min(piece.size(), text.size() - at), piece);
        break;
      }
      default:  // repeat a byte
        std::fill_n(text.begin() + static_cast<std::ptrdiff_t>(at), length,
                    static_cast<char>(below(2) == 0 ? 0 : draw()));
    }
  }

  std::vector<std::string> seeds_;
  std::uint64_t seed_;
  std::uint64_t counter_ = 0;
};

[[noreturn]] void child(const Target& target, Mutator mutator, Clock::time_point end, Shared* shared) {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  while (Clock::now() < end) {
    const std::string input = mutator.next();
    std::copy(input.begin(), input.end(), shared->data);
    shared->size = input.size();
    const itimerval cpu{{0, 0}, {kInputCpuS, 0}};
    ::setitimer(ITIMER_PROF, &cpu, nullptr);
    ::alarm(kInputTimeoutS);
    target.run(shared->data, input.size());
    ++shared->runs;
  }
  std::exit(0);  // with the leak check of the sanitizer
}

int campaign(const Target& target, double seconds, std::uint64_t seed, const std::string& folder) {
  void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("mmap");
  auto* shared = static_cast<Shared*>(memory);
  const std::vector<std::string> seeds = target.seeds();
  for (const auto& valid : seeds) target.run(reinterpret_cast<const std::uint8_t*>(valid.data()), valid.size());
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  int findings = 0;
  for (std::uint64_t round = 0; Clock::now() < end; ++round) {
    std::cout.flush();
    const pid_t pid = ::fork();
    if (pid == 0) child(target, Mutator(seeds, seed + round * 1000003), end, shared);
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    const std::string file = folder + "/finding-" + target.name + "-" + std::to_string(findings++);
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(shared->data), static_cast<std::streamsize>(shared->size));
    std::cout << target.name << ": "
              << (WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                      : "exit " + std::to_string(WEXITSTATUS(status)))
              << " on an input of " << shared->size << " bytes, kept as " << file << "\n";
  }
  std::cout << target.name << ": " << shared->runs << " inputs, " << findings << " findings\n";
  ::munmap(memory, sizeof(Shared));
  return findings;
}

const Target& find(const std::string& name) {
  for (const auto& target : cdrzoo::fuzz::targets()) {
    if (name == target.name) return target;
  }
  std::cerr << "unknown target " << name << "\n";
  std::exit(2);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 3 && words[0] == "--replay") {
    std::ifstream in(words[2], std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    const std::string input = text.str();
    find(words[1]).run(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
    std::cout << "returned\n";
    return 0;
  }
  double seconds = -1;
  std::uint64_t seed = 0;
  std::string folder = ".";
  std::vector<std::string> names;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--seed" && i + 1 < words.size()) {
      seed = std::strtoull(words[++i].c_str(), nullptr, 10);
    } else if (words[i] == "--out" && i + 1 < words.size()) {
      folder = words[++i];
    } else if (seconds < 0) {
      seconds = std::strtod(words[i].c_str(), nullptr);
    } else {
      names.push_back(words[i]);
    }
  }
  if (seconds <= 0) {
    std::cerr << "usage: fuzz_readers SECONDS [TARGET]... [--seed N] [--out DIR] | fuzz_readers --replay TARGET "
                 "FILE\ntargets:";
    for (const auto& target : cdrzoo::fuzz::targets()) std::cerr << " " << target.name;
    std::cerr << "\n";
    return 2;
  }
  if (names.empty()) {
    for (const auto& target : cdrzoo::fuzz::targets()) names.emplace_back(target.name);
  }
  int findings = 0;
  for (const auto& name : names) findings += campaign(find(name), seconds, seed, folder);
  return findings == 0 ? 0 : 1;
}
