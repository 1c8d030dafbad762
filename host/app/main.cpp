// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "base/error.hpp"
#include "base/log.hpp"

namespace {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const cdrzoo::app::Words& words);
};

constexpr Command kCommands[] = {
    {"bench", "train and test models under one experiment file, and print one table", cdrzoo::app::cmd_bench},
    {"data", "build, inspect and validate data sets; make the demo data", cdrzoo::app::cmd_data},
    {"split", "make, inspect and check splits", cdrzoo::app::cmd_split},
    {"plugins", "list the models that were found, and the files that could not be used", cdrzoo::app::cmd_plugins},
    {"report", "print the table of a store again, or write it as text, Markdown or CSV", cdrzoo::app::cmd_report},
    {"verify", "check that a plugin keeps the contract", cdrzoo::app::cmd_verify},
};

int usage(std::ostream& out) {
  out << "usage: cdrzoo [--verbose | --quiet] COMMAND [ARGUMENTS]\n\n"
         "A zoo of cancer drug response models, benchmarked under shared data, splits and metrics.\n\ncommands:\n";
  for (const auto& command : kCommands) {
    out << "  " << std::string(command.name).append(10 - std::string(command.name).size(), ' ') << command.summary
        << "\n";
  }
  out << "\nfirst steps:\n"
         "  cdrzoo data demo demo.h5              make a small data set with a planted signal\n"
         "  cdrzoo bench share/experiments/demo.toml   train and test models on it\n"
         "  cdrzoo COMMAND --help                 what a command can do, with examples\n\n"
         "exit status: 0 done, 1 something in it failed (a cell, a check), 2 it could not run (usage, bad input)\n";
  return cdrzoo::kExitUsage;
}

int run(std::vector<std::string> words) {
  while (!words.empty() && words.front().rfind("--", 0) == 0) {
    if (words.front() == "--verbose") {
      cdrzoo::log::set_level(cdrzoo::log::Level::debug);
    } else if (words.front() == "--quiet") {
      cdrzoo::log::set_level(cdrzoo::log::Level::error);
    } else if (words.front() == "--version") {
      std::cout << "cdrzoo " CDRZOO_VERSION "\n";
      return cdrzoo::kExitOk;
    } else if (words.front() == "--help") {
      usage(std::cout);
      return cdrzoo::kExitOk;
    } else {
      throw cdrzoo::UsageError("unknown option " + words.front() + "; known: --verbose, --quiet, --version, --help");
    }
    words.erase(words.begin());
  }
  if (words.empty()) return usage(std::cerr);
  for (const auto& command : kCommands) {
    if (words.front() == command.name) return command.run({words.begin() + 1, words.end()});
  }
  std::string known;
  for (const auto& command : kCommands) known += std::string(known.empty() ? "" : ", ") + command.name;
  throw cdrzoo::UsageError("unknown command '" + words.front() + "'; known: " + known);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::bad_alloc&) {
    std::cerr << "cdrzoo: there is not enough memory for this\n";
    return cdrzoo::kExitUsage;
  } catch (const std::exception& e) {
    std::cerr << "cdrzoo: " << e.what() << "\n";
    return cdrzoo::kExitUsage;
  }
}
